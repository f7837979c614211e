"""Masks of a fixed number of objects: assembled inside their boxes, brought to the frame, packed into bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sipvideo.model.mask_maps import part_edges, spread
from sipvideo.postprocess.assembly import bilinear_axis


@dataclass(frozen=True, eq=False)
class Probabilities:
    """Mask probabilities of P objects of each of B inputs at the basis masks' resolution.

    Attributes:
        maps: float32 [B, P, H, W]; 0 outside the windows.
        windows: int64 [B, P, 4], x0, y0, x1, y1, basis pixels, x1, y1 exclusive; all 0 for an empty one.
    """

    maps: Tensor
    windows: Tensor

    def certainty(self, threshold: float) -> Tensor:
        """Mean probability of each mask's pixels, those above the threshold; 0 for an empty mask: float32 [B, P]."""
        inside = self.maps > threshold
        total = (self.maps * inside).sum((2, 3))
        return total / inside.sum((2, 3)).clamp(min=1)


def assemble(
    basis: Tensor,
    coefficients: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    parts: int,
    map_side: int = 0,
) -> Probabilities:
    """Mask probabilities of all objects, each inside its box (section 3.1 of the paper).

    Args:
        basis: float32 [B, H * W, K], row by row.
        coefficients: float32 [B, P, parts * parts * K], parts row by row; with K + 6 per part the last are those of
            the box's shape maps. Behind the parts: the object's own map.
        boxes: float32 [B, P, 4], basis pixels, neither rounded nor clamped.
        size: (H, W) of the basis masks.
        parts: sub-regions per side; 2 in the paper.
        map_side: side of the objects' own maps; 0: they have none.
    """
    batch, count = boxes.shape[:2]
    height, width = size
    columns = part_edges(boxes[..., 0], boxes[..., 2], width, parts)
    rows = part_edges(boxes[..., 1], boxes[..., 3], height, parts)
    windows = torch.stack((columns[..., 0], rows[..., 0], columns[..., -1], rows[..., -1]), -1)
    empty = (windows[..., :2] >= windows[..., 2:]).any(-1, keepdim=True)
    windows = torch.where(empty, 0, windows)
    bases = basis.shape[2]
    blocks, own = coefficients.tensor_split((coefficients.shape[2] - map_side**2,), 2)
    vectors = blocks.reshape(batch, count * parts * parts, -1)
    maps = torch.bmm(vectors[..., :bases], basis.transpose(1, 2))
    maps = maps.view(batch, count, parts, parts, height, width)
    if vectors.shape[2] > bases:
        shape = vectors[..., bases:].view(batch, count, parts, parts, -1)
        maps = maps + _shapes(shape, boxes, size)
    # Each pixel's own part of the box: along the columns first, then along the rows.
    x = torch.arange(width, device=boxes.device)
    across = maps[:, :, :, 0]
    for part in range(1, parts):
        later = (x >= columns[..., part, None])[:, :, None, None]
        across = torch.where(later, maps[:, :, :, part], across)
    y = torch.arange(height, device=boxes.device)[:, None]
    logits = across[:, :, 0]
    for part in range(1, parts):
        later = y >= rows[..., part, None, None]
        logits = torch.where(later, across[:, :, part], logits)
    if map_side:
        down = spread(boxes[..., 1::2], height, map_side)
        own = own.reshape(batch, count, map_side, map_side)
        logits = logits + down @ own @ spread(boxes[..., 0::2], width, map_side).transpose(2, 3)
    x0, y0, x1, y1 = (side[..., None, None] for side in windows.unbind(-1))
    inside = (x >= x0) & (x < x1) & ((y >= y0) & (y < y1))
    return Probabilities(torch.where(inside, logits.sigmoid(), 0.0), windows)


