"""All results of a batch as one array of bytes: one transfer from the device, read on the host."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections

Bytes = NDArray[np.uint8]

ALIGNMENT = 16
"""Bytes: every frame's share of the array is a multiple of it."""


@dataclass(frozen=True)
class Field:
    """One array of a frame's share: where it begins, its type and shape."""

    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.begin + prod(self.shape) * self.dtype.itemsize


class Layout:
    """What a frame's share of the bytes holds.

    Args:
        objects: places for so many objects.
        embedding: channels of an embedding; 0: none.
        scored_masks: whether masks have scores of their own.
        small_size: (height, width) of the small picture.
        frame_size: (height, width) of the frame.
    """

    def __init__(
        self,
        objects: int,
        embedding: int,
        scored_masks: bool,
        small_size: tuple[int, int],
        frame_size: tuple[int, int],
    ) -> None:
        self.frame_size = frame_size
        self.scored_masks = scored_masks
        self.fields: dict[str, Field] = {}
        self._add(
            "counts", torch.int32, 3
        )  # objects, bytes of their masks, whether all rules were settled
        self._add("boxes", torch.float32, objects, 4)
        self._add("scores", torch.float32, objects)
        self._add("labels", torch.int32, objects)
        self._add("windows", torch.int32, objects, 4)
        self._add("mask_scores", torch.float32, objects)
        self._add("embeddings", torch.float32, objects, embedding)
        self._add("small", torch.uint8, *small_size, 3)
        used = self.fields["small"].end
        # Enough for about ten objects of the usual sizes; more are fetched once it is known how many.
        least = max(1024, frame_size[0] * frame_size[1] // 10)
        self.mask_bytes = -(-(used + least) // ALIGNMENT) * ALIGNMENT - used
        self._add("bits", torch.uint8, self.mask_bytes)

    def _add(self, name: str, dtype: torch.dtype, *shape: int) -> None:
        begin = list(self.fields.values())[-1].end if self.fields else 0
        self.fields[name] = Field(begin, dtype, shape)

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return self.fields["bits"].end

    def packed(self, values: dict[str, Tensor]) -> Tensor:
        """The fields, each [B, ...], as uint8 [B, size]."""
        parts = []
        for name, field in self.fields.items():
            flat = values[name].to(field.dtype).flatten(1).contiguous()
            assert flat.shape[1] == prod(field.shape), f"{name}: {list(values[name].shape)}"
            parts.append(flat.view(torch.uint8))
        return torch.cat(parts, 1)

    def counts(self, share: Bytes) -> tuple[int, int, bool]:
        """Of a frame's share uint8 [size]: objects, bytes of their masks, and whether all rules were settled."""
        objects, size, settled = self._read(share, "counts", 3).tolist()
        return objects, size, bool(settled)

    def small(self, share: Bytes) -> Bytes:
        """The small picture of a frame's share, uint8 [h, w, 3], RGB."""
        return self._read(share, "small", self.fields["small"].shape[0])

    def detections(self, share: Bytes, further: list[Bytes]) -> Detections:
        """The objects of a frame, copied out of its share.

        Args:
            share: uint8 [size].
            further: bytes of masks that did not find place in it, in order.
        """
        count, size, _ = self.counts(share)
        bits = self._read(share, "bits", min(size, self.mask_bytes))
        if further:
            bits = np.concatenate((bits, *further))[:size]
        windows = self._read(share, "windows", count)
        return Detections(
            boxes=self._read(share, "boxes", count),
            scores=self._read(share, "scores", count),
            labels=self._read(share, "labels", count).astype(np.int64),
            masks=CompactMasks(windows, _crops(bits, windows), self.frame_size),
            embeddings=self._read(share, "embeddings", count),
            mask_scores=self._read(share, "mask_scores", count) if self.scored_masks else None,
        )

    def _read(self, share: Bytes, name: str, count: int) -> NDArray:  # type: ignore[type-arg]
        """The first ``count`` rows of a field, copied."""
        field = self.fields[name]
        dtype = {torch.int32: np.int32, torch.float32: np.float32, torch.uint8: np.uint8}
        part = np.array(share[field.begin : field.end]).view(dtype[field.dtype])
        return part.reshape(field.shape)[:count]


def _crops(bits: Bytes, windows: NDArray[np.int32]) -> tuple[Bytes, ...]:
    """Each mask's rows of bytes, views of the bytes of all masks one after the other."""
    crops, begin = [], 0
    for x0, y0, x1, y1 in windows.tolist():
        per_row, rows = (x0 % 8 + x1 - x0 + 7) // 8, y1 - y0
        crops.append(bits[begin : begin + rows * per_row].reshape(rows, per_row))
        begin += rows * per_row
    return tuple(crops)
