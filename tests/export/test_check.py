"""The comparison of two models: what counts as the same, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from sipvideo.errors import SinkError
from sipvideo.export.check import LIMITS, Agreement, compare
from sipvideo.export.folder import REPORT, ExportFolder
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.postprocess.objects import FILE
from sipvideo.structures import Detections, Frame, FrameResult

SIZE = (60, 80)
FRAME = Frame(np.zeros((*SIZE, 3), np.uint8), 0, 0.0)


def _detections(boxes: list[tuple[int, int, int, int]], score: float = 0.8) -> Detections:
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), score, np.float32),
        labels=np.zeros(len(boxes), np.int64),
        masks=CompactMasks.from_dense(masks),
        embeddings=np.zeros((len(boxes), 0), np.float32),
    )


def _result(detections: Detections, ids: list[int]) -> FrameResult:
    return FrameResult(FRAME, detections, np.array(ids, np.int64), 0.0)


A, B = (5, 5, 25, 25), (40, 20, 70, 50)


def test_a_model_agrees_with_itself_whatever_the_order_and_the_numbers_of_its_identities() -> None:
    agreement = Agreement()
    for _ in range(3):
        agreement.add(
            _result(_detections([A, B]), [1, 2]), _result(_detections([B, A]), [7, 4]), 0.3
        )
    figures = agreement.figures()
    assert (figures["frames"], figures["objects"], figures["matched"]) == (3, 12, 1.0)
    assert figures["mask_iou"] == figures["mask_iou_min"] == figures["ids_equal"] == 1.0
    assert figures["box_error_pixels"] == figures["score_error"] == 0
    assert agreement.faults(LIMITS["fp32"]) == []


def test_an_object_that_one_model_misses_or_gives_another_class_counts_against_it() -> None:
    both, one = _result(_detections([A, B]), [1, 2]), _result(_detections([A]), [1])
    for original, exported in ((both, one), (one, both)):
        agreement = Agreement()
        agreement.add(original, exported, 0.3)
        assert agreement.figures()["matched"] == pytest.approx(2 / 3)
        assert any(line.startswith("matched") for line in agreement.faults(LIMITS["int8"]))
    other = dataclasses.replace(_detections([A]), labels=np.ones(1, np.int64))
    agreement = Agreement()
    agreement.add(one, _result(other, [1]), 0.3)
    assert agreement.figures()["matched"] == 0


def test_uncertain_objects_may_come_and_go() -> None:
    agreement = Agreement()
    agreement.add(_result(_detections([A]), [1]), _result(_detections([A, B][:1]), [1]), 0.3)
    agreement.add(_result(_detections([B], 0.2), [1]), _result(_detections([]), []), 0.3)
    assert agreement.figures()["matched"] == 1.0


def test_a_shifted_box_and_mask_are_measured() -> None:
    moved = tuple(side + 2 for side in A)
    agreement = Agreement()
    agreement.add(_result(_detections([A], 0.8), [1]), _result(_detections([moved], 0.7), [1]), 0.3)
    figures = agreement.figures()
    assert figures["box_error_pixels"] == figures["box_error_pixels_max"] == 2
    assert figures["score_error"] == pytest.approx(0.1)
    assert figures["mask_iou"] == pytest.approx(18 * 18 / (2 * 400 - 18 * 18))
    text = " ".join(agreement.faults(LIMITS["int8"]))
    assert "mask_iou" in text
    assert "score_error" in text


def test_swapped_identities_are_found() -> None:
    agreement = Agreement()
    for ids in ([1, 2], [1, 2], [1, 2], [2, 1]):
        agreement.add(_result(_detections([A, B]), [1, 2]), _result(_detections([A, B]), ids), 0.3)
    assert agreement.ids_equal() == 0.75
    agreement = Agreement()
    agreement.add(_result(_detections([A, B]), [1, 2]), _result(_detections([A, B]), [1, -1]), 0.3)
    assert agreement.ids_equal() == 1.0  # untracked is not another identity


def test_frames_without_objects_prove_nothing() -> None:
    agreement = Agreement()
    agreement.add(_result(_detections([]), []), _result(_detections([]), []), 0.3)
    assert agreement.figures()["matched"] == 1.0
    (fault,) = agreement.faults(LIMITS["int8"])
    assert "no clear object" in fault
    assert "no clear object" not in agreement.table(LIMITS["int8"])


def test_numbers_that_are_no_numbers_are_refused() -> None:
    agreement = Agreement()
    agreement.add(_result(_detections([A]), [1]), _result(_detections([A]), [1]), 0.3)
    agreement.score_errors = [float("nan")]
    agreement.mask_ious = [float("nan")]
    assert len(agreement.faults(LIMITS["fp32"])) >= 2


class _Ids:
    """Gives every detection its place as identity, and counts resets."""

    resets = 0

    def update(self, detections: Detections, timestamp: float) -> np.ndarray:
        return np.arange(len(detections))

    def labels(self, detections: Detections, track_ids: np.ndarray) -> np.ndarray:
        return detections.labels

    def returned(self, track_ids: np.ndarray) -> None:
        pass

    def reset(self) -> None:
        self.resets += 1


def test_both_models_see_every_frame_with_a_fresh_tracker() -> None:
    trackers = _Ids(), _Ids()
    models = [VideoSegmenter(lambda _: _detections([A, B]), t, ("a",)) for t in trackers]
    done: list[int] = []
    agreement = compare(*models, [FRAME] * 5, 0.3, lambda: done.append(1))
    assert agreement.frames == len(done) == 5
    assert [tracker.resets for tracker in trackers] == [1, 1]


def test_a_folder_has_its_name_only_when_it_is_whole_and_good(tmp_path: Path) -> None:
    path = tmp_path / "export"
    with ExportFolder(path) as folder:
        (folder.work / FILE).write_bytes(b"1")
        folder.report({"good": True})
        assert not path.exists()
        assert folder.publish(good=True) == path
    assert json.loads((path / REPORT).read_text()) == {"good": True}
    with ExportFolder(path) as folder:
        (folder.work / FILE).write_bytes(b"2")
        refused = folder.publish(good=False)
    assert refused.name == "export.refused"
    assert (path / FILE).read_bytes() == b"1"
    with pytest.raises(KeyboardInterrupt), ExportFolder(path):
        raise KeyboardInterrupt
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export", "export.refused"]


def test_what_is_no_earlier_export_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "picture.jpg").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for name in ("holiday", "file"):
        with pytest.raises(SinkError, match="is no exported model"):
            ExportFolder(tmp_path / name)
    with pytest.raises(SinkError, match="cannot be written"), ExportFolder(tmp_path / "file" / "x"):
        pass
