"""What ``sipvideo.load`` takes where nothing or little is said: the packaged export, or PyTorch."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sipvideo
from sipvideo import build, extras
from sipvideo.apps.main import main
from sipvideo.errors import ConfigError
from sipvideo.postprocess import objects
from sipvideo.sources import open_source
from tests.waiting import PATIENCE

CLIP = Path(__file__).parents[1] / "examples" / "pedestrians.mp4"
ENGINE = build.exported_runtime("auto", "cpu")
EXTRA = re.compile(r"sipvideo\[(\w+)\]")
needs_engine = pytest.mark.skipif(ENGINE is None, reason="needs OpenVINO or ONNX Runtime")


@pytest.mark.parametrize("model", build.MODELS)
def test_the_packaged_export_is_the_packaged_model(model: str) -> None:
    exported, head = objects.load(build.packaged_export(model) / objects.FILE)
    config, network = build.load_model(model=model)
    assert exported == config
    values = network.head.state_dict()
    assert head.weights
    for name, array in head.weights.items():
        np.testing.assert_array_equal(array, values[name].numpy(), err_msg=name)


@needs_engine
@pytest.mark.parametrize("model", build.MODELS)
def test_a_model_gives_the_same_objects_with_and_without_pytorch(model: str) -> None:
    frame = next(iter(open_source(str(CLIP))))
    theirs, ours = (
        sipvideo.load(runtime=name, model=model).segment(frame) for name in ("torch", ENGINE or "")
    )
    assert len(ours) == len(theirs) > 10
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    overlap = [ours.masks[[k]].iou(theirs.masks[[k]])[0, 0] for k in range(len(ours))]
    assert min(overlap) > 0.98


@pytest.mark.skipif(ENGINE != "openvino", reason="needs OpenVINO")
def test_the_default_model_in_int8_sees_nearly_the_same() -> None:
    frame = next(iter(open_source(str(CLIP))))
    theirs, ours = (
        sipvideo.load(runtime=name).segment(frame) for name in ("openvino", "openvino-int8")
    )
    assert not np.array_equal(ours.scores[:5], theirs.scores[:5])
    clear = np.flatnonzero(theirs.scores > 0.4)
    assert len(clear) > 8
    assert np.mean(ours.masks.iou(theirs.masks[clear]).max(0) > 0.8) > 0.8


@pytest.mark.skipif(ENGINE != "openvino", reason="needs OpenVINO")
@pytest.mark.parametrize("given", [{"model": "nano"}, {"overrides": ["head.bases=32"]}])
def test_other_models_in_int8_have_to_be_exported(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="sipvideo export --precision int8"):
        sipvideo.load(runtime="openvino-int8", **given)


@needs_engine
@pytest.mark.parametrize("model", build.MODELS)
def test_a_packaged_model_starts_without_pytorch(model: str) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import sipvideo\n"
        "frame = next(iter(sipvideo.open_source(sys.argv[1])))\n"
        "print(len(sipvideo.load(model=sys.argv[2]).segment(frame)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CLIP), model],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
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


@needs_engine
def test_a_gpu_that_nothing_here_can_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_has_gpu", lambda: True)
    monkeypatch.setattr(build, "_has_torch", lambda: False)
    notes = sipvideo.load().engine.notes
    assert notes == (
        "the GPU is not used: PyTorch is not installed: pip install 'sipvideo[torch]'",
    )
    assert not sipvideo.load(device="cpu").engine.notes


def test_a_command_that_needs_pytorch_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for line in (["train", "a.json"], ["bench", "--frames", "1", "--threads", "1"]):
        assert main(line) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1] == (
            "sipvideo: error: PyTorch is not installed: pip install 'sipvideo[torch]'"
        )


def test_extras_that_lines_name_exist() -> None:
    settings = configparser.RawConfigParser()
    settings.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    named = {name for line in map(extras.absence, extras.PACKAGES) for name in EXTRA.findall(line)}
    assert named
    assert named <= set(settings["options.extras_require"])


def test_a_model_has_its_own_weights_and_must_be_known(tmp_path: Path) -> None:
    for weights in (build.packaged_weights("small"), build.packaged_export("small")):
        with pytest.raises(ConfigError, match="leave --weights away"):
            sipvideo.load(weights=weights, model="nano")
    with pytest.raises(ConfigError, match="expected one of nano, small"):
        sipvideo.load(model="large")
