"""Masks inside boxes as in :mod:`sipvideo.model.mask_crops`, for cards: whole maps, on which only the boxes count.

How large a box is only the card knows, and asking would stop the host. So every object has its whole map, ten times the
pixels, but in few operations of sizes known before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from sipvideo.model import waiting
from sipvideo.model.mask_crops import CropWindows


def part_edges(low: Tensor, high: Tensor, size: int, parts: int) -> Tensor:
    """Splits one side of boxes as :func:`sipvideo.boxes.part_edges` does: [...] to int64 [..., parts + 1]."""
    sound = (low < high) & (high - low).isfinite()
    low, high = torch.where(sound, low, 0.0), torch.where(sound, high, 0.0)
    start, stop = low.ceil().clamp(0, size), high.ceil().clamp(0, size)
    stop = torch.maximum(stop, start)
    step = (((high - low).double() + 0.1) / parts).float()[..., None]
    number = torch.arange(1, parts, dtype=torch.float32, device=low.device)
    low, begin, end = low[..., None], start[..., None], stop[..., None]
    # Where a part begins up to rounding; the published division decides which of the pixels around is its first.
    about = (low + number * step).ceil() - 1
    nearby = about[..., None] + torch.arange(3, device=low.device)
    before = ((nearby - low[..., None]) / step[..., None] < number[:, None]).sum(-1)
    inner = torch.minimum(torch.maximum(about + before, begin), end)
    edges = torch.cat((begin, inner, end), -1).long()
    return torch.where(begin == end, 0, edges)


def spread(sides: Tensor, size: int, count: int) -> Tensor:
    """As :func:`sipvideo.boxes.spread`, along a whole map: sides [..., 2] to float [..., size, count]."""
    low, high = sides[..., :1], sides[..., 1:]
    at = torch.arange(size, device=sides.device) + 0.5
    share = (at - low) / (high - low).clamp(min=1e-3)
    place = (share * count - 0.5).clamp(0, count - 1)[..., None]
    number = torch.arange(count, device=sides.device, dtype=sides.dtype)
    return (1 - (place - number).abs()).clamp(min=0)


@dataclass(frozen=True, eq=False)
class WholeMaps:
    """N boxes on one mask map, each split into k x k sub-regions; values are kept as float [N, H, W].

    Attributes:
        column, row: int64 [N, W] and [N, H], the sub-region of every map column and row.
        inside: bool [N, H, W], the pixels of the boxes.
        boxes: float [N, 4], map pixels, not rounded.
        parts: k, sub-regions per side.
    """

    column: Tensor
    row: Tensor
    inside: Tensor
    boxes: Tensor
    parts: int

    @classmethod
    def of(cls, boxes: Tensor, map_size: tuple[int, int], sub_regions: int = 2) -> WholeMaps:
        """As :meth:`CropWindows.of`."""
        boxes = boxes.detach().float()
        numbers, within = [], []
        for axis in (0, 1):
            size = map_size[1 - axis]
            edges = part_edges(boxes[:, axis], boxes[:, axis + 2], size, sub_regions)[..., None]
            at = torch.arange(size, device=boxes.device)
            numbers.append((at >= edges[:, 1:-1]).sum(1))
            within.append((at >= edges[:, 0]) & (at < edges[:, -1]))
        inside = within[1][:, :, None] & within[0][:, None]
        return cls(numbers[0], numbers[1], inside, boxes, sub_regions)

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def counts(self) -> Tensor:
        """Number of pixels of each box, float [N]."""
        return self.inside.sum((1, 2)).float()

    def sums(self, values: Tensor) -> Tensor:
        """Sum over the pixels of each box: [N, H, W] to [N]."""
        return torch.where(self.inside, values, 0.0).sum((1, 2))

    def cut(self, maps: Tensor, index: Tensor) -> Tensor:
        """The map ``index[n]`` for box n: maps [M, H, W] and index int64 [N] to [N, H, W]."""
        return maps.index_select(0, index)

    def paste(self, values: Tensor) -> Tensor:
        """Values on full maps that are 0 outside of the boxes: [N, H, W]."""
        return torch.where(self.inside, values, 0.0)

    def combine(self, basis: Tensor, parts: Tensor) -> Tensor:
        """See :func:`sipvideo.model.mask_crops.mask_logits`: float [N, H, W]."""
        result: Tensor = _Combine.apply(basis, parts, self)
        return result

    def spread(self, own: Tensor) -> Tensor:
        """Maps of objects [N, side, side], each over its box, interpolated on whole maps: [N, H, W]."""
        rows = spread(self.boxes[:, 1::2], self.row.shape[1], own.shape[1])
        columns = spread(self.boxes[:, 0::2], self.column.shape[1], own.shape[2])
        return rows @ own @ columns.transpose(1, 2)

    def part(self, number: int) -> Tensor:
        """Where sub-region row * k + column would be if it went on beyond the box: bool [N, H, W]."""
        row, column = divmod(number, self.parts)
        return (self.row == row)[:, :, None] & (self.column == column)[:, None]

    def shape_axes(self) -> tuple[Tensor, Tensor]:
        """u [N, W] and v [N, H] of the boxes' shape maps, see :func:`sipvideo.boxes.shape_maps`."""
        half = (self.boxes[:, 2:] - self.boxes[:, :2]).clamp(min=1e-3) / 2
        middle = (self.boxes[:, :2] + self.boxes[:, 2:]) / 2
        sizes = (self.column.shape[1], self.row.shape[1])
        u, v = (
            (torch.arange(n, device=half.device) + 0.5 - middle[:, k, None]) / half[:, k, None]
            for k, n in enumerate(sizes)
        )
        return u, v


