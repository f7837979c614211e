"""What ``sipvideo.load`` takes where nothing or little is said: the packaged export, or PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sipvideo
from sipvideo import build
from sipvideo.postprocess import objects
from sipvideo.sources import open_source

CLIP = Path(__file__).parents[1] / "examples" / "pedestrians.mp4"
ENGINE = build.exported_runtime("auto", "cpu")
needs_engine = pytest.mark.skipif(ENGINE is None, reason="needs OpenVINO or ONNX Runtime")


def test_the_packaged_export_is_the_packaged_model() -> None:
    exported, head = objects.load(build.packaged(build.DEFAULT_EXPORT) / objects.FILE)
    config, model = build.load_model()
    assert exported == config
    values = model.head.state_dict()
    assert head.weights
    for name, array in head.weights.items():
        np.testing.assert_array_equal(array, values[name].numpy(), err_msg=name)


@needs_engine
def test_the_default_model_gives_the_same_objects_with_and_without_pytorch() -> None:
    frame = next(iter(open_source(str(CLIP))))
    theirs, ours = (sipvideo.load(runtime=name).segment(frame) for name in ("torch", ENGINE or ""))
    assert len(ours) == len(theirs) > 10
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    overlap = [ours.masks[[k]].iou(theirs.masks[[k]])[0, 0] for k in range(len(ours))]
    assert min(overlap) > 0.98


@needs_engine
def test_the_default_model_starts_without_pytorch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import sipvideo\n"
        "frame = next(iter(sipvideo.open_source(sys.argv[1])))\n"
        "print(len(sipvideo.load().segment(frame)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CLIP)], capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) > 10, done.stderr


@needs_engine
@pytest.mark.parametrize(
    ("override", "engine"),
    [("tracker.max_age=3", ENGINE), ("input.size=[256, 192]", ENGINE), ("head.bases=32", "torch")],
)
def test_only_changes_of_the_network_need_pytorch(override: str, engine: str) -> None:
    found: Any = sipvideo.load(overrides=[override], device="cpu").engine
    assert (found.runtime.name == "torch") == (engine == "torch")


def test_the_engine_follows_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.exported_runtime("torch", "cpu") is None
    assert build.exported_runtime("onnxruntime", "auto") == "onnxruntime"
    assert build.exported_runtime("auto", "cuda:1") is None
    monkeypatch.setattr(build.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert build.exported_runtime("auto", "auto") is None
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: None)
    assert build.exported_runtime("auto", "cpu") is None
