"""What a cell says about its mask, read where its predicted box lies (section 3.2 of the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.config import GRID_MARGIN, HeadConfig
from sipvideo.model.ops import deformable_conv, sample, tap_matrix, tap_positions

LEAK = 0.1


class FeatureAlignment(nn.Module):
    """Deformable 3x3 convolution whose offsets come from the predicted box (section 3.2).

    Args:
        channels: of the feature.
        groups: deformable groups.
        norm: GroupNorm after the convolution.
        bias: bias of the convolution.
    """

    def __init__(self, channels: int, groups: int, norm: bool, bias: bool) -> None:
        super().__init__()
        self.groups = groups
        self.offset = nn.Conv2d(4, groups * 18, 1, bias=False)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        # The published models without norms still carry this one's parameters, unused.
        self.norm = nn.Identity() if bias and not norm else nn.GroupNorm(32, channels)
        self.use_norm = norm

    def forward(self, feature: Tensor, distances: Tensor) -> Tensor:
        """Feature float [B, C, h, w] and box distances [B, 4, h, w] in strides to float [B, C, h, w].

        No gradient flows into the distances.
        """
        offsets = self.offset(distances.detach().to(self.offset.weight.dtype))
        x = deformable_conv(feature, offsets, self.conv.weight, self.groups)
        if self.conv.bias is not None:
            x = x + self.conv.bias.view(1, -1, 1, 1)
        return torch.relu(self.norm(x) if self.use_norm else x)

    def at(self, feature: Tensor, distances: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The same only at the cells (rows, columns) int64 [P] of one map [C, h, w]: float [P, C]."""
        assert not self.use_norm, "a norm needs the whole map"
        offsets = F.linear(distances[:, rows, columns].detach().t(), self.offset.weight.flatten(1))
        taps = sample(feature, *tap_positions(rows, columns, offsets))
        x = taps @ tap_matrix(self.conv.weight, self.groups)
        return torch.relu(x if self.conv.bias is None else x + self.conv.bias)