def _shapes(coefficients: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Combinations of boxes' shape maps, as :func:`sipvideo.boxes.shape_maps` has them, on the whole map.

    Args:
        coefficients: float32 [B, P, parts, parts, 6], of 1, u, v, u^2, v^2 and u v.
        boxes: float32 [B, P, 4], map pixels.
        size: (H, W) of the map.

    Returns:
        float32 [B, P, parts, parts, H, W].
    """
    half = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-3) / 2
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    v, u = (
        ((torch.arange(n, device=boxes.device) + 0.5) - middle[..., k, None]) / half[..., k, None]
        for k, n in ((1, size[0]), (0, size[1]))
    )
    u, v = u[:, :, None, None], v[:, :, None, None]
    one, by_u, by_v, by_uu, by_vv, by_uv = coefficients.unsqueeze(-2).unbind(-1)
    across = one + by_u * u + by_uu * u.square()
    down = by_v * v + by_vv * v.square()
    return across.unsqueeze(-2) + down.unsqueeze(-1) + (by_uv * v).unsqueeze(-1) * u.unsqueeze(-2)


class Axis:
    """The bilinear resize along one side of the frame, as tables on the device.

    Args:
        size: pixels of the map along this side.
        upsampled: frame pixels that the whole map would be resized to.
        device: where it is used.
    """

    def __init__(self, size: int, upsampled: int, device: torch.device) -> None:
        low, high, share = bilinear_axis(size, upsampled)
        self.count = len(low)
        if not self.count:  # a frame of almost no pixels: something to read, nothing that counts
            low = high = np.zeros(1, np.int64)
            share = np.zeros(1, np.float32)
        self.low, self.high = torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)
        self.near, self.far = self.low.int(), self.high.int()
        self.share = torch.from_numpy(share).to(device)

    def touched(self, begin: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
        """First and last (exclusive) frame pixel that map pixels begin to end reach: int64 [B, P] each."""
        first = torch.searchsorted(self.high, begin.contiguous()).clamp(max=self.count)
        last = torch.searchsorted(self.low, end.contiguous()).clamp(max=self.count)
        return first, torch.where(begin < end, torch.maximum(first, last), first)


class FrameMasks:
    """Masks on frames of one size: windows, and bits in the layout of :class:`sipvideo.masks.CompactMasks`.

    Args:
        map_size: (height, width) of the basis masks.
        upsampled_size: (height, width) in frame pixels that the whole basis map would be resized to.
        frame_size: (height, width); what lies outside is cut off.
        threshold: a pixel belongs to the object if its probability is greater.
        device: where it runs.
    """

    def __init__(
        self,
        map_size: tuple[int, int],
        upsampled_size: tuple[int, int],
        frame_size: tuple[int, int],
        threshold: float,
        device: torch.device,
    ) -> None:
        self.rows = Axis(map_size[0], upsampled_size[0], device)
        self.columns = Axis(map_size[1], upsampled_size[1], device)
        self.limits = torch.tensor(frame_size[::-1] * 2, device=device)
        self.threshold = threshold
        self.columns_of_byte = torch.arange(8, dtype=torch.int32, device=device)
        self.bit_values = (128 >> self.columns_of_byte).to(torch.uint8)

    def windows(self, map_windows: Tensor) -> Tensor:
        """Windows on the basis masks int64 [B, P, 4] to those on the frame, int64 [B, P, 4]."""
        left, top, right, bottom = map_windows.unbind(-1)
        x0, x1 = self.columns.touched(left, right)
        y0, y1 = self.rows.touched(top, bottom)
        return torch.minimum(torch.stack((x0, y0, x1, y1), -1), self.limits)

    @staticmethod
    def sizes(windows: Tensor) -> tuple[Tensor, Tensor]:
        """Bytes per row and bytes of each mask, both int64 [B, P]: rows begin at columns that are multiples of 8."""
        x0, y0, x1, y1 = windows.unbind(-1)
        per_row = (x0 % 8 + x1 - x0 + 7) // 8
        return per_row, per_row * (y1 - y0)

    def bits(
        self, probabilities: Tensor, windows: Tensor, valid: Tensor, start: Tensor, count: int
    ) -> Tensor:
        """Some bytes of all masks of each input, written one after the other.

        Args:
            probabilities: float32 [B, P, H, W], 0 outside the objects' windows.
            windows: int64 [B, P, 4], frame pixels.
            valid: bool [B, P], the objects that there are: the first ones.
            start: int64 [1], the first byte that is wanted.
            count: how many are wanted.

        Returns:
            uint8 [B, count]; 0 behind the last mask.
        """
        per_row, sizes = self.sizes(windows)
        ends = (sizes * valid).cumsum(1)
        byte = (start + torch.arange(count, device=start.device)).expand(len(ends), -1)
        owner = torch.searchsorted(ends, byte.contiguous(), right=True)
        inside = owner < ends.shape[1]
        owner = owner.clamp(max=ends.shape[1] - 1)
        within = byte - (ends - sizes).gather(1, owner)
        width = per_row.gather(1, owner).clamp(min=1)
        x0, y0, x1 = (windows[..., k].gather(1, owner) for k in range(3))
        row = (y0 + within // width).clamp(0, len(self.rows.low) - 1)
        column = ((x0 // 8 + within % width) * 8).int()
        x = column[..., None] + self.columns_of_byte
        inside = inside[..., None] & (x >= x0[..., None]) & (x < x1[..., None])
        values = self._values(probabilities, owner, row, x.clamp(0, len(self.columns.low) - 1))
        bits = (values > self.threshold) & inside
        return (bits * self.bit_values).sum(-1, dtype=torch.uint8)

    def _values(self, probabilities: Tensor, owner: Tensor, row: Tensor, x: Tensor) -> Tensor:
        """Probabilities of frame pixels: of object ``owner`` in ``row``, both [B, n], at ``x`` int32 [B, n, 8]."""
        batch, count, height, width = probabilities.shape
        item = torch.arange(batch, device=row.device)[:, None] * count
        first = (item + owner) * height
        whole = torch.int32 if probabilities.numel() < 2**31 else torch.int64
        top, bottom = (
            ((first + rows[row]) * width).to(whole)[..., None]
            for rows in (self.rows.low, self.rows.high)
        )
        flat, at = probabilities.flatten(), x.flatten()
        left, right = (
            columns.index_select(0, at).view(x.shape)
            for columns in (self.columns.near, self.columns.far)
        )
        share = self.columns.share.index_select(0, at).view(x.shape)

        def along(line: Tensor) -> Tensor:
            lower = flat.index_select(0, (line + left).flatten()).view(x.shape)
            upper = flat.index_select(0, (line + right).flatten()).view(x.shape)
            return (upper - lower) * share + lower

        upper_row, lower_row = along(top), along(bottom)
        return (lower_row - upper_row) * self.rows.share[row][..., None] + upper_row
