"""Masks that follow clicks, and that are carried from frame to frame, on a picture that the packaged model knows."""

from __future__ import annotations

import numpy as np
import pytest

from sipvideo.apps.reports.studio.clicks import click_at_largest_error, overlap
from sipvideo.build import load
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.sources import open_source
from sipvideo.structures import Frame
from sipvideo.studio.propagate import propagate
from sipvideo.studio.refine import OpenFrame, Refiner

FILM = "examples/pedestrians.mp4"


@pytest.fixture(scope="module")
def refiner() -> Refiner:
    return Refiner(load(device="cpu").engine)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    with open_source(FILM) as source:
        return [frame for frame, _ in zip(source, range(4), strict=False)]


@pytest.fixture(scope="module")
def view(refiner: Refiner, frames: list[Frame]) -> OpenFrame:
    return refiner.open(frames[0])


@pytest.fixture(scope="module")
def person(view: OpenFrame) -> BoolArray:
    """The mask of the largest object that the model is sure of, taken as the truth."""
    sure = view.found[view.found.scores > 0.5]
    return sure.masks.dense(int(sure.masks.areas().argmax()))


def half(mask: BoolArray) -> BoolArray:
    """Only its upper half."""
    rows = np.flatnonzero(mask.any(1))
    upper = mask.copy()
    upper[(rows[0] + rows[-1]) // 2 :] = False
    return upper


def test_clicks_bring_back_what_is_missing(view: OpenFrame, person: BoolArray) -> None:
    start = half(person)
    clicks: list[tuple[float, float, bool]] = []
    now, reached = start, [overlap(start, person)]
    for _ in range(4):
        click = click_at_largest_error(now, person)
        assert click is not None
        clicks.append((float(click[0]), float(click[1]), click[2]))
        now = view.refine(clicks, CompactMasks.from_dense(start[None])).masks.dense(0)
        reached.append(overlap(now, person))
    assert reached[-1] > reached[0] + 0.15, reached


def test_a_click_decides_the_place_it_is_set_on(view: OpenFrame, person: BoolArray) -> None:
    start = CompactMasks.from_dense(person[None])
    click = click_at_largest_error(half(person), person)
    assert click is not None
    x, y, _ = click
    without = view.refine([(x, y, False)], start).masks.dense(0)
    assert person[y, x]
    assert not without[y, x]
    assert view.refine([(x, y, True)], CompactMasks.from_dense(half(person)[None])).masks.dense(0)[
        y, x
    ]


def test_no_click_changes_nothing(view: OpenFrame, person: BoolArray) -> None:
    same = view.refine([], CompactMasks.from_dense(person[None])).masks
    assert (same.dense(0) == person).all()


def test_a_box_and_a_click_find_a_new_object(view: OpenFrame, person: BoolArray) -> None:
    rows, columns = np.flatnonzero(person.any(1)), np.flatnonzero(person.any(0))
    box = np.array([columns[0] - 3, rows[0] + 2, columns[-1] + 2, rows[-1] + 4], np.float32)
    found = view.refine([], None, box)
    assert overlap(found.masks.dense(0), person) > 0.8
    assert found.label == 0
    y, x = np.argwhere(person)[len(np.argwhere(person)) // 2].tolist()
    assert view.refine([(float(x), float(y), True)]).masks.dense(0)[y, x]
    with pytest.raises(ValueError, match="expected a mask, a box, or a click inside"):
        view.refine([(3.0, 3.0, False)])


def test_without_a_model_colours_are_enough_for_what_stands_out() -> None:
    image = np.full((120, 160, 3), 40, np.uint8)
    image[30:90, 40:120] = (220, 60, 50)
    truth = (image[..., 0] > 100).astype(bool)
    start = truth.copy()
    start[:, 90:] = False
    view = Refiner(None).open(Frame(image, 0, 0.0))
    found = view.refine([(105.0, 60.0, True)], CompactMasks.from_dense(start[None])).masks.dense(0)
    assert overlap(found, truth) > overlap(start, truth) + 0.1


def test_clicks_outside_of_the_frame_and_tiny_masks_do_no_harm(view: OpenFrame) -> None:
    height, width = view.size
    dot = np.zeros((height, width), bool)
    dot[height - 1, width - 1] = True
    found = view.refine([(1e6, -5.0, False)], CompactMasks.from_dense(dot[None]))
    assert found.masks.frame_size == (height, width)


def test_a_mask_is_carried_until_the_run_agrees(
    refiner: Refiner, frames: list[Frame], view: OpenFrame, person: BoolArray
) -> None:
    mask = CompactMasks.from_dense(person[None])
    alone = list(propagate(refiner, (frames[0], mask), [(k, frames[k], None) for k in (1, 2)]))
    assert [step.frame for step in alone] == [1, 2]
    moved = alone[0].masks
    assert float(moved.iou(mask)[0, 0]) > 0.6
    agreeing = [(1, frames[1], moved), (2, frames[2], None)]
    met = list(propagate(refiner, (frames[0], mask), agreeing))
    assert [(step.frame, step.agrees) for step in met] == [(1, True)]
