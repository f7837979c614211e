"""Frames to model inputs on the device, in the arithmetic of OpenCV and Pillow: the same levels as on the host."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.config import InputConfig
from sipvideo.transforms import Geometry

COEFFICIENT_BITS = 11
"""OpenCV's weights of a bilinear resize of bytes are integers of so many bits after the point."""
PILLOW_BITS = 22
"""Pillow's likewise."""


class LinearResize:
    """OpenCV's INTER_LINEAR on bytes: fixed-point weights, both products cut off before they are added.

    Args:
        size: (height, width) of the frames.
        wanted: (height, width) of the results.
        device: where it runs.
    """

    def __init__(
        self, size: tuple[int, int], wanted: tuple[int, int], device: torch.device
    ) -> None:
        top, bottom, row_weights = _linear_axis(size[0], wanted[0], keep_borders=False)
        left, right, column_weights = _linear_axis(size[1], wanted[1], keep_borders=True)
        self.rows = [torch.from_numpy(index).to(device) for index in (top, bottom)]
        self.columns = [torch.from_numpy(index).to(device) for index in (left, right)]
        self.row_weights = torch.from_numpy(row_weights).to(device)[..., None, None]
        self.column_weights = torch.from_numpy(column_weights).to(device)[..., None]

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] to int32 [B, h, w, 3], 0..255."""
        total: Tensor | int = 2
        for rows, row_weight in zip(self.rows, self.row_weights, strict=True):
            band = frames.index_select(1, rows)
            left, right = (band.index_select(2, columns) for columns in self.columns)
            wide = left * self.column_weights[0] + right * self.column_weights[1]
            total = total + (((wide >> 4) * row_weight) >> 16)
        assert isinstance(total, Tensor)
        return total >> 2


def _linear_axis(
    size: int, wanted: int, keep_borders: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Source pixels before and after each of the ``wanted`` ones, int64 [n], and their weights int32 [2, n].

    Outside the picture both pixels are the border's. OpenCV gives columns there one whole weight
    (``keep_borders``) and rows two, whose cut-off products may add up to one level less.
    """
    scale = 1.0 / (wanted / size)
    position = ((np.arange(wanted) + 0.5) * scale - 0.5).astype(np.float32)
    before = np.floor(position).astype(np.int64)
    share = position - before.astype(np.float32)
    if keep_borders:
        share[(before < 0) | (before >= size - 1)] = 0
    one = np.float32(1 << COEFFICIENT_BITS)
    weights = np.stack(((np.float32(1) - share) * one, share * one))
    return (
        before.clip(0, size - 1),
        (before + 1).clip(0, size - 1),
        np.rint(weights).astype(np.int32),
    )


class PillowResize:
    """Pillow's BILINEAR on bytes: a triangle as wide as the reduction, along rows first, then along columns.

    Args:
        size: (height, width) of the frames.
        wanted: (height, width) of the results.
        device: where it runs.
    """

    def __init__(
        self, size: tuple[int, int], wanted: tuple[int, int], device: torch.device
    ) -> None:
        self.axes = []
        for dimension in (2, 1):
            if size[dimension - 1] != wanted[dimension - 1]:
                index, weights = _triangle_axis(size[dimension - 1], wanted[dimension - 1])
                shape = (len(weights), -1, 1) if dimension == 2 else (len(weights), -1, 1, 1)
                self.axes.append(
                    (
                        dimension,
                        torch.from_numpy(index).to(device),
                        torch.from_numpy(weights).to(device).view(shape),
                    )
                )

    def __call__(self, frames: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] to int32 [B, h, w, 3], 0..255."""
        picture = frames
        for dimension, index, weights in self.axes:
            total: Tensor | int = 1 << (PILLOW_BITS - 1)
            for tap, weight in zip(index, weights, strict=True):
                total = total + picture.index_select(dimension, tap) * weight
            assert isinstance(total, Tensor)
            picture = (total >> PILLOW_BITS).clamp(0, 255)
        return picture.int()


def _triangle_axis(size: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Source pixels of each of the ``wanted`` ones and their weights, [taps, n]; weight 0 beyond the last."""
    scale = size / wanted
    support = max(scale, 1.0)
    taps = int(np.ceil(support)) * 2 + 1
    centre = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), size)
    index = first + np.arange(taps)[:, None]
    weights = np.maximum(1 - np.abs((index - centre + 0.5) / support), 0) * (index < last)
    weights /= weights.sum(0)
    fixed = np.floor(weights * (1 << PILLOW_BITS) + 0.5).astype(np.int32)
    return index.clip(0, size - 1), fixed


class PictureTransform:
    """Frames of one size to normalised model inputs, as :class:`sipvideo.transforms.FrameTransform` makes them.

    Args:
        config: of the input.
        geometry: where the frames lie in the model input.
        device: where it runs.
    """

    def __init__(self, config: InputConfig, geometry: Geometry, device: torch.device) -> None:
        self.geometry = geometry
        self.bgr = config.channel_order == "bgr"
        self.mean = torch.tensor(config.mean, dtype=torch.float32, device=device)
        self.std = torch.tensor(config.std, dtype=torch.float32, device=device)
        self.resize: LinearResize | PillowResize | None = None
        if geometry.resized_size != geometry.frame_size:
            rule = PillowResize if config.resize == "shortest_edge" else LinearResize
            self.resize = rule(geometry.frame_size, geometry.resized_size, device)

    def resized(self, frames: Tensor) -> Tensor:
        """Frames uint8 [B, H, W, 3], RGB, to the scaled frames int32 [B, h, w, 3], RGB, 0..255."""
        return frames.int() if self.resize is None else self.resize(frames)

    def normalised(self, pictures: Tensor) -> Tensor:
        """Scaled frames to model inputs float32 [B, 3, H, W], channels last in memory."""
        height, width = self.geometry.resized_size
        padded_height, padded_width = self.geometry.padded_size
        ordered = pictures.flip(3) if self.bgr else pictures
        values = (ordered - self.mean) / self.std
        values = F.pad(values, (0, 0, 0, padded_width - width, 0, padded_height - height))
        return values.permute(0, 3, 1, 2)
