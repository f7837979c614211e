"""``apps/reports/models.py``: figures that can be told beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.apps.reports import models as model_report
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult

SIZE = (40, 60)


def _square(x: int) -> np.ndarray[Any, Any]:
    mask = np.zeros(SIZE, bool)
    mask[10:20, x : x + 10] = True
    return mask


def _frames(tracks: list[dict[int, int]]) -> Iterator[FrameResult]:
    """One result per entry: track id -> where its square begins."""
    for index, entry in enumerate(tracks):
        masks = [_square(x) for x in entry.values()]
        dense = np.stack(masks) if masks else np.zeros((0, *SIZE), bool)
        found = CompactMasks.from_dense(dense)
        detections = Detections(
            found.windows.astype(np.float32),
            np.full(len(masks), 0.9, np.float32),
            np.zeros(len(masks), np.int64),
            found,
            np.zeros((len(masks), 0), np.float32),
        )
        frame = Frame(np.zeros((*SIZE, 3), np.uint8), index, index / 24)
        yield FrameResult(frame, detections, np.array(list(entry), np.int64), 1.0)


def _wanted(count: int) -> Iterator[Any]:
    for _ in range(count):
        yield coco_mask.encode(np.asfortranarray(_square(5).astype(np.uint8)))


def test_tracks_overlap_an_object_frame_by_frame() -> None:
    tracks = [{3: 5}, {3: 10, -1: 5}, {}, {7: 5}]
    table, ids = model_report.track_overlaps(_frames(tracks), _wanted(4))
    assert ids == [3, 7]
    assert table.tolist() == [[1, 0], [pytest.approx(1 / 3), 0], [0, 0], [0, 1]]


def test_figures_of_other_models_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"box_ap": 0.26, "nano": {"box_ap": 0.3}, "small": {"box_ap": 0.1}}))
    figures = {"box_ap": 0.123456, "davis": {"dog": {"iou": 0.5, "switches": 1}}}
    model_report.kept(path, "small", figures)
    saved = json.loads(path.read_text())
    # Figures of before there were two models belong to none.
    assert saved == {
        "nano": {"box_ap": 0.3},
        "small": {"box_ap": 0.1235, "davis": {"dog": {"iou": 0.5, "switches": 1}}},
    }


def test_a_report_without_a_folder_is_refused_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "absent" / "report.json"
    assert model_report.main([str(tmp_path), "-o", str(output)]) == 2
    assert "there is no folder" in capsys.readouterr().err
