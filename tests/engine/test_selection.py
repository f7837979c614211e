"""Engines that look at a part of the picture, or know some classes only."""

from __future__ import annotations

import numpy as np
import pytest

from sipvideo.engine import FunctionEngine, SelectingEngine
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import grey_picture


def bright(frame: Frame) -> Detections:
    """Two objects of class 0 and 3 wherever the picture is bright."""
    mask = frame.image[..., 0] > 100
    dense = np.stack((mask, mask))
    masks = CompactMasks.from_dense(dense)
    return Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.array([0, 3]),
        masks=masks,
        embeddings=np.ones((2, 4), np.float32),
        grey=grey_picture(frame.image),
    )


@pytest.fixture
def frame() -> Frame:
    image = np.zeros((60, 101, 3), np.uint8)
    image[20:40, 30:61] = 200
    return Frame(image, 0, 0.0)


def test_classes_that_are_not_wanted_are_not_seen(frame: Frame) -> None:
    engine = SelectingEngine(FunctionEngine(bright), frozenset({3}))
    (found,) = engine.detect([frame])
    assert found.labels.tolist() == [3]


@pytest.mark.parametrize("area", [(0, 0, 1, 1), (0.25, 0.3, 0.7, 0.9), (0.29, 0.0, 0.61, 1.0)])
def test_an_area_changes_no_coordinate(
    frame: Frame, area: tuple[float, float, float, float]
) -> None:
    (whole,) = FunctionEngine(bright).detect([frame])
    (part,) = SelectingEngine(FunctionEngine(bright), None, area).detect([frame])
    assert np.array_equal(part.boxes, whole.boxes)
    assert np.array_equal(part.masks.dense(0), whole.masks.dense(0))
    assert part.masks.rle(1) == whole.masks.rle(1)
    assert part.grey is not None
    assert np.array_equal(part.grey, whole.grey)


def test_what_lies_outside_of_the_area_is_not_seen(frame: Frame) -> None:
    (found,) = SelectingEngine(FunctionEngine(bright), None, (0, 0, 0.4, 1)).detect([frame])
    assert found.masks.windows[0].tolist() == [30, 20, 40, 40]
    assert not found.masks.dense(0)[:, 40:].any()


def test_a_tiny_area_still_has_a_pixel(frame: Frame) -> None:
    seen = []
    engine = FunctionEngine(lambda f: seen.append(f.size) or Detections.empty(f.size))  # type: ignore[func-returns-value]
    SelectingEngine(engine, None, (0.999, 0.999, 1, 1)).detect([frame])
    assert seen == [(1, 1)]
