"""Pure functions on boxes [N, 4] (x0, y0, x1, y1), numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def iou(a: NDArray[np.float32], b: NDArray[np.float32], pixel: float = 0.0) -> NDArray[np.float32]:
    """Pairwise intersection over union, float32 [N, M].

    Args:
        a: float32 [N, 4].
        b: float32 [M, 4].
        pixel: added to every width and height. The published tracker measures closed pixel boxes (``pixel=1``).
    """
    width, height = np.maximum(common_sides(a, b) + np.float32(pixel), 0)
    intersection = width * height
    area_a = (a[:, 2] - a[:, 0] + np.float32(pixel)) * (a[:, 3] - a[:, 1] + np.float32(pixel))
    area_b = (b[:, 2] - b[:, 0] + np.float32(pixel)) * (b[:, 3] - b[:, 1] + np.float32(pixel))
    union = area_a[:, None] + area_b[None, :] - intersection
    result: NDArray[np.float32] = np.zeros_like(intersection)
    np.divide(intersection, union, out=result, where=union != 0)
    return result


def common_sides(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Widths and heights [2, N, M] that boxes [N, 4] and [M, 4] have in common, negative for those apart."""
    # The boxes of b innermost and side by side in memory: several times as quick.
    a, b = a.T[:, :, None], np.ascontiguousarray(b.T)[:, None]
    sides: NDArray[np.float32] = np.minimum(a[2:4], b[2:4])
    sides -= np.maximum(a[:2], b[:2])
    return sides


def covered(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Which share of each box of ``b`` [M, 4] lies inside each box of ``a`` [N, 4]: float32 [N, M]."""
    width, height = np.maximum(common_sides(a, b), 0)
    x0, y0, x1, y1 = b.T
    area = (x1 - x0) * (y1 - y0)
    result: NDArray[np.float32] = width * height
    result /= np.where(area > 0, area, np.float32(np.inf))
    return result


def part_edges(
    low: NDArray[np.float32], high: NDArray[np.float32], size: int, parts: int
) -> NDArray[np.int64]:
    """Splits one side of N boxes as the published crop-split operation does.

    Args:
        low: float32 [N], where the boxes start, pixels of a map.
        high: float32 [N], where they end.
        size: pixels of the map along this side.
        parts: number of parts k.

    Returns:
        int64 [N, k + 1], pixel indices; part i holds the pixels ``edges[i]`` to ``edges[i + 1] - 1``. Pixel p is
        inside if low <= p < high; its part is int((p - low) / ((high - low + 0.1) / k)) in single precision. All 0
        for boxes that are inverted, empty, outside or not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        sound = (low < high) & np.isfinite(high - low)
    low, high = np.where(sound, low, np.float32(0)), np.where(sound, high, np.float32(0))
    start, stop = np.ceil(low).clip(0, size), np.ceil(high).clip(0, size)
    stop = np.maximum(stop, start)
    step = (((high - low).astype(np.float64) + 0.1) / parts).astype(np.float32)[:, None]
    number = np.arange(1, parts, dtype=np.float32)
    # Where a part begins up to rounding; the published division decides which of the pixels around is its first.
    about = np.ceil(low[:, None] + number * step) - 1
    before = sum((about + k - low[:, None]) / step < number for k in range(3))
    inner = (about + before).clip(start[:, None], stop[:, None])
    edges = np.concatenate((start[:, None], inner, stop[:, None]), 1).astype(np.int64)
    edges[start == stop] = 0
    return edges


def shape_maps(box: NDArray[np.float32], window: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """The maps 1, u, v, u^2, v^2, u v of one box, where u and v run from -1 to 1 across and down it.

    Args:
        box: float32 [4], map pixels.
        window: x0, y0, x1, y1 of the pixels that are wanted, x1, y1 exclusive.

    Returns:
        float32 [6, h, w], at the middles of the pixels.
    """
    x0, y0, x1, y1 = window
    half = np.maximum(box[2:] - box[:2], np.float32(1e-3)) / 2
    middle = (box[:2] + box[2:]) / 2
    u = (np.arange(x0, x1, dtype=np.float32) + np.float32(0.5) - middle[0]) / half[0]
    v = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5) - middle[1]) / half[1]
    maps = np.ones((6, y1 - y0, x1 - x0), np.float32)
    maps[1], maps[2] = u, v[:, None]
    maps[3:5] = maps[1:3] ** 2
    maps[5] = maps[1] * maps[2]
    return maps


def widened(boxes: NDArray[np.float32], margin: float) -> NDArray[np.float32]:
    """Boxes [N, 4] that reach further on every side, by ``margin`` of their own sides."""
    if not margin:
        return boxes
    more = (boxes[:, 2:] - boxes[:, :2]) * np.float32(margin)
    return np.concatenate((boxes[:, :2] - more, boxes[:, 2:] + more), 1)


def spread(sides: NDArray[np.float32], size: int, count: int) -> NDArray[np.float32]:
    """How values that are spread evenly along one side of boxes are interpolated at the middles of a map's pixels.

    Args:
        sides: float32 [N, 2], where the boxes begin and end, pixels of the map.
        size: pixels of the map along this side.
        count: of the values, in the middles of as many equal pieces of the side. Outside of them the outermost counts.

    Returns:
        float32 [N, size, count], rows that sum to 1.
    """
    low, high = sides[:, :1], sides[:, 1:]
    share = (np.arange(size, dtype=np.float32) + np.float32(0.5) - low) / np.maximum(
        high - low, np.float32(1e-3)
    )
    at = np.clip(share * np.float32(count) - np.float32(0.5), 0, count - 1)[..., None]
    weights: NDArray[np.float32] = at - np.arange(count, dtype=np.float32)
    np.abs(weights, out=weights)
    np.subtract(1, weights, out=weights)
    return np.maximum(weights, 0, out=weights)
