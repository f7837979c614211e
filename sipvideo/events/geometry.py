"""Where an object stands: masks against polygons and lines. Points are parts of the picture, x and y in 0..1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.masks import CompactMasks

Point = tuple[float, float]
FOOT_SHARE = 0.05
"""Lowest part of a mask's rows whose middle is the foot: both shoes of somebody who walks."""


def feet(masks: CompactMasks) -> NDArray[np.float64]:
    """Where each object stands, float64 [N, 2]: across the middle of its lowest pixels, down their lower edge."""
    height, width = masks.frame_size
    points = np.zeros((len(masks), 2))
    for k, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        filled = np.flatnonzero(masks.bits[k].any(1))
        if not len(filled):
            points[k] = (x0 + x1) / 2, y1
            continue
        bottom = int(filled[-1]) + 1
        top = max(bottom - max(round(FOOT_SHARE * (bottom - int(filled[0]))), 1), 0)
        rows = np.unpackbits(masks.bits[k][top:bottom], axis=1)
        points[k] = x0 - x0 % 8 + np.flatnonzero(rows.any(0)).mean() + 0.5, y0 + bottom
    return points / (width, height)


def centres(masks: CompactMasks) -> NDArray[np.float64]:
    """The middle of each mask's window, float64 [N, 2]."""
    height, width = masks.frame_size
    windows = masks.windows.astype(np.float64)
    middles: NDArray[np.float64] = (windows[:, :2] + windows[:, 2:]) / 2 / (width, height)
    return middles


def drawn(polygon: Sequence[Point], frame_size: tuple[int, int]) -> CompactMasks:
    """The polygon's pixels in a frame of (height, width), as one mask."""
    height, width = frame_size
    corners = (np.array(polygon) * (width, height)).ravel().tolist()
    encoded = coco_mask.frPyObjects([corners], height, width)
    dense = coco_mask.decode(encoded).transpose(2, 0, 1)
    return CompactMasks.from_dense(dense)


def contains(polygon: Sequence[Point], point: Point) -> bool:
    """Whether the point lies inside, by the even-odd rule; points on the picture's edge count as just inside of it."""
    x, y = (min(max(value, 1e-9), 1 - 1e-9) for value in point)
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


def side(begin: Point, end: Point, point: Point) -> int:
    """1 right of the line as seen from ``begin`` towards ``end`` (y points down), -1 left of it or on it."""
    return 1 if _turn(begin, end, point) > 0 else -1


def meets(begin: Point, end: Point, before: Point, after: Point) -> bool:
    """Whether the way from ``before`` to ``after`` crosses the line between its ends, which belong to it.

    So a line that ends on the picture's edge counts those whose feet the edge cuts off.
    """
    ends = _turn(before, after, begin) * _turn(before, after, end)
    return side(begin, end, before) != side(begin, end, after) and ends <= 0


def _turn(begin: Point, end: Point, point: Point) -> float:
    """Above 0 right of the line, below 0 left of it, 0 on it."""
    across = (end[0] - begin[0]) * (point[1] - begin[1])
    down = (end[1] - begin[1]) * (point[0] - begin[0])
    return across - down
