"""The assignment of objects, spread over all locations of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sipvideo.model.targets import GroundTruth
from sipvideo.model.targets import assign as assign_on_host


@dataclass(frozen=True)
class Assignment:
    """labels int64 [P] and objects int64 [P], -1 for background; distances float32 [P, 4], 0 for background."""

    labels: Tensor
    objects: Tensor
    distances: Tensor


def assign(
    points: Sequence[Tensor], strides: Sequence[int], truth: GroundTruth, **options: Any
) -> Assignment:
    """As :func:`sipvideo.model.targets.assign`, for levels with these points [h * w, 2]."""
    widths = [int((level[:, 1] == level[0, 1]).sum()) for level in points]
    sizes = [(len(level) // width, width) for level, width in zip(points, widths, strict=True)]
    offsets = {stride: int(level[0, 0]) for stride, level in zip(strides, points, strict=True)}
    found = assign_on_host(sizes, strides, truth, offset=offsets.__getitem__, **options)
    count = sum(map(len, points))
    labels, objects = torch.full((count,), -1), torch.full((count,), -1)
    distances = torch.zeros(count, 4)
    at = torch.from_numpy(found.at)
    labels[at], objects[at] = torch.from_numpy(found.labels), torch.from_numpy(found.objects)
    distances[at] = torch.from_numpy(found.distances)
    return Assignment(labels, objects, distances)
