"""The part of a frame in which a mask is refined, as pixels of its own: finer than the network's maps, of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.postprocess.sampling import sigmoid
from sipvideo.structures import FloatArray

SIDE = 96
"""Longer side of the window, pixels of its own."""
UNIT = SIDE / 64
"""Distances in it are told in this, so that they mean the same in a finer one."""
MARGIN = 0.4
"""What the window shows around mask and clicks, as a share of their sides."""
LEAST_MARGIN = 12
"""Frame pixels."""

Click = tuple[float, float, bool]
"""x, y in frame pixels, and whether the place is inside the object."""
Point = tuple[int, int, bool]
"""The same in pixels of a window."""


@dataclass(frozen=True)
class Refined:
    """What clicks made of a mask.

    Attributes:
        masks: one mask; empty where no pixel is left.
        score: mean probability of its pixels.
        label: class of a new object, where the network tells one.
    """

    masks: CompactMasks
    score: float
    label: int | None = None


@dataclass(frozen=True, eq=False)
class NetworkMap:
    """A map of the network, float32 [h, w, K], and its pixels per frame pixel (x, y)."""

    values: FloatArray
    scale: tuple[float, float]


@dataclass(frozen=True)
class Window:
    """A part of the frame x0, y0, x1, y1 as h x w pixels of its own."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @classmethod
    def around(
        cls, mask: BoolArray, clicks: Sequence[Click], side: int = SIDE, margin: float = MARGIN
    ) -> Window:
        """Around a mask and clicks.

        Raises:
            ValueError: there is neither.
        """
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        places = [(x, y) for x, y, _ in clicks]
        if len(rows):
            places += [(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)]
        corners = np.array(places, np.float64)
        low, high = corners.min(0), corners.max(0)
        around = np.maximum((high - low) * margin, LEAST_MARGIN)
        height, width = mask.shape
        x0, y0 = np.maximum(np.floor(low - around), 0).astype(int).tolist()
        x1, y1 = np.minimum(np.ceil(high + around), (width, height)).astype(int).tolist()
        factor = min(1.0, side / max(x1 - x0, y1 - y0))
        return cls(
            (x0, y0, x1, y1), (max(2, round((y1 - y0) * factor)), max(2, round((x1 - x0) * factor)))
        )

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a picture [H, W, ...] shows in the window, [h, w, ...]."""
        x0, y0, x1, y1 = self.box
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        return np.asarray(cv2.resize(part, self.size[::-1], interpolation=cv2.INTER_AREA), np.uint8)

    def shrunk(self, mask: BoolArray) -> BoolArray:
        """A mask of the frame, bool [H, W], in the window, [h, w]."""
        return self.picture(mask.astype(np.uint8) * np.uint8(255)) > 127

    def map(self, source: NetworkMap) -> FloatArray:
        """A map of the network at the middles of the window's pixels."""
        x0, y0, x1, y1 = self.box
        h, w = self.size
        x = ((np.arange(w) + 0.5) * (x1 - x0) / w + x0) * source.scale[0] - 0.5
        y = ((np.arange(h) + 0.5) * (y1 - y0) / h + y0) * source.scale[1] - 0.5
        columns, rows = (one.astype(np.float32) for one in np.meshgrid(x, y))
        parts = [
            cv2.remap(
                np.ascontiguousarray(source.values[..., k : k + 4]),
                columns,
                rows,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(h, w, -1)
            for k in range(0, source.values.shape[2], 4)
        ]
        return np.concatenate(parts, 2)

    def point(self, x: float, y: float, inside: bool) -> Point:
        """A click of frame pixels as one of window pixels."""
        x0, y0, x1, y1 = self.box
        h, w = self.size
        column, row = int((x - x0) * w / (x1 - x0)), int((y - y0) * h / (y1 - y0))
        return min(max(column, 0), w - 1), min(max(row, 0), h - 1), inside

    def pasted(self, mask: BoolArray, logits: FloatArray, clicks: Sequence[Point]) -> Refined:
        """The mask on the frame: what the window shows as decided, without specks that nobody clicked at.

        What a mask shows outside of its window is not possible: a window is around all of it.
        """
        x0, y0, x1, y1 = self.box
        large = cv2.resize(
            _without_specks(logits, clicks), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR
        )
        whole = np.zeros_like(mask)
        whole[y0:y1, x0:x1] = large > 0
        inside = logits > 0
        score = float(sigmoid(logits[inside]).mean()) if inside.any() else 0.0
        return Refined(CompactMasks.from_dense(whole[None]), score)


def _without_specks(logits: FloatArray, clicks: Sequence[Point]) -> FloatArray:
    """Logits with parts below a twentieth of the largest one gone, but for those clicked at."""
    count, parts, about, _ = cv2.connectedComponentsWithStats(
        (logits > 0).astype(np.uint8), connectivity=8
    )
    if count <= 2:
        return logits
    areas = about[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = areas * 20 >= areas.max()
    for x, y, inside in clicks:
        kept[parts[y, x]] |= inside
    kept[0] = True
    return np.where(kept[parts], logits, -np.abs(logits)).astype(np.float32)
