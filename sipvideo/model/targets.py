"""What each location of the feature pyramid should predict: the assignment of FCOS with centre sampling.

SipMask trains its detection branches like FCOS (section 3 of the paper, "single-stage detector"): a location learns the
smallest object in whose centre region it lies and whose size suits its level. All functions work on one picture;
boxes and points are input pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sipvideo.errors import DatasetError
from sipvideo.structures import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The annotated objects of one training picture, M may be 0. Masks may be on a device; all else is on the host.

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
        index = self.reference_index.cpu().numpy()
        if count and not 0 <= index.min() <= index.max() <= last:
            raise DatasetError(f"reference_index: expected 0..{last}, got {index.tolist()}")


@dataclass(frozen=True, eq=False)
class Positives:
    """The N locations of one picture that should predict an object; on the host. All others are background.

    Attributes:
        at: int64 [N], ascending; locations are counted through all levels, row by row.
        objects: int64 [N], rows of the objects.
        labels: int64 [N], 0..C-1.
        distances: float32 [N, 4], left, top, right, bottom in input pixels.
    """

    at: IntArray
    objects: IntArray
    labels: IntArray
    distances: FloatArray


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
    sizes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    truth: GroundTruth,
    ranges: Sequence[tuple[float, float]] | None = None,
    radius: float = 1.5,
    offset: Callable[[int], int] = middle,
) -> Positives:
    """Gives locations the objects that they should predict.

    A location may predict an object if it lies strictly inside both the object's box and the square of ``radius``
    strides around the box's centre, and if its longest distance to a side is in its level's range. Of several
    objects it takes the one with the smallest area, of equal ones the first.

    Only the cells around each object are looked at, on the host: how many rows the losses have is known before the
    device has begun.

    Args:
        sizes, strides, offset: see :func:`locations`.
        truth: the picture's objects; none makes everything background.
        ranges: per level (low, high), see :func:`regress_ranges` (the default).
        radius: half side of the centre region in strides; ``math.inf`` for the whole box.
    """
    boxes = truth.boxes.detach().cpu().numpy().astype(np.float32)
    labels = truth.labels.cpu().numpy().astype(np.int64, copy=False)
    ranges = regress_ranges(strides) if ranges is None else ranges
    nothing = np.zeros(0, np.int64)
    found = [(nothing, nothing, np.zeros((0, 4), np.float32))]
    start = 0
    for size, stride, limits in zip(sizes, strides, ranges, strict=True):
        at, objects, distances = _allowed(boxes, size, (stride, offset(stride)), limits, radius)
        found.append((at + start, objects, distances))
        start += size[0] * size[1]
    at, objects, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    sides = boxes[:, 2:] - boxes[:, :2] + np.float32(1)
    # By location, then area, then row: the first of each location is its object.
    order = np.lexsort((objects, (sides[:, 0] * sides[:, 1])[objects], at))
    at, first = np.unique(at[order], return_index=True)
    chosen = order[first]
    return Positives(at, objects[chosen], labels[objects[chosen]], distances[chosen])


def _allowed(
    boxes: FloatArray,
    size: tuple[int, int],
    cells: tuple[int, int],
    limits: tuple[float, float],
    radius: float,
) -> tuple[IntArray, IntArray, FloatArray]:
    """Pairs of a cell of one level and an object that it may predict: cells [K], objects [K], distances [K, 4].

    Args:
        boxes: float32 [M, 4].
        size: (height, width) of the level.
        cells: their stride, and the offset of their points.
        limits: of the longest distance, both ends included.
        radius: see :func:`assign`.
    """
    stride, offset = cells
    centres = (boxes[:, :2] + boxes[:, 2:]) / np.float32(2)
    reach = np.float32(radius * stride)
    first = np.maximum(centres - reach, boxes[:, :2])
    last = np.minimum(centres + reach, boxes[:, 2:])
    inside = []
    for axis, count in ((0, size[1]), (1, size[0])):
        points = np.arange(count, dtype=np.float32) * np.float32(stride) + np.float32(offset)
        inside.append((points > first[:, axis, None]) & (points < last[:, axis, None]))
    objects, rows, columns = np.nonzero(inside[1][:, :, None] & inside[0][:, None])
    points = np.stack((columns, rows), 1).astype(np.float32) * np.float32(stride)
    points += np.float32(offset)
    distances = np.concatenate(
        (points - boxes[objects, :2], boxes[objects, 2:] - points), 1, dtype=np.float32
    )
    longest = distances.max(1, initial=-np.inf)
    low, high = np.float32(limits[0]), np.float32(limits[1])
    fits = (longest >= low) & (longest <= high)
    return (rows * size[1] + columns)[fits], objects[fits], distances[fits]


def box_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances left, top, right, bottom [.., 4] from points (x, y) [.., 2] to the sides of boxes [.., 4]."""
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), -1)


def boxes_at(points: Tensor, distances: Tensor) -> Tensor:
    """Inverse of :func:`box_distances`: boxes [.., 4], not clipped; negative distances may give inverted ones."""
    return torch.cat((points - distances[..., :2], points + distances[..., 2:]), -1)


def widened(boxes: Tensor, margin: float) -> Tensor:
    """Boxes [..., 4] that reach further on every side, by ``margin`` of their own sides."""
    if not margin:
        return boxes
    more = (boxes[..., 2:] - boxes[..., :2]) * margin
    return torch.cat((boxes[..., :2] - more, boxes[..., 2:] + more), -1)


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
