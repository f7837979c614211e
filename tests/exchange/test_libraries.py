"""Results for other libraries, and their detections for our tracker."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import supervision

from sipvideo.annotations import to_rle
from sipvideo.config import TrackerConfig
from sipvideo.exchange.libraries import columns, from_supervision, to_supervision
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.tracker import Tracker
from tests.scenes import Shot, clock, crossing, film

NAMES = ("person", "car")


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return list(film(crossing(), clock(seconds=1, fps=10)))


@pytest.fixture(scope="module")
def results(shots: list[Shot]) -> list[FrameResult]:
    found = {shot.frame.index: shot.detections for shot in shots}
    segmenter = VideoSegmenter(
        lambda frame: found[frame.index], Tracker(TrackerConfig()), [str(k) for k in range(80)]
    )
    return list(segmenter.run(shot.frame for shot in shots))


def test_supervision_gets_boxes_masks_classes_and_identities(results: list[FrameResult]) -> None:
    result = results[-1].tracked()
    made = to_supervision(results[-1], NAMES)
    assert made.tracker_id is not None
    assert made.mask is not None
    assert made.tracker_id.tolist() == result.track_ids.tolist() != []
    assert (made.xyxy == result.detections.boxes).all()
    for k, mask in enumerate(np.asarray(made.mask)):
        assert (mask == result.detections.masks.dense(k)).all()
    assert len(made.data["class_name"]) == len(made)


def test_there_and_back_gives_the_same_identities(
    shots: list[Shot], results: list[FrameResult]
) -> None:

    def detect(frame: Frame) -> Detections:
        return from_supervision(to_supervision(results[frame.index]), frame)

    again = VideoSegmenter(detect, Tracker(TrackerConfig()), NAMES)
    for one, other in zip(results, again.run(shot.frame for shot in shots), strict=True):
        kept = one.tracked()
        assert len(other.detections) == len(kept.detections)
        assert other.detections.grey is not None
        for k in range(len(kept.detections)):
            same = other.detections.masks.dense(k) == kept.detections.masks.dense(k)
            assert same.all()


def test_a_detector_of_boxes_gets_masks_of_boxes() -> None:
    frame = Frame(np.zeros((40, 60, 3), np.uint8), 0, 0.0)
    boxes = np.array([[2, 3, 12, 13], [50, 30, 90, 90]], float)
    found = from_supervision(
        supervision.Detections(xyxy=boxes, confidence=np.array([0.2, 0.9])), frame
    )
    assert found.scores.tolist() == pytest.approx([0.9, 0.2])
    assert found.boxes[0].tolist() == [50, 30, 60, 40]
    assert found.masks.areas().tolist() == [100, 100]
    assert found.labels.tolist() == [0, 0]


def test_masks_without_embeddings_are_known_by_their_colours() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = (200, 40, 40), (40, 60, 190)
    boxes = np.array([[2, 3, 12, 13], [40, 20, 55, 35]], float)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 3:13, 2:12] = masks[1, 20:35, 40:55] = True
    given = supervision.Detections(xyxy=boxes, mask=masks, confidence=np.array([0.9, 0.8]))
    looks = from_supervision(given, Frame(image, 0, 0.0)).embeddings
    np.testing.assert_allclose((looks**2).sum(1), 1, atol=1e-6)
    assert looks[0] @ looks[1] < 0.1
    own = np.ones((2, 3))
    assert (from_supervision(given, Frame(image, 0, 0.0), own).embeddings == own).all()


def test_nothing_found_is_nothing_on_both_sides() -> None:
    frame = Frame(np.zeros((40, 60, 3), np.uint8), 0, 0.0)
    assert len(from_supervision(supervision.Detections.empty(), frame)) == 0
    none = FrameResult(frame, Detections.empty(frame.size), np.zeros(0, np.int64), 1.0)
    assert len(to_supervision(none)) == 0


def test_columns_are_a_table_of_pandas(results: list[FrameResult]) -> None:
    table = pandas.DataFrame(columns(results, NAMES))
    assert len(table) == sum(len(r.tracked().detections) for r in results) > 0
    assert table.dtypes["frame"] == np.int64
    row = table.iloc[-1]
    last = results[int(row.frame)].tracked()
    k = last.track_ids.tolist().index(row.track_id)
    size = last.frame.size
    mask = to_rle({"size": list(size), "counts": row["mask"]}, size)
    assert mask["counts"] == last.detections.masks.rle(k)["counts"]
    assert len(pandas.DataFrame(columns([]))) == 0


def test_columns_are_a_table_of_polars(results: list[FrameResult]) -> None:
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(columns(results, NAMES))
    assert set(table["track_id"].to_list()) == {
        int(i) for r in results for i in r.track_ids if i >= 0
    }


def test_compact_masks_stay_what_they_were(results: list[FrameResult]) -> None:
    """Other libraries get copies: nobody writes into a result."""
    before = [
        results[-1].detections.masks.dense(k).copy() for k in range(len(results[-1].detections))
    ]
    made = to_supervision(results[-1])
    made.xyxy[:] = 0
    np.asarray(made.mask)[:] = False
    again: CompactMasks = results[-1].detections.masks
    assert all((again.dense(k) == mask).all() for k, mask in enumerate(before))
    assert results[-1].detections.boxes.any()
