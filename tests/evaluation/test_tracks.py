"""Overlaps of tracks, against dense masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from sipvideo.evaluation import tracks as tracks_module
from sipvideo.evaluation.rle import mask_areas, mask_boxes
from sipvideo.evaluation.tracks import MaskTracks, frame_iou, track_iou
from tests.evaluation import plain
from tests.evaluation.sets import blob, rle


def _random(seed: int, count: int, frames: int) -> tuple[list[list[Any]], MaskTracks]:
    rng = np.random.default_rng(seed)
    dense = [
        [None if rng.random() < 0.3 else blob(rng, (23, 31)) for _ in range(frames)]
        for _ in range(count)
    ]
    read = [[None if m is None else rle(m) for m in row] for row in dense]
    return dense, MaskTracks.read(read)


@given(seed=st.integers(0, 10**6), d=st.integers(0, 4), g=st.integers(0, 4), t=st.integers(0, 9))
def test_overlaps_equal_those_of_dense_masks(seed: int, d: int, g: int, t: int) -> None:
    ours, mine = _random(seed, d, t)
    others, theirs = _random(seed + 1, g, t)
    expected = [[plain.track_iou(a, b) for b in others] for a in ours]
    np.testing.assert_array_equal(track_iou(mine, theirs), np.reshape(expected, (d, g)))
    assert mine.areas.sum() == sum(int(m.sum()) for row in ours for m in row if m is not None)
    meets = frame_iou(mine, theirs)
    for a, b, frame, iou in zip(meets.mine, meets.theirs, meets.frame, meets.area, strict=True):
        assert iou == plain.track_iou([ours[a][frame]], [others[b][frame]])


def test_tracks_of_other_groups_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    _, mine = _random(1, 5, 6)
    _, theirs = _random(2, 4, 6)
    groups = np.array([0, 1, 2, 3, 7]), np.array([7, 1, 1, 0])
    full = track_iou(mine, theirs)
    expected = np.where(groups[0][:, None] == groups[1], full, 0)
    np.testing.assert_array_equal(track_iou(mine, theirs, groups), expected)
    monkeypatch.setattr(tracks_module, "CALL", 0)  # Each class alone.
    np.testing.assert_array_equal(track_iou(mine, theirs, groups), expected)


def test_areas_and_boxes_of_many_masks_equal_those_of_single_ones() -> None:
    rng = np.random.default_rng(0)
    rles = [rle(blob(rng, (20, 20))) for _ in range(600)]
    assert mask_areas(rles).tolist() == [int(coco_mask.area(r)) for r in rles]
    assert mask_boxes(rles).tolist() == [coco_mask.toBbox(r).tolist() for r in rles]


def test_masks_without_pixels_and_full_ones_are_read() -> None:
    for mask in (np.zeros((5, 7), bool), np.ones((5, 7), bool)):
        read = MaskTracks.read([[rle(mask)]])
        assert read.areas.tolist() == [[mask.sum()]]
        assert read.present.all()
