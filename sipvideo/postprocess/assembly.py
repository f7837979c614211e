"""Masks of the detections: assembled inside their boxes, brought to the frame, kept as bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from sipvideo.boxes import part_edges, shape_maps, spread
from sipvideo.masks import CompactMasks
from sipvideo.postprocess.sampling import cells, sigmoid
from sipvideo.structures import FloatArray, IntArray

BAND = 2**16
"""Frame pixels of a mask that are worked on at once: so many stay in a core's cache."""

LARGE = 2**13
"""Pixels of a window from which, with the channels last in memory, it is copied as it lies: two to five times as quick
there. Below, both ways take the same time and round differently."""


@dataclass(frozen=True, eq=False)
class LowResMasks:
    """Probabilities of N objects at the basis masks' resolution; 0 outside their windows.

    Attributes:
        windows: int64 [N, 4], x0, y0, x1, y1 of each object's pixels, basis pixels, x1, y1 exclusive.
        flat: float32 [T], the values of all windows, object after object, row by row.
        map_size: (height, width) of the basis masks.
    """

    windows: IntArray
    flat: FloatArray
    map_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def areas(self) -> IntArray:
        """Pixels of each window, int64 [N]."""
        areas: IntArray = (self.windows[:, 2:] - self.windows[:, :2]).prod(1)
        return areas

    def split(self) -> list[FloatArray]:
        """One view [h, w] per object."""
        ends = np.cumsum(self.areas).tolist()
        return [
            self.flat[end - (y1 - y0) * (x1 - x0) : end].reshape(y1 - y0, x1 - x0)
            for end, (x0, y0, x1, y1) in zip(ends, self.windows.tolist(), strict=True)
        ]

    def certainty(self, threshold: float) -> FloatArray:
        """Mean probability of each mask's pixels, those above the threshold; 0 for an empty mask: float32 [N]."""
        areas = self.areas
        some = np.flatnonzero(areas)
        result = np.zeros(len(self), np.float32)
        if len(some):
            starts = (np.cumsum(areas) - areas)[some]
            inside = self.flat > threshold
            total = np.add.reduceat(self.flat * inside, starts)
            count = np.add.reduceat(inside, starts, dtype=np.int64)
            result[some] = total / np.maximum(count, 1)
        return result


def assemble(
    basis: FloatArray, coefficients: FloatArray, boxes: FloatArray, parts: int, map_side: int = 0
) -> LowResMasks:
    """Mask probabilities of N objects, each inside its box (section 3.1 of the paper).

    Args:
        basis: [K, H, W], any strides.
        coefficients: [N, parts * parts * K], parts row by row; with K + 6 per part the last are those of the box's
            shape maps. Behind the parts: the object's own map, row by row.
        boxes: float32 [N, 4], basis pixels, neither rounded nor clamped.
        parts: sub-regions per side; 2 in the paper.
        map_side: side of the objects' own maps; 0: they have none.
    """
    bases, height, width = basis.shape
    columns = part_edges(boxes[:, 0], boxes[:, 2], width, parts)
    rows = part_edges(boxes[:, 1], boxes[:, 3], height, parts)
    windows = np.stack((columns[:, 0], rows[:, 0], columns[:, -1], rows[:, -1]), 1)
    windows[(windows[:, :2] >= windows[:, 2:]).any(1)] = 0
    sizes = windows[:, 2:] - windows[:, :2]
    logits = LowResMasks(windows, np.empty(int(sizes.prod(1).sum()), np.float32), (height, width))
    per_part = (coefficients.shape[1] - map_side**2) // parts**2
    vectors = coefficients[:, : parts**2 * per_part].reshape(len(boxes), parts**2, per_part)
    own = coefficients[:, parts**2 * per_part :].reshape(len(boxes), map_side, map_side)
    if map_side:
        down = spread(boxes[:, 1::2], height, map_side)
        across = spread(boxes[:, 0::2], width, map_side)
    for k, window in enumerate(logits.split()):
        if window.size:
            x0, y0, x1, y1 = windows[k].tolist()
            maps = _combined(basis[:, y0:y1, x0:x1], vectors[k, :, :bases])
            if vectors.shape[2] > bases:
                shape = shape_maps(boxes[k], (x0, y0, x1, y1))
                maps += _combined(shape, vectors[k, :, bases:])
            _take_parts(window, maps, (rows[k].tolist(), columns[k].tolist()))
            if map_side:
                window += down[k, y0:y1] @ own[k] @ across[k, x0:x1].T
    return LowResMasks(windows, sigmoid(logits.flat), (height, width))