class _Combine(torch.autograd.Function):
    """Every sub-region's product with the basis on the whole map, of which each pixel takes its own.

    Autograd alone would keep k * k maps of every object.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, basis: Tensor, parts: Tensor, windows: WholeMaps) -> Tensor:
        ctx.save_for_backward(basis, parts)
        ctx.windows = windows  # type: ignore[attr-defined]
        bases = len(basis)
        result = basis.new_zeros(len(parts), *basis.shape[1:])
        for number, values in enumerate(parts.unbind(1)):
            maps = (values[:, :bases] @ basis.flatten(1)).view_as(result)
            if values.shape[1] > bases:
                u, v = windows.shape_axes()
                one, by_u, by_v, by_uu, by_vv, by_uv = values[:, bases:, None].unbind(1)
                across = one + by_u * u + by_uu * u.square()
                down = by_v * v + by_vv * v.square()
                maps = maps + across[:, None] + down[:, :, None]
                maps = maps + (by_uv * v)[:, :, None] * u[:, None]
            result = torch.where(windows.part(number), maps, result)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        basis, parts = ctx.saved_tensors
        windows, bases = ctx.windows, len(basis)
        basis_gradient, found = torch.zeros_like(basis), []
        for number, values in enumerate(parts.unbind(1)):
            own = torch.where(windows.part(number), gradients[0], 0.0)
            columns = [own.flatten(1) @ basis.flatten(1).t()]
            if values.shape[1] > bases:
                u, v = windows.shape_axes()
                across, down = own.sum(1), own.sum(2)
                both = (own * u[:, None]).sum(2)
                shapes = (
                    across.sum(1),
                    (across * u).sum(1),
                    (down * v).sum(1),
                    (across * u.square()).sum(1),
                    (down * v.square()).sum(1),
                    (both * v).sum(1),
                )
                columns.append(torch.stack(shapes, 1))
            found.append(torch.cat(columns, 1))
            basis_gradient += (values[:, :bases].t() @ own.flatten(1)).view_as(basis)
        return basis_gradient, torch.stack(found, 1), None


Windows = CropWindows | WholeMaps


def windows_of(boxes: Tensor, map_size: tuple[int, int], sub_regions: int = 2) -> Windows:
    """The pixels inside boxes, in the form that suits their device; see :meth:`CropWindows.of`."""
    form = CropWindows if waiting.is_host(boxes) else WholeMaps
    return form.of(boxes, map_size, sub_regions)
