"""Objects carried by the picture's motion: where they really are, and gone where that cannot be known."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from sipvideo.carry import Carrier
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame
from tests.scenes import Actor, Shot, clock, film

SIZE = (240, 320)
WALK = Actor(((0, 80, 120), (2, 260, 150)), size=(90, 70), shape="rectangle")


def shots(*actors: Actor, fps: float = 25, seconds: float = 0.4) -> list[Shot]:
    return list(film(actors, clock(seconds, fps), SIZE))


def carried(given: list[Shot]) -> Iterator[tuple[Shot, Detections, list[int]]]:
    """Every shot after the first, with what was carried there from it."""
    carrier = Carrier()
    carrier.begin(given[0].frame, given[0].truth)
    for shot in given[1:]:
        moved = carrier.carry(shot.frame)
        assert moved is not None
        yield shot, moved[0], moved[1].tolist()


@pytest.mark.parametrize("shape", ["rectangle", "ellipse", "star"])
def test_a_moving_object_keeps_its_mask_and_box(shape: str) -> None:
    actor = Actor(WALK.path, WALK.size, shape=shape)  # type: ignore[arg-type]
    for shot, moved, rows in carried(shots(actor)):
        assert rows == [0]
        assert moved.masks.iou(shot.truth.masks)[0, 0] > 0.9
        assert moved.boxes == pytest.approx(shot.truth.boxes, abs=4)


def test_carrying_is_better_than_standing_still() -> None:
    given = shots(WALK)
    for shot, moved, _ in carried(given):
        still = given[0].truth.masks.iou(shot.truth.masks)[0, 0]
        assert moved.masks.iou(shot.truth.masks)[0, 0] > still


def test_an_object_that_comes_nearer_grows() -> None:
    actor = Actor(((0, 160, 120), (2, 160, 120)), (80, 80), shape="rectangle", growth=0.8)
    *_, (shot, moved, _) = carried(shots(actor))
    assert moved.masks.iou(shot.truth.masks)[0, 0] > 0.85
    assert moved.masks.areas()[0] > 1.3 * shots(actor)[0].truth.masks.areas()[0]


def test_several_objects_move_each_by_its_own() -> None:
    away = Actor(((0, 240, 60), (2, 60, 60)), size=(70, 70), shape="rectangle", look=2)
    for shot, moved, rows in carried(shots(WALK, away)):
        assert sorted(rows) == [0, 1]
        matched = moved.masks.iou(shot.truth.masks)
        assert all(matched[k, row] > 0.85 for k, row in enumerate(rows))


def test_what_is_carried_has_its_scores_classes_and_embeddings() -> None:
    given = shots(WALK)
    _, moved, rows = next(carried(given))
    first = given[0].truth[rows]
    assert np.array_equal(moved.scores, first.scores)
    assert np.array_equal(moved.labels, first.labels)
    assert np.array_equal(moved.embeddings, first.embeddings)


def test_an_object_that_leaves_the_picture_is_dropped() -> None:
    actor = Actor(((0, 160, 120), (1, 420, 120)), size=(60, 60), shape="rectangle")
    rows = [rows for _, _, rows in carried(shots(actor, seconds=1.0))]
    assert rows[0] == [0]
    assert rows[-1] == []


def test_an_object_that_vanishes_is_dropped() -> None:
    given = shots(WALK)
    picture = given[1].frame.image.copy()
    picture[60:180, 20:160] = np.random.default_rng(0).integers(0, 256, (120, 140, 3))
    carrier = Carrier()
    carrier.begin(given[0].frame, given[0].truth)
    moved = carrier.carry(Frame(picture, 1, 0.04))
    assert moved is not None
    assert len(moved[0]) == 0


def test_a_scene_cut_and_another_frame_size_ask_for_a_detector() -> None:
    given = shots(WALK)
    flipped = Frame(255 - given[1].frame.image, 1, 0.04)
    small = Frame(np.ascontiguousarray(given[1].frame.image[::2, ::2]), 1, 0.04)
    for other in (flipped, small):
        carrier = Carrier()
        assert carrier.carry(given[0].frame) is None
        carrier.begin(given[0].frame, given[0].truth)
        assert carrier.carry(other) is None
        carrier.begin(given[0].frame, given[0].truth)
        assert carrier.carry(given[1].frame) is not None


def test_nothing_is_carried_to_nothing() -> None:
    given = shots(WALK)
    carrier = Carrier()
    carrier.begin(given[0].frame, Detections.empty(SIZE, embedding_size=5))
    moved = carrier.carry(given[1].frame)
    assert moved is not None
    assert len(moved[0]) == 0
    assert moved[0].embeddings.shape == (0, 5)


def test_masks_without_pixels_and_pictures_without_texture_are_no_trouble() -> None:
    plain = np.full((*SIZE, 3), 90, np.uint8)
    masks = np.zeros((2, *SIZE), bool)
    masks[1, 50:90, 60:100] = True
    compact = CompactMasks.from_dense(masks)
    found = Detections(
        boxes=compact.windows.astype(np.float32),
        scores=np.ones(2, np.float32),
        labels=np.zeros(2, np.int64),
        masks=compact,
        embeddings=np.zeros((2, 0), np.float32),
    )
    carrier = Carrier()
    carrier.begin(Frame(plain, 0, 0.0), found)
    moved = carrier.carry(Frame(plain, 1, 0.04))
    assert moved is not None
    assert 0 not in moved[1]


def test_large_frames_are_carried_as_exactly() -> None:
    given = shots(WALK, seconds=0.2)
    frames = [
        Frame(cv2.resize(s.frame.image, (1280, 960)), s.frame.index, s.frame.timestamp)  # type: ignore[arg-type]
        for s in given
    ]
    dense = [np.kron(s.truth.masks.dense(0), np.ones((4, 4), bool)) for s in given]
    masks = [CompactMasks.from_dense(one[None]) for one in dense]
    first = given[0].truth
    found = Detections(first.boxes * 4, first.scores, first.labels, masks[0], first.embeddings)
    carrier = Carrier()
    carrier.begin(frames[0], found)
    for frame, mask in zip(frames[1:], masks[1:], strict=True):
        moved = carrier.carry(frame)
        assert moved is not None
        assert moved[0].masks.iou(mask)[0, 0] > 0.9