class ObjectMap(nn.Module):
    """A small map of logits per object, over its box: what no combination of basis masks can say.

    It refines what the coefficients give: at twice the taps per side it sees the grid's taps, the basis masks, and what
    the object combines of them there.

    Args:
        config: head configuration.
        reduced: channels of the grid's taps.
    """

    channels = 32

    def __init__(self, config: HeadConfig, reduced: int) -> None:
        super().__init__()
        self.side, self.parts = config.map_side, config.sub_regions
        self.enter = nn.Linear(reduced + config.bases + 1, self.channels)
        self.of_object = nn.Linear(config.grid_hidden, self.channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.channels, self.channels, 3, padding=1) for _ in range(2)
        )
        self.leave = nn.Linear(self.channels, 1)

    def forward(self, taps: Tensor, basis: Tensor, hidden: Tensor, vectors: Tensor) -> Tensor:
        """Logits of P objects, float [P, side^2], row by row.

        Args:
            taps: float [P, (side / 2)^2, reduced], of the grid.
            basis: float [P, side^2, bases], the basis masks at the places of the result.
            hidden: float [P, hidden], of the grid.
            vectors: float [P, parts^2 * n], coefficients, part by part.
        """
        count, side = len(taps), self.side
        coarse = taps.view(count, side // 2, side // 2, -1)
        coarse = coarse.repeat_interleave(2, 1).repeat_interleave(2, 2).view(count, side**2, -1)
        x = self.enter(torch.cat((coarse, basis, self.combined(basis, vectors)), 2))
        x = F.leaky_relu(x + self.of_object(hidden)[:, None], LEAK)
        x = x.view(count, side, side, -1).permute(0, 3, 1, 2)
        for conv in self.convs:
            x = F.leaky_relu(conv(x), LEAK)
        logits: Tensor = self.leave(x.permute(0, 2, 3, 1)).view(count, side**2)
        return logits

    def combined(self, basis: Tensor, vectors: Tensor) -> Tensor:
        """The logits that the coefficients alone give there, float [P, side^2, 1]."""
        count, side, parts = len(basis), self.side, self.parts
        vectors = vectors.view(count, parts**2, -1)
        maps = torch.cat((basis, shape_maps_of(side, basis).expand(count, -1, -1)), 2)
        every = maps[..., : vectors.shape[2]] @ vectors.transpose(1, 2)
        own = part_numbers(side, parts, basis.device).expand(count, -1)[..., None]
        return every.gather(2, own)


def part_numbers(side: int, parts: int, device: torch.device) -> Tensor:
    """Which part of a box each place of a grid of side * side lies in, int64 [side^2]."""
    part = torch.arange(side, device=device) * parts // side
    return (part[:, None] * parts + part).flatten()


def shape_maps_of(side: int, like: Tensor) -> Tensor:
    """A box's shape maps at the middles of side * side equal parts, [side^2, 6]; see ``sipvideo.boxes.shape_maps``."""
    at = (torch.arange(side, device=like.device, dtype=like.dtype) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(at, at, indexing="ij")
    return torch.stack((torch.ones_like(u), u, v, u * u, v * v, u * v), 2).flatten(0, 1)


class BoxGrid(nn.Module):
    """Coefficients from a grid of taps spread over the predicted box: the alignment carried further.

    The taps see the level's feature and the basis masks themselves, so that what combines the basis masks knows
    their values inside the box and just around it. It runs for detected objects only, so its width costs little.

    Args:
        config: head configuration.
        channels: of the level's feature.
    """

    margin = GRID_MARGIN
    reduced = 48

    def __init__(self, config: HeadConfig, channels: int) -> None:
        super().__init__()
        self.side = config.grid_side
        self.reduce = nn.Linear(channels + config.bases, self.reduced)
        self.hidden = nn.Linear(self.reduced * self.side**2 + 2, config.grid_hidden)
        count = config.coefficient_count - config.map_side**2
        self.output = nn.Linear(config.grid_hidden, count)
        self.own = ObjectMap(config, self.reduced) if config.object_map else None
        self.quality = nn.Linear(config.grid_hidden, 1) if config.grid_quality else None

    def forward(
        self, feature: Tensor, stride: int, basis: Tensor, basis_stride: int, boxes: Tensor
    ) -> Tensor:
        """Coefficients of P objects of one picture, float [P, coefficients]; see ``SipMaskHead.coefficients_at``.

        Args:
            feature: float [channels, h, w], a pyramid level.
            stride: its input pixels per cell.
            basis: float [bases, H, W].
            basis_stride: input pixels per basis pixel.
            boxes: float [P, 4], input pixels. No gradient flows into them.
        """
        y, x = self._taps(boxes.detach(), self.side)
        near = sample(feature, y / stride - 0.5, x / stride - 0.5)
        fine = sample(basis, y / basis_stride - 0.5, x / basis_stride - 0.5)
        count = self.side**2
        taps = torch.cat(
            (near.view(len(boxes), count, -1), fine.view(len(boxes), count, -1)), dim=2
        )
        taps = F.leaky_relu(self.reduce(taps), LEAK)
        # Around 0 for objects of the usual sizes.
        sides = (boxes[:, 2:] - boxes[:, :2]).detach().clamp(min=1).log() - 4
        hidden = F.leaky_relu(self.hidden(torch.cat((taps.flatten(1), sides), 1)), LEAK)
        found = [self.output(hidden)]
        if self.own is not None:
            y, x = self._taps(boxes.detach(), self.own.side)
            there = sample(basis, y / basis_stride - 0.5, x / basis_stride - 0.5)
            there = there.view(len(boxes), self.own.side**2, -1)
            found.append(self.own(taps, there, hidden, found[0]))
        if self.quality is not None:
            found.append(self.quality(hidden))
        return torch.cat(found, 1)

    def _taps(self, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Rows and columns of side * side taps, float [P, 1, side^2], input pixels, row by row."""
        share = (torch.arange(side, device=boxes.device, dtype=boxes.dtype) + 0.5) / side
        share = share * (1 + 2 * self.margin) - self.margin
        x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(1)
        x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        shape = (len(boxes), side, side)
        rows = y.unsqueeze(2).expand(shape).flatten(1)
        columns = x.unsqueeze(1).expand(shape).flatten(1)
        return rows.unsqueeze(1), columns.unsqueeze(1)
