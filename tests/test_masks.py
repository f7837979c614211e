"""Compact masks against full frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from sipvideo.masks import CompactMasks, from_rles

stacks = hnp.arrays(
    np.bool_,
    st.tuples(st.integers(0, 4), st.integers(1, 17), st.integers(1, 35)),
    fill=st.just(False),
)


@given(stacks)
def test_dense_masks_come_back(dense: np.ndarray) -> None:
    compact = CompactMasks.from_dense(dense)
    assert len(compact) == len(dense)
    for k, mask in enumerate(dense):
        np.testing.assert_array_equal(compact.dense(k), mask)
    np.testing.assert_array_equal(compact.areas(), dense.sum((1, 2)))


@given(stacks)
def test_run_length_encoding_equals_pycocotools_and_comes_back(dense: np.ndarray) -> None:
    compact = CompactMasks.from_dense(dense)
    rles = [compact.rle(k) for k in range(len(dense))]
    for rle, mask in zip(rles, dense, strict=True):
        expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
    again = from_rles(rles, (dense.shape[1], dense.shape[2]))
    for k, mask in enumerate(dense):
        np.testing.assert_array_equal(again.dense(k), mask)


@given(stacks, st.integers(0, 2**32 - 1))
def test_overlap_equals_the_definition(dense: np.ndarray, seed: int) -> None:
    other = np.random.default_rng(seed).random((3, *dense.shape[1:])) < 0.4
    measured = CompactMasks.from_dense(dense).iou(CompactMasks.from_dense(other))
    assert measured.shape == (len(dense), 3)
    for i, a in enumerate(dense):
        for j, b in enumerate(other):
            union = np.count_nonzero(a | b)
            expected = np.count_nonzero(a & b) / union if union else 0.0
            assert measured[i, j] == pytest.approx(expected)


@given(stacks, st.tuples(*[st.integers(-3, 40)] * 4))
def test_pixels_inside_a_window_are_counted(
    dense: np.ndarray, window: tuple[int, int, int, int]
) -> None:
    compact = CompactMasks.from_dense(dense)
    x0, y0, x1, y1 = (max(side, 0) for side in window)
    for k, mask in enumerate(dense):
        assert compact.area_inside(k, window) == np.count_nonzero(mask[y0:y1, x0:x1])


@given(stacks.filter(len))
def test_a_union_has_the_pixels_of_all(dense: np.ndarray) -> None:
    half = len(dense) // 2
    parts = [CompactMasks.from_dense(dense[:half]), CompactMasks.from_dense(dense[half:])]
    whole = CompactMasks.concatenated(parts)
    np.testing.assert_array_equal(whole.dense(len(dense) - 1), dense[-1])
    union = whole.union(range(len(dense)))
    np.testing.assert_array_equal(union.dense(0), dense.any(0))


@given(st.integers(-6, 22), st.integers(-6, 12), st.integers(0, 9), st.integers(0, 9))
def test_crops_that_leave_the_frame_are_cut(x0: int, y0: int, width: int, height: int) -> None:
    crop = np.random.default_rng(0).random((height, width)) < 0.5
    canvas = np.zeros((12 + 40, 20 + 40), bool)
    canvas[y0 + 20 : y0 + 20 + height, x0 + 20 : x0 + 20 + width] = crop
    compact = CompactMasks.from_crops([crop], [(x0, y0)], (12, 20))
    np.testing.assert_array_equal(compact.dense(0), canvas[20:32, 20:40])


def test_selection_keeps_order_and_accepts_nothing() -> None:
    dense = np.random.default_rng(1).random((4, 6, 9)) < 0.5
    compact = CompactMasks.from_dense(dense)
    np.testing.assert_array_equal(compact[[2, 0]].dense(0), dense[2])
    np.testing.assert_array_equal(compact[np.array([True, False, False, True])].dense(1), dense[3])
    assert len(compact[[]]) == 0
    assert len(CompactMasks.empty((5, 5)).iou(compact[[]])) == 0


@pytest.mark.parametrize("shape", [(37, 300), (120, 801), (600, 640), (1, 12345)])
def test_pixels_of_large_masks_are_counted_as_those_of_small_ones(shape: tuple[int, int]) -> None:
    dense = np.random.default_rng(2).random((2, *shape)) < 0.5
    compact = CompactMasks.from_dense(dense)
    assert compact.areas().tolist() == dense.sum((1, 2)).tolist()
    assert compact.common(0, compact, 1) == np.count_nonzero(dense[0] & dense[1])
    step = np.array([[3, 0], [-5, 0]], np.int32)
    apart = np.count_nonzero(dense[0, :, : shape[1] - 8] & dense[1, :, 8:])
    assert compact.moved(step).common(0, compact.moved(step), 1) == apart


def test_areas_are_right_whether_counted_before_or_after_a_selection() -> None:
    dense = np.random.default_rng(3).random((4, 6, 9)) < 0.5
    compact, areas = CompactMasks.from_dense(dense), dense.sum((1, 2))
    assert compact.area(2) == areas[2]
    chosen = compact[[3, 2, 2]]
    assert chosen.areas().tolist() == areas[[3, 2, 2]].tolist()
    assert compact.areas().tolist() == areas.tolist()


def test_a_hundred_objects_at_4k_cost_megabytes_not_gigabytes() -> None:
    crop = np.ones((216, 384), bool)
    compact = CompactMasks.from_crops([crop] * 100, [(17, 5)] * 100, (2160, 3840))
    assert sum(bits.nbytes for bits in compact.bits) < 1.1 * 100 * 216 * 384 / 8 + 100 * 216


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 1 crops, got 0"):
        CompactMasks(np.zeros((1, 4), np.int32), (), (4, 4))
    with pytest.raises(ValueError, match=r"expected \[N, 4\]"):
        CompactMasks(np.zeros((1, 3), np.int32), (), (4, 4))


@given(stacks, st.integers(-20, 20), st.integers(-9, 9))
def test_moved_masks_overlap_where_they_went(dense: np.ndarray, dx: int, dy: int) -> None:
    compact = CompactMasks.from_dense(dense)
    steps = np.tile(np.array([[dx, dy]], np.int32), (len(dense), 1))
    canvas = np.zeros((len(dense), dense.shape[1] + 18, dense.shape[2] + 40), bool)
    height, width = dense.shape[1:]
    canvas[:, 9 + dy : 9 + dy + height, 20 + dx : 20 + dx + width] = dense
    seen = canvas[:, 9 : 9 + height, 20 : 20 + width]
    overlap = compact.moved(steps).iou(compact)
    for i, moved in enumerate(seen):
        for j, still in enumerate(dense):
            intersection = np.count_nonzero(moved & still)
            union = np.count_nonzero(dense[i]) + np.count_nonzero(still) - intersection
            assert overlap[i, j] == pytest.approx(intersection / union if union else 0.0)


@given(stacks, st.integers(1, 40), st.integers(1, 40))
def test_resized_masks_show_the_nearest_pixel(dense: np.ndarray, height: int, width: int) -> None:
    masks = CompactMasks.from_dense(dense).resized((height, width))
    rows = ((np.arange(height) + 0.5) * dense.shape[1] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * dense.shape[2] / width).astype(int)
    for k, mask in enumerate(dense):
        assert np.array_equal(masks.dense(k), mask[np.ix_(rows, columns)])
