"""The colours of objects: what a network that was trained to see past them does not tell, and what a mask knows best.

The picture's pixels inside of a mask are sorted into bins of CIELAB, few of lightness, as light changes. The roots of
their shares are a vector of unit length; the cosine of two is their Bhattacharyya coefficient, so that colours and
embeddings compare alike and can be one vector.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.transforms import small_picture

LIGHTNESS = 3
"""Bins of lightness."""
HUES = 8
"""Bins of each of the two axes of colour, from ``-HUES / 2 * HUE_STEP`` on; what is beyond is in the last ones."""
HUE_STEP = 14
SIDE = 160
"""Most pixels of the longer side of the picture that is looked at: twice as many are no better."""
SIZE = LIGHTNESS * HUES * HUES
"""Length of a vector of colours."""


def colours(picture: NDArray[np.uint8], masks: CompactMasks) -> FloatArray:
    """The colours of each object.

    Args:
        picture: uint8 [h, w, 3], RGB, the whole frame at any size.
        masks: of N objects, frame pixels.

    Returns:
        float32 [N, SIZE], the roots of the shares of the bins; zeros for an empty mask.
    """
    counts = np.zeros((len(masks), SIZE), np.float32)
    if not len(masks):
        return counts
    bins = _bins(picture)
    (height, width), (rows, columns) = masks.frame_size, bins.shape
    for k, (x0, y0, x1, y1) in enumerate(masks.windows.tolist()):
        y, x = _places(y0, y1, height / rows), _places(x0, x1, width / columns)
        here = bins[(y * rows // height)[:, None], x * columns // width]
        inside = masks.bits[k][(y - y0)[:, None], (x >> 3) - (x0 >> 3)] >> (7 - (x & 7)) & 1
        # A mask so thin that all places miss it: what is around it is better than nothing.
        seen = here[inside.astype(bool)] if inside.any() else here.ravel()
        counts[k] = np.bincount(seen, minlength=SIZE)
    result: FloatArray = np.sqrt(counts / np.maximum(counts.sum(1, keepdims=True), 1))
    return result


def with_looks(detections: Detections, small: NDArray[np.uint8], share: float) -> Detections:
    """Detections with what is seen in the small picture of their frame: its grey one, and the objects' colours.

    Args:
        detections: N objects with embeddings [N, E]; E = 0: there are none, and the colours are all.
        small: uint8 [h, w, 3], RGB, the whole frame.
        share: 0..1, what the colours count in the likeness of two embeddings, which is ``1 - share`` times their own
            cosine and ``share`` times that of the colours. 0: embeddings are left as they are.
    """
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    if not share:
        return replace(detections, grey=grey)
    looks, own = colours(small, detections.masks), detections.embeddings
    if own.shape[1]:
        # Each embedding keeps its length, which says something to whoever compares products instead of cosines.
        lengths = np.linalg.norm(own, axis=1, keepdims=True)
        parts = (np.sqrt(1 - share) * own, np.sqrt(share) * lengths * looks)
        looks = np.concatenate(parts, 1, dtype=np.float32)
    return replace(detections, grey=grey, embeddings=looks)


def _places(begin: int, end: int, step: float) -> IntArray:
    """Evenly spread pixels of a side of a window, about one for each pixel of the small picture."""
    length = end - begin
    count = min(max(1, round(length / step)), length)
    places: IntArray = begin + (2 * np.arange(count) + 1) * length // (2 * max(count, 1))
    return places


def _bins(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bin of each pixel of a picture [h, w, 3], made smaller: uint8 [h', w']."""
    lab = cv2.cvtColor(small_picture(picture, SIDE), cv2.COLOR_RGB2LAB)
    parts = np.asarray(cv2.LUT(lab, _TABLE), np.uint8)
    bins: NDArray[np.uint8] = parts[..., 0] + parts[..., 1] + parts[..., 2]
    return bins


def _table() -> NDArray[np.uint8]:
    """What 8-bit lightness and both axes of colour, whose middle is 128, add to the bin: uint8 [1, 256, 3]."""
    level = np.arange(256)
    hue = np.clip((level - 128) // HUE_STEP + HUES // 2, 0, HUES - 1)
    parts = (level * LIGHTNESS // 256 * HUES * HUES, hue * HUES, hue)
    return np.stack(parts, 1)[None].astype(np.uint8)


_TABLE = _table()
