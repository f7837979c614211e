"""A small grey picture of each frame, made where the frame is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.transforms import GREY_SIDE

LUMA = (9798, 19235, 3735)
"""OpenCV's weights of red, green and blue, 15 bits after the point."""


def grey_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the grey picture of a picture of (height, width): never larger than it."""
    ratio = min(1.0, GREY_SIDE / max(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


class GreyPicture:
    """OpenCV's luma, reduced by area averaging, within one level of OpenCV's.

    Args:
        picture_size: (height, width) of the scaled frames.
        device: where it runs.
    """

    def __init__(self, picture_size: tuple[int, int], device: torch.device) -> None:
        self.size = grey_size(picture_size)
        self.luma = torch.tensor(LUMA, dtype=torch.int32, device=device)
        rows, columns = (_area_weights(*pair) for pair in zip(picture_size, self.size, strict=True))
        self.rows = torch.from_numpy(rows).to(device)
        self.columns = torch.from_numpy(np.ascontiguousarray(columns.T)).to(device)
        self.same = picture_size == self.size
        # Halves become the even level, but the usual reduction by two has integers that round up.
        self.halved = picture_size == (2 * self.size[0], 2 * self.size[1])

    def __call__(self, pictures: Tensor) -> Tensor:
        """Scaled frames int32 [B, h, w, 3], RGB, to uint8 [B, h', w']."""
        luma = ((pictures * self.luma).sum(3, dtype=torch.int32) + (1 << 14)) >> 15
        if self.same:
            return luma.to(torch.uint8)
        means = self.rows @ luma.float() @ self.columns
        levels = (means + 0.5).floor() if self.halved else means.round()
        return levels.clamp(0, 255).to(torch.uint8)


def _area_weights(size: int, wanted: int) -> NDArray[np.float32]:
    """Which share each of ``size`` pixels has in each of ``wanted`` ones: float32 [wanted, size]."""
    edges = np.arange(wanted + 1) * (size / wanted)
    pixel = np.arange(size)
    last = np.minimum(pixel + 1, edges[1:, None])
    covered = np.maximum(last - np.maximum(pixel, edges[:-1, None]), 0)
    weights: NDArray[np.float32] = (covered * (wanted / size)).astype(np.float32)
    return weights
