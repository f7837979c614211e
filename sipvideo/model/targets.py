"""What each location of the feature pyramid should predict: the assignment of FCOS with centre sampling.

SipMask trains its detection branches like FCOS (section 3 of the paper, "single-stage detector"): a location learns the
smallest object in whose centre region it lies and whose size suits its level. All functions work on one picture;
boxes and points are input pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sipvideo.errors import DatasetError

BACKGROUND = -1


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated objects of one training picture, M may be 0.

    Attributes:
        boxes: float32 [M, 4], x0, y0, x1, y1, input pixels. The published models learn boxes whose x1, y1 are the
            last pixel inside; losses and targets take them as they are.
        labels: int64 [M], 0..C-1.
        masks: bool or uint8 [M, H, W], input pixels; H, W may be smaller than the padded input (top-left part).
        reference_boxes: float32 [R, 4], the objects of the reference picture in its input pixels; None: there is no
            reference picture.
        reference_index: int64 [M], 1 + row in ``reference_boxes`` of the same object, 0 for an object that the
            reference picture does not show (``gt_pids`` of the published data set).
        ignored: bool [H, W], input pixels: neither object nor background (crowds); None: nothing is.
        labelled: the labels that were annotated in this picture; None: all.

    Raises:
        DatasetError: the fields do not fit each other.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    reference_boxes: Tensor | None = None
    reference_index: Tensor | None = None
    ignored: Tensor | None = None
    labelled: frozenset[int] | None = None

    def __post_init__(self) -> None:
        count = len(self.boxes)
        _expect("boxes", self.boxes, (count, 4))
        _expect("labels", self.labels, (count,))
        if self.masks.ndim != 3 or len(self.masks) != count:
            raise DatasetError(f"masks: expected [{count}, H, W], got {list(self.masks.shape)}")
        if self.reference_boxes is None:
            return
        _expect("reference_boxes", self.reference_boxes, (len(self.reference_boxes), 4))
        if self.reference_index is None:
            raise DatasetError("reference_index: expected with reference_boxes, got None")
        _expect("reference_index", self.reference_index, (count,))
        last = len(self.reference_boxes)
        if (
            count
            and not 0 <= int(self.reference_index.min()) <= int(self.reference_index.max()) <= last
        ):
            raise DatasetError(
                f"reference_index: expected 0..{last}, got {self.reference_index.tolist()}"
            )


@dataclass(frozen=True, eq=False)
class Assignment:
    """What the P locations of one picture should predict.

    Attributes:
        labels: int64 [P], 0..C-1, or -1 for background.
        objects: int64 [P], row of the assigned object, or -1.
        distances: float32 [P, 4], left, top, right, bottom in input pixels; 0 for background.
    """

    labels: Tensor
    objects: Tensor
    distances: Tensor


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise DatasetError(f"{name}: expected {list(shape)}, got {list(tensor.shape)}")


def middle(stride: int) -> int:
    """Where the points of a cell lie by default, as published: half a stride from its top left."""
    return stride // 2


def locations(
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    device: torch.device | str | None = None,
    offset: Callable[[int], int] = middle,
) -> list[Tensor]:
    """Points (x, y) of the cells of each level, in raster order.

    Args:
        sizes: (height, width) of each level, in cells.
        strides: input pixels per cell.
        device: where the points are made.
        offset: :meth:`HeadConfig.cell_offset` of the model; by default stride // 2.

    Returns:
        Per level float32 [h * w, 2]; cell (row i, column j) is at (j * stride + offset, i * stride + offset).
    """
    points = []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y = torch.arange(height, device=device, dtype=torch.float32) * stride + offset(stride)
        x = torch.arange(width, device=device, dtype=torch.float32) * stride + offset(stride)
        points.append(torch.stack((x.repeat(height), y.repeat_interleave(width)), 1))
    return points


def regress_ranges(strides: Sequence[int]) -> list[tuple[float, float]]:
    """Which longest side-to-point distance (pixels, both ends included) each level is responsible for.

    A level ends at 8 strides, where the next one begins; the first takes everything smaller and the last
    everything larger: (-1, 64), (64, 128), .., (512, 1e8) for the five published strides 8..128.
    """
    ends = [8.0 * stride for stride in strides[:-1]]
    return list(zip([-1.0, *ends], [*ends, 1e8], strict=True))


def assign(
    points: Sequence[Tensor],
    strides: Sequence[int],
    truth: GroundTruth,
    ranges: Sequence[tuple[float, float]] | None = None,
    radius: float = 1.5,
) -> Assignment:
    """Gives each location the object it should predict.

    A location may predict an object if it lies strictly inside both the object's box and the square of ``radius``
    strides around the box's centre, and if its longest distance to a side is in its level's range. Of several
    objects it takes the one with the smallest area, of equal ones the first.

    Args:
        points: per level float32 [h * w, 2], see :func:`locations`.
        strides: per level, input pixels.
        truth: the picture's objects; none makes everything background.
        ranges: per level (low, high), see :func:`regress_ranges` (the default).
        radius: half side of the centre region in strides; ``math.inf`` for the whole box.

    Returns:
        Levels one after another, P = sum of h * w.
    """
    all_points = torch.cat(list(points))
    if len(truth.boxes) == 0:
        labels = all_points.new_full((len(all_points),), BACKGROUND, dtype=torch.int64)
        return Assignment(labels, labels.clone(), all_points.new_zeros(len(all_points), 4))
    ranges = regress_ranges(strides) if ranges is None else ranges
    # [P, 3]: low and high end of the range, half side of the centre region.
    level = torch.cat(
        [
            point.new_tensor([low, high, radius * stride]).expand(len(point), 3)
            for point, stride, (low, high) in zip(points, strides, ranges, strict=True)
        ]
    )
    low, high, reach = level.unsqueeze(-1).unbind(1)
    boxes = truth.boxes.to(all_points)
    distances = box_distances(all_points.unsqueeze(1), boxes)  # [P, M, 4]
    longest = distances.amax(-1)
    allowed = _in_centre_region(all_points, boxes, reach) & (longest >= low) & (longest <= high)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    areas = torch.where(allowed, areas, math.inf)
    # argmin is documented to give the first of equal minima.
    objects = areas.argmin(1)
    positive = allowed.any(1)
    distances = distances[torch.arange(len(all_points), device=objects.device), objects]
    return Assignment(
        torch.where(positive, truth.labels.to(objects.device)[objects], BACKGROUND),
        torch.where(positive, objects, -1),
        torch.where(positive.unsqueeze(1), distances, 0.0),
    )


def _in_centre_region(points: Tensor, boxes: Tensor, reach: Tensor) -> Tensor:
    """bool [P, M]: point strictly inside the box and the square of half side ``reach`` [P, 1] around its centre."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    first = torch.maximum(centres - reach.unsqueeze(-1), boxes[:, :2])
    last = torch.minimum(centres + reach.unsqueeze(-1), boxes[:, 2:])
    at = points.unsqueeze(1)
    return ((at > first) & (at < last)).all(-1)


def box_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances left, top, right, bottom [.., 4] from points (x, y) [.., 2] to the sides of boxes [.., 4]."""
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)


def boxes_at(points: Tensor, distances: Tensor) -> Tensor:
    """Inverse of :func:`box_distances`: boxes [.., 4], not clipped; negative distances may give inverted ones."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


def centerness(distances: Tensor) -> Tensor:
    """How central a point is in its box (FCOS, eq. 3): 1 at the centre, towards 0 at the sides.

    Args:
        distances: float32 [N, 4], positive left, top, right, bottom.

    Returns:
        float32 [N], sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).
    """
    across, down = distances[:, 0::2], distances[:, 1::2]
    ratio = (across.amin(1) / across.amax(1)) * (down.amin(1) / down.amax(1))
    return ratio.sqrt()
