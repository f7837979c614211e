"""A small picture of each frame, made where the frame is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.transforms import small_size


class SmallPicture:
    """Area averages, within one level of OpenCV's: :func:`sipvideo.transforms.small_picture`.

    Args:
        picture_size: (height, width) of the scaled frames.
        device: where it runs.
    """

    def __init__(self, picture_size: tuple[int, int], device: torch.device) -> None:
        self.size = small_size(picture_size)
        rows, columns = (_area_weights(*pair) for pair in zip(picture_size, self.size, strict=True))
        self.rows = torch.from_numpy(rows).to(device)
        self.columns = torch.from_numpy(np.ascontiguousarray(columns.T)).to(device)
        self.same = picture_size == self.size
        # Halves become the even level, but the usual reduction by two has integers that round up.
        self.halved = picture_size == (2 * self.size[0], 2 * self.size[1])

    def __call__(self, pictures: Tensor) -> Tensor:
        """Scaled frames int32 [B, h, w, 3], RGB, to uint8 [B, h', w', 3]."""
        if self.same:
            return pictures.to(torch.uint8)
        means = self.rows @ pictures.permute(0, 3, 1, 2).float() @ self.columns
        levels = (means + 0.5).floor() if self.halved else means.round()
        return levels.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def _area_weights(size: int, wanted: int) -> NDArray[np.float32]:
    """Which share each of ``size`` pixels has in each of ``wanted`` ones: float32 [wanted, size]."""
    edges = np.arange(wanted + 1) * (size / wanted)
    pixel = np.arange(size)
    last = np.minimum(pixel + 1, edges[1:, None])
    covered = np.maximum(last - np.maximum(pixel, edges[:-1, None]), 0)
    weights: NDArray[np.float32] = (covered * (wanted / size)).astype(np.float32)
    return weights
