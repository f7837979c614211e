"""Cells of feature maps: all levels in one table, read at single cells or at free positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Cells:
    """The cells of some levels of one model input, level after level, row by row: T in all.

    Attributes:
        sizes: (height, width) of each level.
        starts: number of each level's first cell, and T at the end.
        level, row, column: int64 [T].
        points: float32 [T, 2], x, y of the cells' points, model-input pixels.
        heights, widths, first: int64 [L], sizes and starts of the levels.
        strides: float32 [L].

    Args:
        sizes: (height, width) of each level.
        steps: of each level, model-input pixels per cell, and where in a cell its point is.
        device: where it is used.
    """

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        steps: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> None:
        counts = [height * width for height, width in sizes]
        self.sizes = tuple(sizes)
        self.starts = [0, *np.cumsum(counts).tolist()]
        level = np.repeat(np.arange(len(sizes)), counts)
        cell = np.concatenate([np.arange(count) for count in counts])
        widths = np.array([width for _, width in sizes])
        row, column = np.divmod(cell, widths[level])
        stride, offset = np.array(steps)[level].T
        points = np.stack((column, row), 1) * stride[:, None] + offset[:, None]

        def table(values: object, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=dtype, device=device)

        self.level, self.row, self.column = table(level), table(row), table(column)
        self.points = table(points, torch.float32)
        self.heights, self.widths = table([h for h, _ in sizes]), table(widths)
        self.first = table(self.starts[:-1])
        self.strides = table([stride for stride, _ in steps], torch.float32)

    def rows(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps [B, C, h, w] of the levels as one row per cell, [B, T, C]; channels-last memory is not copied twice."""
        for one, size in zip(maps, self.sizes, strict=True):
            assert one.shape[2:] == size, f"expected a map of {size}, got {list(one.shape[2:])}"
        parts = [one.permute(0, 2, 3, 1).flatten(1, 2) for one in maps]
        return parts[0].contiguous() if len(parts) == 1 else torch.cat(parts, 1)


def taken(table: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` int64 [B, P] of each item of a table [B, T, ...]: [B, P, ...]."""
    batch, count = table.shape[:2]
    first = torch.arange(batch, device=table.device)[:, None] * count
    rows = table.flatten(0, 1).index_select(0, (index + first).flatten())
    return rows.view(*index.shape, *table.shape[2:])


def sample(rows: Tensor, cells: Cells, level: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear samples of the levels' maps, one position set per channel group; outside a map is 0.

    The batch form of :func:`sipvideo.postprocess.sampling.sample`.

    Args:
        rows: float32 [B, T, C], as ``cells.rows`` gives them.
        cells: of these maps.
        level: int64 [B, P], the level that each place reads.
        y: float32 [B, P, G, K], rows in cells, for P places, G channel groups and K taps.
        x: float32 [B, P, G, K], columns in cells.

    Returns:
        float32 [B, P, G * K * C / G], ordered group, tap, channel.
    """
    batch, count, channels = rows.shape
    places, groups, taps = y.shape[1:]
    row, row_weight = _corners(y, cells.heights[level][..., None, None])
    width = cells.widths[level][..., None, None]
    column, column_weight = _corners(x, width)
    item = torch.arange(batch, device=rows.device)[:, None] * count
    first = (cells.first[level] + item)[..., None, None]
    index = (row * width + first)[:, None] + column
    if groups > 1:  # row i * G + g: cell i as group g sees it
        index = index * groups + torch.arange(groups, device=rows.device)[:, None]
    weight = (row_weight[:, None] * column_weight).flatten()
    table = rows.reshape(-1, channels // groups)
    corners = table.index_select(0, index.flatten()) * weight[:, None]
    corners = corners.view(2, 2, batch, places, groups * taps * (channels // groups))
    halves = corners[:, 0] + corners[:, 1]
    return halves[0] + halves[1]


def _corners(position: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Cells before and after positions [...] on axes of int64 sizes, and bilinear weights: [2, ...], 0 outside."""
    position = torch.minimum(position.clamp(min=-2), size.to(position.dtype))
    before = position.floor()
    share = position - before
    cell = torch.stack((before, before + 1)).long()
    inside = (cell >= 0) & (cell < size)
    # Positions that are no numbers may give any integer: it is limited last.
    return torch.minimum(cell.clamp(min=0), size - 1), torch.stack((1 - share, share)) * inside


def neighbours(rows: Tensor, cells: Cells, cell: Tensor) -> Tensor:
    """The 3x3 cells around cells int64 [B, P], 0 outside their map: [B, P, 9 * C], ordered tap, channel."""
    tap = torch.arange(9, device=rows.device)
    level = cells.level[cell][..., None]
    height, width, first = cells.heights[level], cells.widths[level], cells.first[level]
    y = cells.row[cell][..., None] + (tap // 3 - 1)
    x = cells.column[cell][..., None] + (tap % 3 - 1)
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    y = torch.minimum(y.clamp(min=0), height - 1)
    x = torch.minimum(x.clamp(min=0), width - 1)
    found = taken(rows, (first + y * width + x).flatten(1)).view(*y.shape, -1)
    return (found * inside[..., None]).flatten(2)
