"""The file with the per-object weights: what is written is read back, and damage is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from sipvideo.errors import CheckpointError
from sipvideo.postprocess import objects
from sipvideo.runtime.pytorch import object_head
from tests.networks import HEADS, lively, small_config


@pytest.mark.parametrize("head", [*HEADS, {"rescoring": True, "embedding": 0}])
def test_a_written_file_gives_back_configuration_and_weights(
    head: dict[str, object], tmp_path: Path
) -> None:
    config = small_config(**head)
    written = object_head(lively(config), config)
    objects.save(tmp_path / objects.FILE, config, written)
    again, read = objects.load(tmp_path / objects.FILE)
    assert again == config
    assert read.weights.keys() == written.weights.keys() == objects.weight_shapes(config).keys()
    for name, array in written.weights.items():
        np.testing.assert_array_equal(read.weights[name], array)
    assert [path.name for path in tmp_path.iterdir()] == [objects.FILE]


def test_a_missing_file_says_what_an_exported_model_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file.*folder with objects\.safetensors"):
        objects.load(tmp_path / objects.FILE)


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / objects.FILE
    path.write_bytes(b"not a safetensors file")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        objects.load(path)
    weights = {"x": np.zeros(3, np.float32)}
    path.write_bytes(safetensors.numpy.save(weights))
    with pytest.raises(CheckpointError, match="not written by sipvideo export"):
        objects.load(path)
    path.write_bytes(safetensors.numpy.save(weights, {"format": "sipvideo-objects", "config": "{"}))
    with pytest.raises(CheckpointError, match="configuration inside is missing or damaged"):
        objects.load(path)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    config = small_config()
    path = tmp_path / objects.FILE
    objects.save(path, config, object_head(lively(config), config))
    metadata = {"format": "sipvideo-objects", "config": config.model_dump_json(exclude_unset=True)}
    arrays = safetensors.numpy.load_file(path)
    path.write_bytes(
        safetensors.numpy.save(arrays | {"coefficients.bias": np.zeros(7, np.float32)}, metadata)
    )
    with pytest.raises(CheckpointError, match=r"coefficients\.bias: expected .*\[32\], got \[7\]"):
        objects.load(path)
    del arrays["embedding.conv.weight"]
    path.write_bytes(safetensors.numpy.save(arrays, metadata))
    with pytest.raises(CheckpointError, match=r"embedding\.conv\.weight: expected .* got nothing"):
        objects.load(path)
