from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from sipvideo.studio.runs_of_masks import areas_of

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda size: arrays(np.uint8, size, elements=st.integers(0, 1))
)


def text_of(mask: np.ndarray) -> str:
    return str(coco_mask.encode(np.asfortranarray(mask))["counts"].decode())


@settings(max_examples=50, deadline=None)
@given(st.lists(MASKS, max_size=5))
def test_areas_of_many_masks_are_those_of_each(masks: list[np.ndarray]) -> None:
    pixels = np.array([mask.size for mask in masks], np.int64)
    found = areas_of([text_of(mask) for mask in masks], pixels)
    assert found.tolist() == [int(mask.sum()) for mask in masks]


def test_a_large_mask_is_counted_whole() -> None:
    mask = np.zeros((4320, 7680), np.uint8)
    mask[:, 100:] = 1
    assert areas_of([text_of(mask)], np.array([mask.size])).tolist() == [4320 * 7580]


@pytest.mark.parametrize(
    "counts", ["", "~", "\u00e9", "a" * 9, "11", 5, [4, 4], text_of(np.ones((9, 9), np.uint8))]
)
def test_what_is_no_mask_of_its_frame_is_refused(counts: object) -> None:
    good = text_of(np.eye(8, dtype=np.uint8))
    with pytest.raises(ValueError, match="no compressed RLE of its frame"):
        areas_of([good, counts, good], np.array([64, 64, 64]))  # type: ignore[list-item]