def _combined(window: FloatArray, vectors: FloatArray) -> FloatArray:
    """The maps of an object's parts [P, h, w]: what is seen in its window [K, h, w], weighted by vectors [P, K]."""
    if window.strides[0] < window.strides[2] and window[0].size > LARGE:
        maps = (cells(window) @ vectors.T).T
    else:
        maps = vectors @ window.reshape(len(window), -1)
    return maps.reshape(len(vectors), *window.shape[1:])


def _take_parts(out: FloatArray, maps: FloatArray, edges: tuple[list[int], list[int]]) -> None:
    """Fills ``out`` [h, w] from the parts' maps [parts * parts, h, w], each inside its edges (rows, columns)."""
    ys, xs = edges
    parts = len(xs) - 1
    for row, (top, bottom) in enumerate(pairwise(ys)):
        for column, (left, right) in enumerate(pairwise(xs)):
            here = slice(top - ys[0], bottom - ys[0]), slice(left - xs[0], right - xs[0])
            out[here] = maps[row * parts + column][here]


def to_frame(
    masks: LowResMasks,
    upsampled_size: tuple[int, int],
    frame_size: tuple[int, int],
    threshold: float,
) -> CompactMasks:
    """Upsamples bilinearly (half-pixel centres), thresholds, and pastes at the frame's top left.

    Args:
        masks: probabilities at the basis masks' resolution.
        upsampled_size: (height, width) that the whole basis map would be resized to.
        frame_size: (height, width); what lies outside is cut off.
        threshold: a pixel belongs to the object if its probability is greater.
    """
    left, top, right, bottom = masks.windows.T
    columns, x0, x1 = _touched(masks.map_size[1], upsampled_size[1], (left, right))
    rows, y0, y1 = _touched(masks.map_size[0], upsampled_size[0], (top, bottom))
    windows = np.stack((x0, y0, x1, y1), 1)
    windows = np.minimum(windows, np.tile(frame_size[::-1], 2)).astype(np.int32)
    bits = []
    for k, probability in enumerate(masks.split()):
        h, w = probability.shape
        padded = np.zeros((w + 2, h + 2), np.float32)
        padded[1:-1, 1:-1] = probability.T
        ax0, ay0, ax1, ay1 = windows[k].tolist()
        # Whole rows are copied in both directions; along the width first, as there the map is still small.
        wide = _stretched(padded, columns, slice(ax0, ax1), int(left[k]))
        wide = np.ascontiguousarray(wide.T)
        aligned = np.zeros((ay1 - ay0, ax0 % 8 + ax1 - ax0), bool)
        inside = aligned[:, ax0 % 8 :]
        band = max(1, BAND // max(1, ax1 - ax0))
        for y in range(ay0, ay1, band):
            part = slice(y, min(y + band, ay1))
            values = _stretched(wide, rows, part, int(top[k]))
            np.greater(values, threshold, out=inside[y - ay0 : part.stop - ay0])
        bits.append(np.packbits(aligned, axis=1))
    return CompactMasks(windows, tuple(bits), frame_size)


Axis = tuple[IntArray, IntArray, FloatArray]


def _touched(
    size: int, upsampled: int, sides: tuple[IntArray, IntArray]
) -> tuple[Axis, IntArray, IntArray]:
    """The resize along one axis, and the first and last (exclusive) output pixel that each window [N] reaches."""
    axis = low, high, _ = bilinear_axis(size, upsampled)
    begin, end = sides
    first, last = np.searchsorted(high, begin), np.searchsorted(low, end)
    return axis, first, np.where(begin < end, np.maximum(first, last), first)


def _stretched(padded: FloatArray, axis: Axis, part: slice, start: int) -> FloatArray:
    """Linear interpolation along the first axis: [n + 2, m] to [len(part), m].

    Args:
        padded: a window of the map with one more row of zeros at both ends.
        axis: the resize of the whole axis.
        part: the output pixels that are wanted.
        start: the window's first row on the map.
    """
    low, high, share = axis
    result = padded.take(high[part] + (1 - start), axis=0)
    lower = padded.take(low[part] + (1 - start), axis=0)
    result -= lower
    result *= share[part, None]
    result += lower
    return result


@lru_cache(maxsize=64)
def bilinear_axis(size: int, upsampled: int) -> Axis:
    """Along one axis of a bilinear resize: lower and upper source index and the upper one's weight."""
    # Single precision as in the framework's kernel; the ratio is taken from the integer sizes.
    ratio = np.float32(size) / np.float32(max(1, upsampled))
    position = ratio * (np.arange(upsampled, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    position = np.maximum(position, np.float32(0))
    low = np.minimum(position.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    return low, high, (position - low).astype(np.float32)
