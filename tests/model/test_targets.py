"""Assignment of objects to locations: against the published numbers, against loops, and at the edges."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.errors import DatasetError
from sipvideo.model.targets import (
    GroundTruth,
    box_distances,
    boxes_at,
    centerness,
    locations,
    regress_ranges,
)
from tests.model.assigning import Assignment, assign

STRIDES = (8, 16, 32, 64, 128)
SIZES = ((20, 32), (10, 16), (5, 8), (3, 4), (2, 2))
"""Levels of a 256 x 160 picture."""


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz") as file:
        return dict(file)


def truth(
    boxes: list[list[float]] | Tensor, labels: list[int] | Tensor | None = None
) -> GroundTruth:
    """Objects without pixels: assignment reads boxes and labels only."""
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return GroundTruth(boxes, labels, torch.zeros(len(boxes), 1, 1, dtype=torch.bool))


def assigned(boxes: list[list[float]] | Tensor, **options: float) -> Assignment:
    return assign(locations(SIZES, STRIDES), STRIDES, truth(boxes), **options)  # type: ignore[arg-type]


def slow_assignment(boxes: Tensor) -> list[int]:
    """Row of the object of every location, or -1, by loops over locations and objects."""
    result = []
    ends = (-1.0, 64.0, 128.0, 256.0, 512.0, 1e8)
    for level, (height, width) in enumerate(SIZES):
        stride = STRIDES[level]
        for cell in range(height * width):
            x = cell % width * stride + stride // 2
            y = cell // width * stride + stride // 2
            best, best_area = -1, math.inf
            for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
                sides = (x - x0, y - y0, x1 - x, y1 - y)
                central = (
                    abs(x - (x0 + x1) / 2) < 1.5 * stride and abs(y - (y0 + y1) / 2) < 1.5 * stride
                )
                suits = ends[level] <= max(sides) <= ends[level + 1]
                area = (x1 - x0 + 1) * (y1 - y0 + 1)
                if min(sides) > 0 and central and suits and area < best_area:
                    best, best_area = k, area
            result.append(best)
    return result


def test_labels_and_distances_equal_the_published_example(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    points = locations(SIZES, STRIDES)
    np.testing.assert_array_equal(torch.cat(points).numpy(), reference["ta_points"])
    labels = torch.from_numpy(reference["ta_gl"]) - 1
    found = assign(points, STRIDES, truth(torch.from_numpy(reference["ta_gts"]), labels))
    np.testing.assert_array_equal(found.labels.numpy() + 1, reference["ta_labels"])
    positive = (found.labels >= 0).numpy()
    assert positive.sum() == 25
    np.testing.assert_array_equal(found.objects.numpy()[positive], reference["ta_gtind"])
    np.testing.assert_array_equal(
        found.distances.numpy()[positive], reference["ta_targets"][positive]
    )


def test_a_training_batch_is_assigned_as_published(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    central = []
    for item, positives in ((0, 12), (1, 9)):
        labels = torch.from_numpy(reference[f"batch__gt_labels_{item}"]) - 1
        boxes = torch.from_numpy(reference[f"batch__gt_bboxes_{item}"])
        found = assign(locations(SIZES, STRIDES), STRIDES, truth(boxes, labels))
        np.testing.assert_array_equal(found.labels.numpy() + 1, reference[f"batch__labels_{item}"])
        positive = (found.labels >= 0).numpy()
        assert positive.sum() == positives
        np.testing.assert_array_equal(
            found.objects.numpy()[positive], reference[f"batch__gt_ind_{item}"]
        )
        np.testing.assert_array_equal(
            found.distances.numpy()[positive], reference[f"batch__bbox_targets_{item}"][positive]
        )
        central.append(centerness(found.distances[found.labels >= 0]))
    # The published batch has its positives level by level; sorted, the order does not matter.
    np.testing.assert_allclose(
        torch.cat(central).sort().values.numpy(),
        np.sort(reference["batch__centerness_targets"]),
        rtol=1e-6,
    )


# Quarters of pixels: no rounding, so the loops must agree exactly; they also make points lie on borders.
BOX = st.tuples(
    *(st.integers(-80, 1100), st.integers(-80, 700), st.integers(0, 1200), st.integers(0, 800))
).map(lambda b: [b[0] / 4, b[1] / 4, (b[0] + b[2]) / 4, (b[1] + b[3]) / 4])


@given(st.lists(BOX, max_size=5))
def test_assignment_equals_loops_over_locations_and_objects(boxes: list[list[float]]) -> None:
    found = assigned(boxes)
    expected = slow_assignment(truth(boxes).boxes)
    assert found.objects.tolist() == expected
    assert found.labels.tolist() == expected


@given(st.lists(BOX, min_size=1, max_size=5))
def test_a_positive_location_and_its_distances_give_its_object_back(
    boxes: list[list[float]],
) -> None:
    found = assigned(boxes)
    positive = found.objects >= 0
    points = torch.cat(locations(SIZES, STRIDES))[positive]
    rebuilt = boxes_at(points, found.distances[positive])
    assert torch.equal(rebuilt, truth(boxes).boxes[found.objects[positive]])
    assert (found.distances[positive] > 0).all()
    assert (found.distances[~positive] == 0).all()


def test_a_picture_without_objects_is_all_background() -> None:
    found = assigned([])
    assert found.labels.shape == (856,)
    assert (found.labels == -1).all()
    assert (found.objects == -1).all()
    assert (found.distances == 0).all()


def test_of_equal_boxes_the_first_wins() -> None:
    box = [40.0, 40.0, 80.0, 80.0]
    found = assigned([box, box, box])
    assert set(found.objects.tolist()) == {-1, 0}


def test_the_smaller_of_two_objects_wins_wherever_both_are_allowed() -> None:
    large, small = [20.0, 20.0, 76.0, 76.0], [28.0, 28.0, 68.0, 68.0]
    centre = assigned([large, small]).objects == 1
    assert torch.equal(centre, assigned([small, large]).objects == 0)
    assert centre.any()


def test_areas_count_the_last_pixel() -> None:
    # 10 x 41 is less than 20.5 x 20.4, but with a pixel more per side it is more.
    narrow, square = [47.0, 31.5, 57.0, 72.5], [41.75, 41.8, 62.25, 62.2]
    both = assigned([narrow, square]).objects
    contested = (assigned([narrow]).objects == 0) & (assigned([square]).objects == 0)
    assert contested.any()
    assert (both[contested] == 1).all()


def test_points_on_the_border_of_a_box_are_background() -> None:
    # Points of the finest level are at 4, 12, 20, ...; only x = 12 is strictly inside.
    found = assigned([[4.0, 4.0, 20.0, 20.0]])
    assert torch.nonzero(found.labels == 0).flatten().tolist() == [32 + 1]


def test_a_distance_at_the_end_of_a_range_belongs_to_both_levels() -> None:
    # The left side is 64 pixels from the point, the end of the first range and the start of the second.
    points = [torch.tensor([[68.0, 68.0]]), torch.tensor([[68.0, 68.0]])]
    found = assign(points, (8, 16), truth([[4.0, 58.0, 78.0, 78.0]]), radius=math.inf)
    assert found.labels.tolist() == [0, 0]


def test_without_a_radius_every_point_in_the_box_learns_it() -> None:
    box = [0.0, 0.0, 60.0, 60.0]
    inside = assigned([box], radius=math.inf).labels[: 20 * 32].reshape(20, 32) == 0
    assert inside[:7, :7].all()
    assert inside.sum() == 49
    assert (assigned([box]).labels[: 20 * 32] == 0).sum() == 9


def test_ranges_follow_the_strides() -> None:
    assert regress_ranges(STRIDES) == [(-1, 64), (64, 128), (128, 256), (256, 512), (512, 1e8)]
    assert regress_ranges((8, 16, 32)) == [(-1, 64), (64, 128), (128, 1e8)]
    assert regress_ranges((16,)) == [(-1, 1e8)]


def test_three_levels_share_all_sizes_of_objects() -> None:
    points = locations(SIZES[:3], STRIDES[:3])
    for side, level in ((30, 0), (150, 1), (500, 2)):
        box = [128.0 - side / 2, 80.0 - side / 2, 128.0 + side / 2, 80.0 + side / 2]
        labels = torch.split(assign(points, STRIDES[:3], truth([box])).labels, [640, 160, 40])
        assert [bool((one == 0).any()) for one in labels] == [k == level for k in range(3)]


def test_own_ranges_replace_the_default_ones() -> None:
    points = locations(SIZES[:1], STRIDES[:1])
    box = truth([[40.0, 40.0, 80.0, 80.0]])
    assert (assign(points, (8,), box).labels == 0).any()
    assert (assign(points, (8,), box, ranges=[(100.0, 200.0)]).labels == -1).all()


def test_locations_are_cell_centres_rounded_up_in_raster_order() -> None:
    (points,) = locations([(2, 3)], [8])
    assert points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert locations([(1, 2)], [5])[0].tolist() == [[2, 2], [7, 2]]


def test_distances_and_boxes_are_inverse() -> None:
    torch.manual_seed(0)
    points, boxes = torch.rand(50, 2) * 100, torch.rand(50, 4) * 100
    torch.testing.assert_close(boxes_at(points, box_distances(points, boxes)), boxes)


def test_centerness_is_one_in_the_centre_and_falls_to_the_sides() -> None:
    middle = centerness(torch.tensor([[10.0, 4.0, 10.0, 4.0]]))
    assert middle.tolist() == [1.0]
    off = centerness(torch.tensor([[5.0, 4.0, 15.0, 4.0], [2.0, 1.0, 18.0, 7.0]]))
    torch.testing.assert_close(off, torch.tensor([1 / 3, 1 / 63]).sqrt())
    assert centerness(torch.zeros(0, 4)).shape == (0,)


BOXES, LABELS, MASKS = torch.zeros(2, 4), torch.zeros(2).long(), torch.zeros(2, 4, 4).bool()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": torch.zeros(2, 5)}, r"boxes: expected \[2, 4\], got \[2, 5\]"),
        ({"labels": LABELS[:1]}, r"labels: expected \[2\], got \[1\]"),
        ({"masks": MASKS[:1]}, r"masks: expected \[2, H, W\], got \[1, 4, 4\]"),
        ({"reference_boxes": BOXES}, "reference_index: expected with reference_boxes, got None"),
        (
            {"reference_boxes": BOXES, "reference_index": torch.tensor([0, 3])},
            r"reference_index: expected 0..2, got \[0, 3\]",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_name(
    fields: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        GroundTruth(**({"boxes": BOXES, "labels": LABELS, "masks": MASKS} | fields))
