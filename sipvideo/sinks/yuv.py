"""RGB pictures as encoders want them: their size, their shape, their colours."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from sipvideo.structures import FrameResult

MOST_PIXELS, MOST_SIDE = 35_000_000, 16_384
"""Pixels of a picture, and of a side, up to which H.264 goes (level 6.2)."""

ROWS = 256
"""Rows of a picture whose colours are converted at a time: what is between stays in the processor's cache."""


def within(size: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) of that shape which H.264 goes to."""
    height, width = size
    scale = min(1.0, math.sqrt(MOST_PIXELS / (height * width)), MOST_SIDE / max(size))
    return size if scale == 1 else (max(1, int(height * scale)), max(1, int(width * scale)))


def resized(result: FrameResult, size: tuple[int, int]) -> FrameResult:
    """The result on its picture at another (height, width): what is drawn then is of that size, too."""
    frame, found = result.frame, result.detections
    if frame.size == size:
        return result
    image = cv2.resize(frame.image, size[::-1], interpolation=cv2.INTER_AREA)
    factors = np.tile(np.array(size[::-1]) / frame.size[::-1], 2).astype(np.float32)
    return replace(
        result,
        frame=replace(frame, image=np.asarray(image, np.uint8)),
        detections=replace(found, boxes=found.boxes * factors, masks=found.masks.resized(size)),
    )


def fitted(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture on a canvas of (height, width): as it is, padded to even, or resized between black bars."""
    (height, width), (h, w) = size, picture.shape[:2]
    if (height, width) == (h, w):
        return picture
    if (height, width) == (h + h % 2, w + w % 2):
        padded = cv2.copyMakeBorder(picture, 0, h % 2, 0, w % 2, cv2.BORDER_REPLICATE)
        return np.asarray(padded, np.uint8)
    scale = min(height / h, width / w)
    h, w = max(1, round(h * scale)), max(1, round(w * scale))
    canvas = np.zeros((height, width, picture.shape[2]), np.uint8)
    top, left = (height - h) // 2, (width - w) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas[top : top + h, left : left + w] = cv2.resize(picture, (w, h), interpolation=how)
    return canvas


class ToYuv:
    """RGB to yuv420p, BT.709 in the range of video, straight into the encoder's frame; with opacity to yuva420p.

    A third of the time of FFmpeg's conversion, which averages colours only along rows. All pictures have one size.

    Args:
        opacity: pictures have a fourth channel.
    """

    def __init__(self, opacity: bool = False) -> None:
        self._pixels = "yuva420p" if opacity else "yuv420p"
        weights = np.array((0.2126, 0.7152, 0.0722))
        red, blue = np.eye(3)[[0, 2]]
        rows = (
            weights * 219,
            (blue - weights) * 112 / (1 - weights[2]),
            (red - weights) * 112 / (1 - weights[0]),
        )
        offsets = ((16.0,), (128.0,), (128.0,))
        unused = np.zeros((3, int(opacity)))
        self._matrix = np.hstack((np.stack(rows) / 255, unused, offsets)).astype(np.float32)

    def __call__(self, picture: NDArray[np.uint8]) -> av.VideoFrame:
        """uint8 [H, W, 3 or 4], RGB, both sides even, as a frame of its size."""
        height, width = picture.shape[:2]
        frame = av.VideoFrame(width, height, self._pixels)
        frame.color_range = ColorRange.MPEG
        planes: Any = frame.planes
        y, u, v, *opacity = (
            np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in planes
        )
        for top in range(0, height, ROWS):
            rows, halves = slice(top, top + ROWS), slice(top // 2, (top + ROWS) // 2)
            full = cv2.transform(picture[rows], self._matrix)
            size = (width // 2, full.shape[0] // 2)
            half = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
            cv2.extractChannel(full, 0, y[rows])
            cv2.mixChannels([half], [u[halves], v[halves]], [1, 0, 2, 1])
            for plane in opacity:
                cv2.extractChannel(picture[rows], 3, plane[rows])
        return frame
