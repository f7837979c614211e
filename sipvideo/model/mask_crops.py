"""Masks inside boxes, differentiable, for training: spatial preservation, section 3.1 of the paper.

Each box is split into k x k sub-regions, and each sub-region has mask coefficients of its own. The published code
computes k * k full maps for every object and then copies each pixel of the box from the map of its sub-region. The
sub-regions are rectangles, so here each is one small product with a piece of the basis; the values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sipvideo.boxes import part_edges, shape_maps, spread
from sipvideo.config import SHAPE_MAPS
from sipvideo.structures import FloatArray


@dataclass(frozen=True, eq=False)
class CropWindows:
    """The pixels of N boxes on one mask map, each box split into k x k sub-regions.

    Values on these pixels are kept "flat": float [T], box after box, rows one after another.

    Attributes:
        columns: per box k + 1 ascending map columns: sub-region column j is columns[j] <= x < columns[j + 1].
        rows: the same for map rows.
        map_size: (height, width) of the map.
        boxes: float32 [N, 4], map pixels, not rounded.
        parts: k, sub-regions per side.
    """

    columns: Sequence[Sequence[int]]
    rows: Sequence[Sequence[int]]
    map_size: tuple[int, int]
    boxes: FloatArray
    parts: int

    @classmethod
    def of(cls, boxes: Tensor, map_size: tuple[int, int], sub_regions: int = 2) -> CropWindows:
        """Finds the pixels inside boxes.

        Pixel (x, y) belongs to a box if x0 <= x < x1 and y0 <= y < y1, so an inverted box has none; how the parts
        are divided says :func:`sipvideo.boxes.part_edges`.

        Args:
            boxes: float32 [N, 4], x0, y0, x1, y1 in map pixels; finite, not rounded, may leave the map.
            map_size: (height, width) of the map.
            sub_regions: k, parts per side.
        """
        height, width = map_size
        corners = boxes.detach().float().numpy()
        return cls(
            part_edges(corners[:, 0], corners[:, 2], width, sub_regions).tolist(),
            part_edges(corners[:, 1], corners[:, 3], height, sub_regions).tolist(),
            map_size,
            corners,
            sub_regions,
        )

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def windows(self) -> list[tuple[int, int, int, int]]:
        """Per box x0, y0, x1, y1 of its pixels, x1, y1 exclusive, inside the map."""
        both = zip(self.columns, self.rows, strict=True)
        return [(xs[0], ys[0], xs[-1], ys[-1]) for xs, ys in both]

    @property
    def areas(self) -> list[int]:
        """Number of pixels of each box; their sum is T."""
        return [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in self.windows]

    def split(self, flat: Tensor) -> list[Tensor]:
        """Flat values [T] as one view [h, w] per box."""
        pieces = torch.split(flat, self.areas) if len(self) else ()
        return [
            piece.view(y1 - y0, x1 - x0)
            for piece, (x0, y0, x1, y1) in zip(pieces, self.windows, strict=True)
        ]

    def sums(self, flat: Tensor) -> Tensor:
        """Sum over the pixels of each box: [T] to [N]."""
        if len(self) == 0:
            return flat.sum().expand(0)
        return torch.stack([piece.sum() for piece in torch.split(flat, self.areas)])

    def cut(self, maps: Tensor, index: Tensor) -> Tensor:
        """Cuts the pixels of box n from map ``index[n]``: maps [M, H, W] and index int64 [N] to flat [T]."""
        if len(self) == 0:
            return maps.new_zeros(0)
        picked = zip(index.tolist(), self.windows, strict=True)
        return torch.cat([maps[k, y0:y1, x0:x1].reshape(-1) for k, (x0, y0, x1, y1) in picked])

    def shape_maps(self) -> tuple[Tensor, Tensor]:
        """What every pixel knows of its box: shape maps float32 [T, 6], and box * k * k + sub-region int64 [T]."""
        maps, numbers = [np.zeros((0, SHAPE_MAPS), np.float32)], [np.zeros(0, np.int64)]
        both = zip(self.windows, self.rows, self.columns, strict=True)
        for n, (window, ys, xs) in enumerate(both):
            if window[0] < window[2] and window[1] < window[3]:
                maps.append(shape_maps(self.boxes[n], window).reshape(SHAPE_MAPS, -1).T)
                row = np.repeat(np.arange(len(ys) - 1), np.diff(ys))
                column = np.repeat(np.arange(len(xs) - 1), np.diff(xs))
                part = row[:, None] * (len(xs) - 1) + column
                numbers.append((n * (len(ys) - 1) * (len(xs) - 1) + part).ravel())
        return torch.from_numpy(np.concatenate(maps)), torch.from_numpy(np.concatenate(numbers))

    def paste(self, flat: Tensor) -> Tensor:
        """Flat values on full maps that are 0 elsewhere: [T] to [N, H, W]."""
        maps = flat.new_zeros(len(self), *self.map_size)
        for n, (piece, (x0, y0, x1, y1)) in enumerate(
            zip(self.split(flat), self.windows, strict=True)
        ):
            maps[n, y0:y1, x0:x1] = piece
        return maps

    @property
    def counts(self) -> Tensor:
        """Number of pixels of each box, float [N]."""
        return torch.tensor(self.areas, dtype=torch.float32)

    def combine(self, basis: Tensor, parts: Tensor) -> Tensor:
        """See :func:`mask_logits`: float [T]; ``parts`` float [N, k * k, K or K + 6]."""
        of_basis = parts[..., : len(basis)].contiguous()
        flat: Tensor = _Assemble.apply(basis.permute(1, 2, 0).contiguous(), of_basis, self)
        if parts.shape[2] == len(basis):
            return flat
        maps, numbers = self.shape_maps()
        of_shape = parts[..., len(basis) :].flatten(0, 1).index_select(0, numbers)
        return flat + (of_shape * maps).sum(1)

    def spread(self, own: Tensor) -> Tensor:
        """Maps of objects [N, side, side], each over its box, interpolated at the boxes' pixels: flat [T]."""
        height, width = self.map_size
        rows = torch.from_numpy(spread(self.boxes[:, 1::2], height, own.shape[1]))
        columns = torch.from_numpy(spread(self.boxes[:, 0::2], width, own.shape[2]))
        pieces = [own.new_zeros(0)]
        for n, (x0, y0, x1, y1) in enumerate(self.windows):
            pieces.append((rows[n, y0:y1] @ own[n] @ columns[n, x0:x1].t()).reshape(-1))
        return torch.cat(pieces)

    def sub_regions(self, flat: Tensor) -> Iterator[tuple[int, int, slice, slice, Tensor]]:
        """Yields every non-empty sub-region: box, its number row * k + column, map rows, map columns, view [h, w]."""
        boxes = zip(self.split(flat), self.rows, self.columns, strict=True)
        for n, (window, ys, xs) in enumerate(boxes):
            for row, (top, bottom) in enumerate(pairwise(ys)):
                for column, (left, right) in enumerate(pairwise(xs)):
                    if top < bottom and left < right:
                        part = window[top - ys[0] : bottom - ys[0], left - xs[0] : right - xs[0]]
                        number = row * (len(xs) - 1) + column
                        yield n, number, slice(top, bottom), slice(left, right), part


