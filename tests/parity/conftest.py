"""Reference models and numbers for the parity tests."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sipvideo import build
from sipvideo.engine import HostEngine
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.structures import FloatArray
from tests.parity.weights import reference_state_dict

FIXTURES = Path(__file__).parent.parent / "fixtures" / "parity"

# More reference numbers than can be committed (one of them a COCO picture): beside a checkout, or named here.
MORE = Path(os.environ.get("SIPVIDEO_PARITY", Path(__file__).parents[3] / "shared" / "parity"))


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz file."""
    with np.load(path) as file:
        return dict(file)


def published_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Published model -> name -> shape of its checkpoint."""
    with gzip.open(FIXTURES / "shapes.json.gz") as file:
        listing = json.load(file)
    return {
        model: {name: tuple(shape) for name, shape in shapes.items()}
        for model, shapes in listing.items()
    }


def published_checkpoint(path: Path, which: str, calibration: str) -> Path:
    """Writes a checkpoint as the published training code does."""
    calibrated = arrays(FIXTURES / calibration)
    state = reference_state_dict(published_shapes()[which], calibrated)
    torch.save({"meta": {"epoch": 12, "CLASSES": ("a", "b")}, "state_dict": state}, path)
    return path


def segmenter(name: str, path: Path, overrides: list[str]) -> HostEngine:
    """The reference weights in our model, built as every command builds it."""
    segment = build.load(name, path, "cpu", overrides, "torch").engine
    assert isinstance(segment, HostEngine)
    return segment


@pytest.fixture(scope="session")
def vis_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vis") / "sipmask_vis_r50.pth"
    return published_checkpoint(path, "vis_r50", "calib.npz")


@pytest.fixture(scope="session")
def vis(vis_checkpoint: Path) -> HostEngine:
    name = "vis_sipmask_r50_caffe_fpn_gn_1x"
    return segmenter(name, vis_checkpoint, ["input.size=[256, 144]"])


class Remembered(Runtime):
    """Runs the network once on each picture: for tests of what comes after it."""

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.device = runtime.name, runtime.device
        self._runtime = runtime
        self._known: dict[bytes, DenseOutputs] = {}

    @property
    def about(self) -> str:
        return self._runtime.about

    def __call__(self, images: FloatArray) -> DenseOutputs:
        key = hashlib.sha256(images.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._runtime(images)
        return self._known[key]


@pytest.fixture(scope="session")
def vis_remembered(vis: HostEngine) -> HostEngine:
    """The same, for tests in which the network gives what it gave before."""
    return HostEngine(Remembered(vis.runtime), vis.objects, vis.config)


@pytest.fixture(scope="session")
def coco(tmp_path_factory: pytest.TempPathFactory) -> HostEngine:
    path = tmp_path_factory.mktemp("coco") / "sipmask_r50_ssd_6x.pth"
    published_checkpoint(path, "mmdet_sipmask_r50_caffe_fpn_ssd_6x", "calib_coco_r50_ssd_6x.npz")
    overrides = ["input.size=[288, 288]", "postprocess.score_threshold=0.05"]
    return segmenter("mmdet_sipmask_r50_caffe_fpn_ssd_6x", path, overrides)
