"""What a cell says about its mask, read where its predicted box lies (section 3.2 of the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.config import HeadConfig
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


class BoxGrid(nn.Module):
    """Coefficients from a grid of taps spread over the predicted box: the alignment carried further.

    The taps see the level's feature and the basis masks themselves, so that what combines the basis masks knows
    their values inside the box and just around it. It runs for detected objects only, so its width costs little.

    Args:
        config: head configuration.
        channels: of the level's feature.
    """

    margin = 0.1
    """How far the taps reach beyond the box, in box sides."""
    reduced = 48

    def __init__(self, config: HeadConfig, channels: int) -> None:
        super().__init__()
        self.side = config.grid_side
        self.reduce = nn.Linear(channels + config.bases, self.reduced)
        self.hidden = nn.Linear(self.reduced * self.side**2 + 2, config.grid_hidden)
        self.output = nn.Linear(config.grid_hidden, config.coefficient_count)
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
        y, x = self._taps(boxes.detach())
        near = sample(feature, y / stride - 0.5, x / stride - 0.5)
        fine = sample(basis, y / basis_stride - 0.5, x / basis_stride - 0.5)
        count = self.side**2
        taps = torch.cat(
            (near.view(len(boxes), count, -1), fine.view(len(boxes), count, -1)), dim=2
        )
        taps = F.leaky_relu(self.reduce(taps), LEAK).flatten(1)
        # Around 0 for objects of the usual sizes.
        sides = (boxes[:, 2:] - boxes[:, :2]).detach().clamp(min=1).log() - 4
        hidden = F.leaky_relu(self.hidden(torch.cat((taps, sides), 1)), LEAK)
        result: Tensor = self.output(hidden)
        return result if self.quality is None else torch.cat((result, self.quality(hidden)), 1)

    def _taps(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and columns of the taps, float [P, 1, side^2], input pixels, row by row."""
        share = (torch.arange(self.side, device=boxes.device, dtype=boxes.dtype) + 0.5) / self.side
        share = share * (1 + 2 * self.margin) - self.margin
        x0, y0, x1, y1 = boxes.unsqueeze(-1).unbind(1)
        x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        shape = (len(boxes), self.side, self.side)
        rows = y.unsqueeze(2).expand(shape).flatten(1)
        columns = x.unsqueeze(1).expand(shape).flatten(1)
        return rows.unsqueeze(1), columns.unsqueeze(1)
