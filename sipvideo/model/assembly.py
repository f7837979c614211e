"""Masks of the detections: assembled inside their boxes, brought to the frame, kept as bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.masks import CompactMasks
from sipvideo.model.mask_crops import CropWindows, mask_logits


@dataclass(frozen=True, eq=False)
class LowResMask:
    """Probabilities of one object at the basis masks' resolution; 0 outside the window.

    Attributes:
        probability: float [h, w].
        x0, y0: the window's first column and row, basis pixels.
    """

    probability: Tensor
    x0: int
    y0: int


def assemble(basis: Tensor, coefficients: Tensor, boxes: Tensor, parts: int) -> list[LowResMask]:
    """Mask probabilities of N objects, each inside its box.

    Args:
        basis: float [K, H, W].
        coefficients: float [N, parts * parts * K], parts row by row.
        boxes: float32 [N, 4], basis pixels, neither rounded nor clamped.
        parts: sub-regions per side; 2 in the paper.
    """
    windows = CropWindows.of(boxes, (basis.shape[1], basis.shape[2]), parts)
    probabilities = windows.split(mask_logits(basis, coefficients, windows).sigmoid_())
    return [
        LowResMask(probability, x0, y0)
        for probability, (x0, y0, _, _) in zip(probabilities, windows.windows, strict=True)
    ]


def to_frame(
    masks: list[LowResMask],
    basis_size: tuple[int, int],
    upsampled_size: tuple[int, int],
    frame_size: tuple[int, int],
    threshold: float,
) -> CompactMasks:
    """Upsamples bilinearly (half-pixel centres), thresholds, and pastes at the frame's top left.

    Args:
        masks: probabilities at the basis masks' resolution.
        basis_size: (height, width) of the basis masks.
        upsampled_size: (height, width) that the whole basis map would be resized to.
        frame_size: (height, width); what lies outside is cut off.
        threshold: a pixel belongs to the object if its probability is greater.
    """
    crops, origins = [], []
    for mask in masks:
        row, y0 = _resample_plan(
            basis_size[0], upsampled_size[0], mask.y0, mask.probability.shape[0]
        )
        column, x0 = _resample_plan(
            basis_size[1], upsampled_size[1], mask.x0, mask.probability.shape[1]
        )
        padded = torch.nn.functional.pad(mask.probability, (1, 1, 1, 1))
        device = padded.device
        low, high, share = (torch.from_numpy(a).to(device) for a in row)
        tall = torch.lerp(padded[low], padded[high], share[:, None])
        low, high, share = (torch.from_numpy(a).to(device) for a in column)
        full = torch.lerp(tall.index_select(1, low), tall.index_select(1, high), share)
        crops.append((full > threshold).cpu().numpy())
        origins.append((x0, y0))
    return CompactMasks.from_crops(crops, origins, frame_size)


Plan = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def _resample_plan(size: int, upsampled: int, start: int, length: int) -> tuple[Plan, int]:
    """Output pixels that a window touches: (low, high, share) into the window padded by one, and the first."""
    low, high, share = _bilinear_axis(size, upsampled)
    first = int(np.searchsorted(high, start))
    stop = max(first, int(np.searchsorted(low, start + length)))
    if not length:
        stop = first
    to_padded = 1 - start
    inside = slice(first, stop)
    plan = (
        (low[inside] + to_padded).clip(0, length + 1),
        (high[inside] + to_padded).clip(0, length + 1),
        share[inside],
    )
    return plan, first


@lru_cache(maxsize=64)
def _bilinear_axis(size: int, upsampled: int) -> Plan:
    """Along one axis of a bilinear resize: lower and upper source index and the upper one's weight."""
    # Single precision as in the framework's kernel; the ratio is taken from the integer sizes.
    ratio = np.float32(size) / np.float32(max(1, upsampled))
    position = ratio * (np.arange(upsampled, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    position = np.maximum(position, np.float32(0))
    low = np.minimum(position.astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    return low, high, (position - low).astype(np.float32)
