"""The GPU report: it measures what it says, and claims nothing without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.apps.reports.gpu import parts as gpu_parts
from sipvideo.apps.reports.gpu import report as gpu_report
from sipvideo.apps.reports.gpu.parts import Setting, Worst, compared
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult

HERE = Setting("cpu", 2, Path("/nowhere"))


def test_the_video_fixture_holds_for_the_gpus_engine_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = json.loads((gpu_parts.STORED / "vis.json").read_text())
    beginnings = [frame for frame in facts if frame["video"] <= 2]
    (tmp_path / "vis.json").write_text(json.dumps(beginnings))
    for path in gpu_parts.STORED.iterdir():
        if path.name != "vis.json":
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(gpu_parts, "STORED", tmp_path)
    found = gpu_parts.fixture_vis(HERE)
    assert found["right"]
    assert found["frames"] == len(beginnings) == 10
    assert not found["recorded"]
    assert {"box_px", "score", "embedding", "mask_pixels", "frames_with_other_ids"} <= found.keys()


def test_the_coco_fixture_holds_for_the_gpus_engine_on_the_cpu() -> None:
    found = gpu_parts.fixture_coco(HERE)
    if "skipped" in found:
        pytest.skip(found["skipped"])
    assert found["right"]
    assert found["mask_pixels"] <= gpu_parts.PIXELS


def test_a_difference_beyond_its_tolerance_is_not_right() -> None:
    worst = Worst()
    assert not worst.values()["right"]  # nothing was compared
    worst.count(3, 3)
    worst.add("box_px", 0.001, gpu_parts.BOX)
    assert worst.values()["right"]
    worst.add("box_px", 0.01, gpu_parts.BOX)
    worst.add("box_px", 0.002, gpu_parts.BOX)
    assert worst.values() == {"right": False, "frames": 1, "count": 0.0, "box_px": 0.01}


def result(*objects: tuple[int, int]) -> FrameResult:
    """A frame with a square at a column for every (track id, column)."""
    image = np.zeros((20, 100, 3), np.uint8)
    masks = np.zeros((len(objects), 20, 100), bool)
    for mask, (_, column) in zip(masks, objects, strict=True):
        mask[5:15, column : column + 10] = True
    count = len(objects)
    detections = Detections(
        np.zeros((count, 4), np.float32),
        np.ones(count, np.float32),
        np.zeros(count, np.int64),
        CompactMasks.from_dense(masks) if count else CompactMasks.empty((20, 100)),
        np.zeros((count, 0), np.float32),
    )
    ids = np.array([number for number, _ in objects], np.int64)
    return FrameResult(Frame(image, 0, 0.0), detections, ids, 0.0)


def test_agreement_follows_objects_whatever_their_numbers_and_places() -> None:
    reference = [result((1, 0), (2, 40)), result((1, 1), (2, 41)), result()]
    same = compared([reference], [reference])
    assert same == {"frames": 3, "same_objects": 1.0, "same_numbers": 1.0, "mask_iou": 1.0}
    renamed = [result((2, 0), (1, 40)), result((1, 41), (2, 1)), result()]
    found = compared([reference], [renamed])
    assert (found["same_objects"], found["same_numbers"]) == (1.0, round(1 / 3, 4))
    swapped = [result((1, 0), (2, 40)), result((2, 1), (1, 41)), result()]
    assert compared([reference], [swapped])["same_objects"] == round(2 / 3, 4)
    missing = [result((1, 0)), result((1, 1), (2, 41)), result((3, 5))]
    assert compared([reference], [missing])["same_objects"] == round(1 / 3, 4)
    moved = [result((1, 1), (2, 40)), result((1, 1), (2, 41)), result()]
    assert compared([reference], [moved])["mask_iou"] == pytest.approx((9 / 11 + 3) / 4, abs=1e-4)


def scripted(name: str, setting: Setting, left: float) -> dict[str, Any]:
    """What a part would say."""
    if name == "agreement":
        holds = {"same_objects": 1.0, "same_numbers": 0.9, "mask_iou": 0.99}
        return {"torch-fp16": holds, "torch-bf16": holds | {"same_objects": 0.5}}
    if name.startswith("speed"):
        return {"step_ms": 3.0, "video_fps": 500.0}
    if name in ("training", "cameras"):
        return {"nano_pictures_per_s": 150.0, "shown_16": 0.95, "age_p95_ms_16": 120.0}
    return {"right": True} if name.startswith("fixture") else {"skipped": "scripted"}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_figures_are_written_only_where_a_gpu_made_them(
    device: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(gpu_report, "_part", scripted)
    output = tmp_path / "report.json"
    assert gpu_report.main(["--device", device, "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert output.exists() == (device == "cuda")
    assert ("No GPU here" in printed) == (device == "cpu")
    assert "torch-fp16 | holds" in printed
    assert "set holds=True in engine/precision.py" in printed
    assert "torch-bf16 | does not hold" in printed
    assert "3 (missed) | 2.5 | 3 | 4" in printed
    assert "500 (missed) | 600 | 500 | 400" in printed
    assert "not measured" in printed
    assert "training, nano: at least, pictures a second | 150 (missed) | 200 |" in printed
    assert "16 cameras, share of the pictures shown: at least | 0.95 | 0.9 |" in printed
    assert "their age, p95: at most, ms | 120 (missed) | 100 |" in printed
    if device == "cuda":
        assert json.loads(output.read_text()).keys() >= gpu_report.PARTS.keys()


def test_a_fixture_that_does_not_hold_fails_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(name: str, setting: Setting, left: float) -> dict[str, Any]:
        return {"right": False} if name == "fixture_vis" else scripted(name, setting, left)

    monkeypatch.setattr(gpu_report, "_part", wrong)
    assert gpu_report.main(["--device", "cuda", "-o", str(tmp_path / "r.json")]) == 1
    assert "| fixture_vis | NO" in capsys.readouterr().out


def test_a_part_that_fails_or_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Setting("cuda:99", 1, Path("/nowhere"))
    assert "longer than 0 s" in gpu_report._part("facts", nowhere, 0)["error"]
    monkeypatch.setitem(gpu_report.PARTS, "facts", (gpu_parts.facts, 300))
    assert "longer" not in gpu_report._part("facts", nowhere, 300)["error"]
