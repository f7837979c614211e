"""A segmenter as plain values: travels, and is the same bytes wherever it is built."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

from sipvideo.build import packaged_export
from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.jobs import InProcess, Loaded, Monitor, SegmenterSpec
from tests.apps.scripted import CLASSES, ReadySpec, segmenter


def test_a_spec_travels_and_its_checksum_tells_models_and_settings_apart(tmp_path: Path) -> None:
    spec = SegmenterSpec(classes=("person",)).sealed()
    assert pickle.loads(pickle.dumps(spec)) == spec
    (tmp_path / "own.yaml").write_text("name: own\ntracker:\n  keep_score: 0.2\n")
    others = [
        SegmenterSpec(),
        SegmenterSpec(model="small"),
        SegmenterSpec(overrides=("tracker.keep_score=0.2",)),
        SegmenterSpec(config="sipmask_nano"),
        SegmenterSpec(config=str(tmp_path / "own.yaml")),
    ]
    assert len({spec.checksum, *(other.sealed().checksum for other in others)}) == 6


def test_the_same_weights_elsewhere_on_another_device_are_the_same_model(tmp_path: Path) -> None:
    folder = shutil.copytree(packaged_export(), tmp_path / "copy")
    here = SegmenterSpec(weights=str(packaged_export())).sealed()
    there = SegmenterSpec(weights=str(folder), device="cpu").sealed()
    assert here.checksum == there.checksum


def test_other_bytes_where_a_sealed_spec_is_built_are_an_error(tmp_path: Path) -> None:
    folder = shutil.copytree(packaged_export(), tmp_path / "copy")
    spec = SegmenterSpec(weights=str(folder)).sealed()
    (folder / "report.json").write_text("{}")
    with pytest.raises(ConfigError, match="other weights, configuration or version"):
        spec.build()


def test_missing_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        SegmenterSpec(weights=str(tmp_path / "none.safetensors")).sealed()


def test_settings_tell_what_was_asked_for_and_not_where_it_ran() -> None:
    settings = SegmenterSpec(device="cpu", max_objects=3).sealed().settings()
    assert settings.keys() == {
        *("config", "weights", "overrides", "runtime", "model", "checksum", "max_objects")
    }


def test_an_executor_loads_once_before_the_first_job() -> None:
    executor = InProcess(ReadySpec(ready=segmenter()))
    assert executor.load() == Loaded(CLASSES, "")
    assert list(executor.run([], Monitor())) == []
