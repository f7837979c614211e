"""Sampling of feature maps at free positions: deformable convolution, dense or only where it is needed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d


def sample(feature: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Bilinear samples of a feature map, one position set per channel group.

    A bilinear sample is a weighted sum of four rows of the channels-last map, which is exactly an embedding
    bag; on CPUs this is several times faster than the generic deformable kernels.

    Args:
        feature: float [C, H, W].
        y: float [P, G, T], rows in cells, for P places, G channel groups and T taps; 0 outside the map,
            as in deformable convolution (a corner outside counts as 0).
        x: float [P, G, T], columns in cells.

    Returns:
        float [P, G * T * C / G], ordered group, tap, channel.
    """
    channels, height, width = feature.shape
    places, groups, taps = y.shape
    per_group = channels // groups
    # [G * H * W, C / G]: row g * H * W + i is cell i seen by group g.
    table = feature.reshape(groups, per_group, height * width).transpose(1, 2)
    table = table.reshape(groups * height * width, per_group)
    # A network that overflows gives positions that are no numbers: its results are none either, but cells are cells.
    top, left = (
        place.detach().nan_to_num(nan=-2.0).clamp(-2, size).floor()
        for place, size in ((y, height), (x, width))
    )
    dy, dx = y.clamp(-2, height) - top, x.clamp(-2, width) - left
    first_row = torch.arange(groups, device=y.device).view(1, groups, 1) * (height * width)
    index, weight = [], []
    for row, row_weight in ((top, 1 - dy), (top + 1, dy)):
        row_weight = row_weight * ((row >= 0) & (row < height))
        row_start = first_row + row.clamp(0, height - 1).long() * width
        for column, column_weight in ((left, 1 - dx), (left + 1, dx)):
            inside = (column >= 0) & (column < width)
            index.append(row_start + column.clamp(0, width - 1).long())
            weight.append(row_weight * column_weight * inside)
    bags = F.embedding_bag(
        torch.stack(index, -1).view(-1, 4),
        table,
        mode="sum",
        per_sample_weights=torch.stack(weight, -1).view(-1, 4).to(table.dtype),
    )
    return bags.view(places, groups * taps * per_group)


def tap_positions(rows: Tensor, columns: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of the taps of 3x3 deformable convolutions (padding 1).

    Args:
        rows: int64 [P], output cells.
        columns: int64 [P].
        offsets: float [P, G * 18], per group and tap (dy, dx) in cells.

    Returns:
        y, x: float [P, G, 9].
    """
    offsets = offsets.view(len(rows), -1, 9, 2)
    tap = torch.arange(9, device=offsets.device)
    y = offsets[..., 0] + rows.view(-1, 1, 1) + (torch.div(tap, 3, rounding_mode="floor") - 1)
    x = offsets[..., 1] + columns.view(-1, 1, 1) + (tap % 3 - 1)
    return y, x


def tap_matrix(weight: Tensor, groups: int) -> Tensor:
    """A 3x3 kernel [O, C, 3, 3] as the matrix [G * 9 * C / G, O] for the columns of :func:`sample`."""
    out, channels = weight.shape[:2]
    return weight.view(out, groups, channels // groups, 9).permute(1, 3, 2, 0).reshape(-1, out)


def deformable_conv(feature: Tensor, offsets: Tensor, weight: Tensor, groups: int) -> Tensor:
    """3x3 deformable convolution (DCNv1), stride 1, padding 1, no bias.

    Args:
        feature: float [B, C, H, W].
        offsets: float [B, groups * 18, H, W], (dy, dx) per group and tap in cells.
        weight: float [O, C, 3, 3].
        groups: deformable groups.

    Returns:
        float [B, O, H, W], equal to ``torchvision.ops.deform_conv2d(padding=1)`` up to rounding.
    """
    if torch.is_grad_enabled():
        # The library's gradients. Its CUDA kernels run in the default stream whatever the current one is: nothing
        # for a recording. In half precision there is no such operation on CPUs.
        result: Tensor = deform_conv2d(feature.float(), offsets.float(), weight.float(), padding=1)
        return result.to(weight.dtype)
    if feature.is_cuda:
        return deformable_conv_by_grid(feature, offsets, weight, groups)
    height, width = feature.shape[2:]
    cells = torch.arange(height * width, device=feature.device)
    rows, columns = torch.div(cells, width, rounding_mode="floor"), cells % width
    taps = [
        sample(one, *tap_positions(rows, columns, offset.flatten(1).t()))
        for one, offset in zip(feature, offsets, strict=True)
    ]
    # The rows are a channels-last map, and the 1x1 convolution is a faster product than `@` on many CPUs.
    image = torch.stack(taps).view(len(feature), height, width, -1).permute(0, 3, 1, 2)
    return F.conv2d(image, tap_matrix(weight, groups).t()[:, :, None, None])


def deformable_conv_by_grid(
    feature: Tensor, offsets: Tensor, weight: Tensor, groups: int
) -> Tensor:
    """As :func:`deformable_conv`, for GPUs: two kernels for a whole batch, in the current stream. No gradients needed.

    Places are sampled in single precision, whatever the weights are.
    """
    batch, channels, height, width = feature.shape
    tap = torch.arange(9, device=feature.device).view(9, 1, 1)
    moves = offsets.float().reshape(batch * groups, 9, 2, height, width)
    y = moves[:, :, 0] + (torch.div(tap, 3, rounding_mode="floor") - 1)
    y = y + torch.arange(height, device=feature.device).view(-1, 1)
    x = moves[:, :, 1] + (tap % 3 - 1) + torch.arange(width, device=feature.device)
    # From cells to -1..1 between the outer edges of the outermost cells.
    grid = torch.stack(((2 * x + 1) / width - 1, (2 * y + 1) / height - 1), -1).flatten(1, 2)
    maps = feature.float().reshape(batch * groups, channels // groups, height, width)
    taps = F.grid_sample(maps.contiguous(), grid, padding_mode="zeros", align_corners=False)
    columns = taps.view(batch, channels * 9, height * width).to(weight.dtype)
    return (weight.flatten(1) @ columns).view(batch, -1, height, width)


def conv_at(feature: Tensor, conv: torch.nn.Conv2d, rows: Tensor, columns: Tensor) -> Tensor:
    """A 1x1 or 3x3 convolution only at the given cells.

    Args:
        feature: float [C, H, W].
        conv: stride 1; padding 1 if 3x3.
        rows: int64 [P].
        columns: int64 [P].

    Returns:
        float [P, O].
    """
    if conv.kernel_size == (1, 1):
        return F.linear(feature[:, rows, columns].t(), conv.weight.flatten(1), conv.bias)
    no_offsets = feature.new_zeros(len(rows), 18)
    taps = sample(feature, *tap_positions(rows, columns, no_offsets))
    result: Tensor = taps @ tap_matrix(conv.weight, 1)
    return result if conv.bias is None else result + conv.bias