class _Assemble(torch.autograd.Function):
    """Products of basis pieces and coefficients with a backward pass that adds in place.

    Plain slicing would make autograd allocate and add one full-size gradient of the basis per sub-region.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, basis: Tensor, coefficients: Tensor, windows: CropWindows
    ) -> Tensor:
        ctx.save_for_backward(basis, coefficients)
        ctx.windows = windows  # type: ignore[attr-defined]
        flat = basis.new_empty(sum(windows.areas))
        for n, number, rows, columns, part in windows.sub_regions(flat):
            part.copy_(basis[rows, columns] @ coefficients[n, number])
        return flat

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        basis, coefficients = ctx.saved_tensors
        basis_gradient, gradient = torch.zeros_like(basis), torch.zeros_like(coefficients)
        for n, number, rows, columns, part in ctx.windows.sub_regions(gradients[0].contiguous()):
            gradient[n, number] = part.reshape(-1) @ basis[rows, columns].flatten(0, 1)
            basis_gradient[rows, columns].addcmul_(part.unsqueeze(-1), coefficients[n, number])
        return basis_gradient, gradient, None


class Pixels(Protocol):
    """Boxes on a mask map, however the values of their pixels are kept."""

    @property
    def parts(self) -> int:
        """Sub-regions per side."""
        ...

    def combine(self, basis: Tensor, parts: Tensor) -> Tensor:
        """Products of basis masks and coefficients, see :func:`mask_logits`."""
        ...

    def spread(self, own: Tensor) -> Tensor:
        """Maps of objects [N, side, side], each over its box, at the boxes' pixels."""
        ...


def mask_logits(basis: Tensor, coefficients: Tensor, windows: Pixels, map_side: int = 0) -> Tensor:
    """Mask logits of N objects inside their boxes; their sigmoid is the mask's probability.

    Args:
        basis: float [K, H, W], the basis masks of one picture.
        coefficients: float [N, k * k * K]; block row * k + column of K numbers belongs to that sub-region. With K + 6
            numbers in a block, the last are those of the box's shape maps. Behind the blocks: the object's own map.
        windows: the N boxes on this map.
        map_side: side of the objects' own maps; 0: they have none.

    Returns:
        float [T], flat (or [N, H, W], as ``windows`` keep values); differentiable with respect to basis and
        coefficients.
    """
    (count, size), parts = coefficients.shape, windows.parts**2
    blocks, own = coefficients.tensor_split((size - map_side**2,), 1)
    logits = windows.combine(basis, blocks.reshape(count, parts, blocks.shape[1] // parts))
    if not map_side:
        return logits
    return logits + windows.spread(own.view(count, map_side, map_side))
