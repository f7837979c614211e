"""Mask assembly (section 3.1): basis masks times the coefficients of the box part that a pixel lies in.

Only pixels inside a box are computed, each from the one coefficient set of its own part; the result stays a
crop until it is a bit mask on the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.masks import CompactMasks


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


def part_edges(low: float, high: float, size: int, parts: int) -> list[int]:
    """Splits one side of a box as the published crop-split operation does.

    Args:
        low: box start, basis pixels (float32).
        high: box end.
        size: pixels of the map along this side.
        parts: number of parts k.

    Returns:
        k + 1 pixel indices; part i holds the pixels ``edges[i]`` to ``edges[i + 1] - 1``. Pixel p is inside
        if low <= p < high; its part is int((p - low) / ((high - low + 0.1) / k)) in single precision.
    """
    start, stop = max(0, int(np.ceil(low))), min(size, int(np.ceil(high)))
    if not start < stop:
        return [0] * (parts + 1)
    extent = np.float32(high) - np.float32(low)
    step = np.float32((float(extent) + 0.1) / parts)
    part = ((np.arange(start, stop, dtype=np.float32) - np.float32(low)) / step).astype(np.int64)
    inner = start + np.searchsorted(part, np.arange(1, parts))
    return [start, *inner.tolist(), stop]


def assemble(basis: Tensor, coefficients: Tensor, boxes: Tensor, parts: int) -> list[LowResMask]:
    """Mask probabilities of N objects, each inside its box.

    Args:
        basis: float [K, H, W].
        coefficients: float [N, parts * parts * K], parts row by row.
        boxes: float32 [N, 4], basis pixels, neither rounded nor clamped.
        parts: sub-regions per side; 2 in the paper.
    """
    bases, height, width = basis.shape
    masks = []
    vectors = coefficients.view(len(boxes), parts, parts, bases)
    for vector, (x0, y0, x1, y1) in zip(vectors, boxes.float().cpu().numpy(), strict=True):
        xs, ys = part_edges(x0, x1, width, parts), part_edges(y0, y1, height, parts)
        logits = basis.new_empty(ys[-1] - ys[0], xs[-1] - xs[0])
        for i in range(parts):
            for j in range(parts):
                block = basis[:, ys[i] : ys[i + 1], xs[j] : xs[j + 1]]
                logits[ys[i] - ys[0] : ys[i + 1] - ys[0], xs[j] - xs[0] : xs[j + 1] - xs[0]] = (
                    vector[i, j] @ block.reshape(bases, -1)
                ).view(block.shape[1:])
        masks.append(LowResMask(logits.sigmoid_(), xs[0], ys[0]))
    return masks


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
