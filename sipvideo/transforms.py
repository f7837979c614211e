"""Frame to model input, and boxes and masks back: one object owns both ways.

Frame pixels and model-input pixels are converted nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo.config import InputConfig
from sipvideo.structures import Frame

SMALL_SIDE = 320
"""Most pixels of the longer side of a small picture; it has more than half as many, where the frame has."""


@dataclass(frozen=True)
class Geometry:
    """Where a frame lies inside the model input: at the top left, scaled, padded at right and bottom.

    Attributes:
        frame_size: (height, width) of the frame.
        resized_size: (height, width) of the scaled frame, before padding.
        padded_size: (height, width) of the model input.
        scale: (x, y) model-input pixels per frame pixel, as the published pipelines record it: the wanted
            ratio for ``keep_ratio``, the reached one otherwise.
        single_precision: the published arithmetic on the scale is float32 (``stretch``); it decides whether
            the last row and column of a mask exist.
    """

    frame_size: tuple[int, int]
    resized_size: tuple[int, int]
    padded_size: tuple[int, int]
    scale: tuple[float, float]
    single_precision: bool = False

    def box_scale(self) -> NDArray[np.float32]:
        """float32 [4]: divide input boxes by it for frame boxes, multiply for the way back."""
        return np.array([*self.scale, *self.scale], np.float32)

    def upsampled_size(
        self,
        basis_size: tuple[int, int],
        basis_stride: int,
        rule: Literal["frame", "min_ratio"] = "frame",
    ) -> tuple[int, int]:
        """(height, width) in frame pixels of the whole basis map, rounded down as published.

        Args:
            basis_size: (height, width) of the basis map.
            basis_stride: model-input pixels per basis pixel.
            rule: "frame" uses each axis' scale, "min_ratio" the smaller one for both (FCOS tree).
        """
        scale_x, scale_y = self.scale if rule == "frame" else (min(self.scale),) * 2
        if self.single_precision:
            factors = [float(np.float32(basis_stride) / np.float32(s)) for s in (scale_y, scale_x)]
        else:
            factors = [basis_stride / s for s in (scale_y, scale_x)]
        return int(basis_size[0] * factors[0]), int(basis_size[1] * factors[1])


class FrameTransform:
    """Resizes, normalises and pads frames as configured."""

    def __init__(self, config: InputConfig) -> None:
        self.config = config
        self.mean = np.array(config.mean, np.float32)
        self.std = np.array(config.std, np.float32)
        # 256 values per channel are normalised once; a look-up then does a whole picture in one pass.
        self._table = ((np.arange(256, dtype=np.float32)[:, None] - self.mean) / self.std)[None]

    def geometry(self, frame_size: tuple[int, int]) -> Geometry:
        """Where a frame of (height, width) will lie in the model input."""
        height, width = frame_size
        long_side, short_side = self.config.size
        if self.config.resize == "stretch":
            resized = (short_side, long_side)
            scale = (float(np.float32(long_side / width)), float(np.float32(short_side / height)))
        elif self.config.resize == "keep_ratio":
            ratio = min(
                max(long_side, short_side) / max(height, width),
                min(long_side, short_side) / min(height, width),
            )
            resized = (max(1, int(height * ratio + 0.5)), max(1, int(width * ratio + 0.5)))
            scale = (ratio, ratio)
        else:
            resized = _shortest_edge(frame_size, min(self.config.size), max(self.config.size))
            scale = (resized[1] / width, resized[0] / height)
        multiple = self.config.pad_multiple
        padded = (-(-resized[0] // multiple) * multiple, -(-resized[1] // multiple) * multiple)
        single = self.config.resize == "stretch"
        return Geometry(frame_size, resized, padded, scale, single)

    def __call__(self, frame: Frame) -> tuple[NDArray[np.float32], Geometry]:
        """The model input float32 [3, H, W] in the configured channel order, and its geometry.

        In memory the channels are last, as engines on CPUs like them best.
        """
        geometry = self.geometry(frame.size)
        image = np.zeros((*geometry.padded_size, 3), np.float32)
        self.write(frame, geometry, image)
        return image.transpose(2, 0, 1), geometry

    def write(
        self, frame: Frame, geometry: Geometry, out: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Fills the frame's part of ``out`` float32 [H, W, 3], zeros, in the configured channel order.

        Returns:
            The scaled frame, uint8 [h, w, 3], RGB.
        """
        height, width = geometry.resized_size
        image: NDArray[np.uint8] = frame.image
        if (height, width) != frame.size:
            if self.config.resize == "shortest_edge":
                picture = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
                image = np.asarray(picture)
            else:
                image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        in_order = image
        if self.config.channel_order == "bgr":
            in_order = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # type: ignore[assignment]
        out[:height, :width] = cv2.LUT(in_order, self._table)
        return image


def small_blocks(size: tuple[int, int], side: int = SMALL_SIDE) -> tuple[int, int]:
    """(height, width) of the blocks of pixels, of a picture of (height, width), that are one pixel of the small one."""
    factor = -(-max(size) // side)
    return min(factor, size[0]), min(factor, size[1])


def small_picture(picture: NDArray[np.uint8], side: int = SMALL_SIDE) -> NDArray[np.uint8]:
    """The small picture of a frame: enough to see how the camera moves and which colours objects have.

    Means of whole blocks of pixels, as those of parts of pixels take many times as long. What is left over at the right
    and the bottom, less than a block, is not shown.

    Args:
        picture: uint8 [H, W, 3], RGB; best the scaled frame, as that is small already.
        side: most pixels of its longer side.

    Returns:
        uint8 [h, w, 3], RGB.
    """
    high, wide = small_blocks(picture.shape[:2], side)
    height, width = picture.shape[0] // high, picture.shape[1] // wide
    whole = picture[: height * high, : width * wide]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def grey_picture(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """OpenCV's luma of :func:`small_picture`, uint8 [h, w]: it goes with a frame's detections."""
    return np.asarray(cv2.cvtColor(small_picture(picture), cv2.COLOR_RGB2GRAY), np.uint8)


def _shortest_edge(frame_size: tuple[int, int], wanted: int, limit: int) -> tuple[int, int]:
    """The FCOS tree's size rule: short side to ``wanted`` unless the long side would pass ``limit``."""
    height, width = frame_size
    short, long = min(frame_size), max(frame_size)
    if long / short * wanted > limit:
        wanted = max(1, round(limit * short / long))
    if short == wanted:
        return frame_size
    if width < height:
        return max(1, int(wanted * height / width)), wanted
    return wanted, max(1, int(wanted * width / height))
