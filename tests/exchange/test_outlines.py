"""Masks as polygons along their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.exchange.outlines import as_list, outline, outlines

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def drawn(polygons: list[list[float]], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """As COCO rasterises."""
    if not polygons:
        return np.zeros_like(mask)
    rles = coco_mask.frPyObjects(polygons, *mask.shape)
    found: NDArray[np.bool_] = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
    return found


@given(mask=MASKS)
def test_outlines_give_back_the_very_mask(mask: NDArray[np.bool_]) -> None:
    assert (drawn([as_list(ring) for ring in outlines(mask)], mask) == mask).all()


@given(mask=MASKS)
def test_one_outline_gives_back_parts_and_holes_too(mask: NDArray[np.bool_]) -> None:
    ring = outline(mask)
    assert (ring is None) == (not mask.any())
    assert (drawn([] if ring is None else [as_list(ring)], mask) == mask).all()


def test_only_corners_are_kept() -> None:
    mask = np.zeros((50, 60), bool)
    mask[10:30, 5:45] = True
    (ring,) = outlines(mask)
    assert sorted(map(tuple, ring.tolist())) == [(5, 10), (5, 30), (45, 10), (45, 30)]


@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_a_tolerance_leaves_fewer_corners_and_nearly_the_mask(tolerance: float) -> None:
    y, x = np.mgrid[:80, :80]
    mask = (x - 40) ** 2 + (y - 38) ** 2 < 30**2
    (exact,), (simple,) = outlines(mask), outlines(mask, tolerance)
    again = drawn([as_list(simple)], mask)
    assert len(simple) < len(exact) / 2
    assert (again & mask).sum() / (again | mask).sum() > 1 - 0.02 * tolerance
