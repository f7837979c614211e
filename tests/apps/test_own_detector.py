"""``--segmenter``: a detector of the user's own in the model's place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipvideo.apps.main import main
from sipvideo.errors import ConfigError
from sipvideo.jobs import SegmenterSpec
from tests.apps.scripted import clip

MODULE = """
import numpy as np
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections

class_names = ("left", "right")


def detect(frame):
    masks = np.zeros((2, *frame.size), bool)
    masks[0, 5:25, 5:25] = masks[1, 5:25, 40:60] = True
    compact = CompactMasks.from_dense(masks)
    boxes = compact.windows.astype(np.float32)
    scores, labels = np.array([0.9, 0.4], np.float32), np.array([0, 1])
    return Detections(boxes, scores, labels, compact, np.zeros((2, 0), np.float32))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """In the current folder, of a name of its own: modules stay imported."""
    name = f"detector_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_its_objects_get_identities_and_its_names(module: str, tmp_path: Path) -> None:
    path = clip(tmp_path / "walk.mp4", seconds=0.4)
    words = ["video", str(path), "--segmenter", f"{module}:detect", "-o", "out", "-q"]
    assert main([*words, "--save", "lines,csv"]) == 0
    lines = (tmp_path / "out" / "walk" / "results.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])["objects"]
    assert {(one["class_name"], one["track_id"]) for one in last} == {("left", 0), ("right", 1)}


def test_the_switches_of_the_model_hold_for_it(module: str, tmp_path: Path) -> None:
    path = clip(tmp_path / "walk.mp4", seconds=0.4)
    words = ["video", str(path), "--segmenter", f"{module}:detect", "-o", "out", "-q"]
    assert main([*words, "--save", "lines", "--min-score", "0.6"]) == 0
    lines = (tmp_path / "out" / "walk" / "results.jsonl").read_text().splitlines()
    assert {one["class_name"] for line in lines for one in json.loads(line)["objects"]} == {"left"}


def test_a_changed_detector_is_another_model(module: str, tmp_path: Path) -> None:
    spec = SegmenterSpec(segmenter=f"{module}:detect").sealed()
    spec.build()
    (tmp_path / f"{module}.py").write_text(MODULE + "\n# changed\n")
    with pytest.raises(ConfigError, match="here than where the run was started"):
        spec.build()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "expected MODULE:NAME"),
        ("{}:nothing", "cannot be imported: AttributeError"),
        ("{}x:detect", "cannot be imported: ModuleNotFoundError"),
        ("{}:MODULE_NAMES", "cannot be imported"),
        ("{}:class_names", "expected a function or an engine"),
    ],
)
def test_what_is_no_detector_is_one_line(
    text: str, told: str, module: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["video", "no.mp4", "--segmenter", text.format(module), "-o", "out"]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line


def test_it_takes_the_place_of_the_model(module: str) -> None:
    with pytest.raises(ConfigError, match="leave --model"):
        SegmenterSpec(segmenter=f"{module}:detect", model="small").build()
