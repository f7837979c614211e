"""Feature maps read at a few places: bilinear taps, the neighbours of cells, and small dense layers, in numpy."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import FloatArray, IntArray


def cells(feature: FloatArray) -> FloatArray:
    """A map [C, H, W] of any strides as one row per cell, [H * W, C]; shares the memory."""
    channels, height, width = feature.shape
    return feature.transpose(1, 2, 0).reshape(height * width, channels)


def gather(rows: FloatArray, index: IntArray) -> FloatArray:
    """Rows ``index`` [P] of [H * W, C], contiguous."""
    if not rows.flags.c_contiguous:
        # Single values lie far apart in channels-first memory: few are fetched, for many the map is turned around.
        if 2 * len(index) < len(rows):
            return np.ascontiguousarray(rows[index])
        rows = _turned(rows)
    return rows.take(index, axis=0)


def _turned(rows: FloatArray) -> FloatArray:
    """The same values, contiguous."""
    if not rows.T.flags.c_contiguous:
        return np.ascontiguousarray(rows)
    # Ten times as quick as numpy's copy.
    return np.asarray(cv2.transpose(rows.T), np.float32)


def limited(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """``values.clip(low, high)``, which on small arrays takes several times as long."""
    result: NDArray[Any] = np.minimum(np.maximum(values, low), high)
    return result


def sample(feature: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """Bilinear samples of a feature map, one position set per channel group.

    Args:
        feature: [C, H, W], any strides.
        y: [P, G, T], rows in cells, for P places, G channel groups and T taps; outside the map is 0, as in
            deformable convolution (a corner outside counts as 0).
        x: [P, G, T], columns in cells.

    Returns:
        [P, G * T * C / G], ordered group, tap, channel.
    """
    channels, height, width = feature.shape
    places, groups, taps = y.shape
    rows = cells(feature)
    if groups > 1:  # row i * G + g: cell i as group g sees it
        rows = np.ascontiguousarray(rows).reshape(-1, channels // groups)
    row, row_weight = _corners(y, height)
    column, column_weight = _corners(x, width)
    index = row[:, None] * (width * groups) + column * groups
    if groups > 1:
        index += np.arange(groups).reshape(1, groups, 1)
    weight = (row_weight[:, None] * column_weight).reshape(4, -1, 1)
    corners = gather(rows, index.reshape(-1)).reshape(4, -1, rows.shape[1])
    corners *= weight
    corners[0] += corners[1]
    corners[2] += corners[3]
    corners[0] += corners[2]
    result: FloatArray = corners[0].reshape(places, groups * taps * rows.shape[1])
    return result


def _corners(position: FloatArray, size: int) -> tuple[IntArray, FloatArray]:
    """Cells before and after positions [...] on an axis, and their bilinear weights: both [2, ...], 0 outside."""
    position = limited(position, -2, size)
    cell, weight = np.empty((2, 2, *position.shape), position.dtype)
    np.floor(position, out=cell[0])
    np.add(cell[0], 1, out=cell[1])
    np.subtract(position, cell[0], out=weight[1])
    np.subtract(1, weight[1], out=weight[0])
    weight *= (cell >= 0) & (cell < size)
    return limited(cell, 0, size - 1).astype(np.int64), weight


def neighbours(feature: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """The 3x3 cells around (rows, columns) [P] of a map [C, H, W], 0 outside: [P, 9 * C], ordered tap, channel."""
    _, height, width = feature.shape
    tap = np.arange(9)
    y, x = rows[:, None] + (tap // 3 - 1), columns[:, None] + (tap % 3 - 1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    index = limited(y, 0, height - 1) * width + limited(x, 0, width - 1)
    found: FloatArray = gather(cells(feature), index.reshape(-1)) * inside.reshape(-1, 1)
    return found.reshape(len(rows), -1)


def tap_matrix(weight: FloatArray, groups: int) -> FloatArray:
    """A 3x3 kernel [O, C, 3, 3] as the matrix [G * 9 * C / G, O] for the columns of :func:`sample`."""
    out, channels = weight.shape[:2]
    grouped = weight.reshape(out, groups, channels // groups, 9)
    return np.ascontiguousarray(grouped.transpose(1, 3, 2, 0).reshape(-1, out))


def leaky_relu(x: FloatArray, slope: float = 0.1) -> FloatArray:
    """In place."""
    np.maximum(x, x * np.float32(slope), out=x)
    return x


def sigmoid(x: NDArray[Any]) -> FloatArray:
    """Logistic function, float32; a new array."""
    with np.errstate(over="ignore"):  # exp(-x) = inf is a probability of 0
        result: FloatArray = np.exp(-x)
    result += 1
    return np.reciprocal(result, out=result)
