"""Where to look at a picture more closely: a grid of overlapping tiles, or windows of one size around places."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sipvideo.engine.contract import Size
from sipvideo.engine.selection import Window
from sipvideo.errors import ConfigError
from sipvideo.structures import FloatArray

OVERLAP = 0.15
"""Share of a tile that its neighbour shows too."""
MOST = 8
"""Tiles across and down, at most."""
SMALLEST = 64
"""Pixels of a tile's side from which a picture is worth being cut."""
REDUCED = 2.5
"""How many times smaller than the picture the model may see a tile that was chosen automatically."""
AROUND = 0.3
"""A window shows so much of what is around an object on each side, in parts of the object."""


@dataclass(frozen=True)
class Tiles:
    """How a picture is cut: ``columns`` across and ``rows`` down."""

    columns: int
    rows: int

    def __str__(self) -> str:
        return f"{self.columns}x{self.rows}"

    def windows(self, frame_size: tuple[int, int]) -> list[Window]:
        """The tiles of a frame of (height, width), all of one size, in pixels; fewer where it is too small for them."""
        height, width = frame_size
        across = _spans(width, min(self.columns, max(1, width // SMALLEST)))
        down = _spans(height, min(self.rows, max(1, height // SMALLEST)))
        return [(x0, y0, x1, y1) for y0, y1 in down for x0, x1 in across]


def parse_tiles(text: str) -> Tiles | None:
    """Reads ``3x2``, tiles across and down; None: ``auto``.

    Raises:
        ConfigError: neither, or more than there may be.
    """
    if text == "auto":
        return None
    found = re.fullmatch(f"([1-{MOST}])x([1-{MOST}])", text)
    if found is None:
        raise ConfigError(
            f"tiles: expected auto, or tiles across and down such as 3x2, up to {MOST}x{MOST}, got {text[:40]!r}"
        )
    return Tiles(int(found[1]), int(found[2]))


def chosen(frame_size: tuple[int, int], input_size: Size | None) -> Tiles:
    """As many tiles as it takes for the model to see a frame of (height, width) at most ``REDUCED`` times smaller."""
    if input_size is None:
        return Tiles(1, 1)
    height, width = frame_size
    long_side, short_side = max(input_size), min(input_size)
    across, down = (long_side, short_side) if width >= height else (short_side, long_side)
    counts = [
        min(MOST, max(1, math.ceil(side / (REDUCED * seen) - 0.1)))
        for side, seen in ((width, across), (height, down))
    ]
    return Tiles(*counts)


def cost(frame_size: tuple[int, int], tiles: Tiles, input_size: Size) -> float:
    """Pixels of all model inputs together, in those of the whole frame alone."""
    parts = tiles.windows(frame_size)
    x0, y0, x1, y1 = parts[0]
    one, whole = _fitted((y1 - y0, x1 - x0), input_size), _fitted(frame_size, input_size)
    return 1 + len(parts) * one / whole if len(parts) > 1 else 1.0


def _fitted(size: tuple[int, int], input_size: Size) -> float:
    """Pixels of a picture of (height, width) that is fitted into the model's input."""
    ratio = min(max(input_size) / max(size), min(input_size) / min(size))
    return size[0] * size[1] * ratio**2


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """So many overlapping spans of one length that begin and end with the whole."""
    side = math.ceil(length / (count - (count - 1) * OVERLAP))
    starts = [round(k * (length - side) / max(count - 1, 1)) for k in range(count)]
    return [(start, start + side) for start in starts]


def around(
    boxes: FloatArray,
    worth: FloatArray,
    size: tuple[int, int],
    frame_size: tuple[int, int],
    least: float,
) -> list[Window]:
    """Few windows of (height, width) ``size`` that show each of the boxes with what is around it.

    Greedy: of the boxes that are left, each window shows those that are worth most. Boxes that are too large for it
    are not looked for.

    Args:
        boxes: float32 [N, 4], frame pixels.
        worth: float32 [N], of showing each, above 0.
        size: of the windows, at most the frame's.
        frame_size: (height, width).
        least: what a window has to show is worth so much at least.
    """
    limits = np.array(frame_size[::-1] * 2)
    sides = np.array(size[::-1])
    margins = AROUND * (boxes[:, 2:] - boxes[:, :2])
    grown = np.hstack((boxes[:, :2] - margins, boxes[:, 2:] + margins)).clip(0, limits)
    fits = (grown[:, 2:] - grown[:, :2] <= sides).all(1)
    left, worth = grown[fits], worth[fits]
    windows: list[Window] = []
    while len(left):
        # The best window may as well begin where one box begins on the left, and one at the top.
        begins = np.minimum(left[:, :2], limits[:2] - sides)
        across, down = (
            (left[:, n] >= begins[:, None, n]) & (left[:, n + 2] <= begins[:, None, n] + sides[n])
            for n in (0, 1)
        )
        shows = (across * worth) @ down.T.astype(np.float32)
        if shows.max() < least:
            break
        x, y = np.unravel_index(shows.argmax(), shows.shape)
        shown = across[x] & down[y]
        windows.append(_middle(left[shown], sides, limits[:2]))
        left, worth = left[~shown], worth[~shown]
    return windows


def _middle(boxes: FloatArray, sides: NDArray[np.int64], limits: NDArray[np.int64]) -> Window:
    """The window of (width, height) ``sides`` inside the frame that has the boxes in its middle."""
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    x0, y0 = np.rint((low + high - sides) / 2).astype(int).clip(0, limits - sides).tolist()
    return x0, y0, x0 + int(sides[0]), y0 + int(sides[1])
