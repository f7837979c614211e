"""Ghost-PAN: the pyramid of NanoDet-Plus (RangiLyu, github.com/RangiLyu/nanodet, Apache-2.0)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.model.units import SeparableUnit

LEAK = 0.1
_KERNEL = 5


class GhostModule(nn.Module):
    """Half of the channels by a 1x1 convolution, the other half from those by a 3x3 depthwise one (Han et al., 2020).

    Args:
        in_channels: of the input.
        out_channels: even.
        active: LeakyReLU(0.1) after both convolutions.
    """

    def __init__(self, in_channels: int, out_channels: int, active: bool) -> None:
        super().__init__()
        half = out_channels // 2
        self.active = active
        self.primary = nn.Conv2d(in_channels, half, 1)
        self.cheap = nn.Conv2d(half, half, 3, padding=1, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, h, w] to [B, out_channels, h, w]."""
        first = self._activated(self.primary(x))
        return torch.cat((first, self._activated(self.cheap(first))), 1)

    def _activated(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, LEAK) if self.active else x


class GhostBlock(nn.Module):
    """Two ghost modules beside a separable shortcut (ghost bottleneck of stride 1)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.expand = GhostModule(in_channels, out_channels, active=True)
        self.project = GhostModule(out_channels, out_channels, active=False)
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, _KERNEL, padding=2, groups=in_channels),
            nn.Conv2d(in_channels, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, in_channels, h, w] to [B, out_channels, h, w]."""
        result: Tensor = self.project(self.expand(x)) + self.shortcut(x)
        return result


class GhostPAN(nn.Module):
    """Top-down and bottom-up path of ghost blocks on concatenated neighbours, and one more level at stride 64.

    Args:
        in_channels: channels of the trunk's features at strides 8, 16, 32.
        channels: channels of every output level.
    """

    strides = (8, 16, 32, 64)

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        steps = range(len(in_channels) - 1)
        self.reduce = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.top_down = nn.ModuleList(GhostBlock(2 * channels, channels) for _ in steps)
        self.down = nn.ModuleList(SeparableUnit(channels, _KERNEL, 2) for _ in steps)
        self.bottom_up = nn.ModuleList(GhostBlock(2 * channels, channels) for _ in steps)
        self.extra = nn.ModuleList(SeparableUnit(channels, _KERNEL, 2) for _ in range(2))

    @property
    def entrances(self) -> nn.ModuleList:
        """The 1x1 convolutions that see the trunk's features, finest first."""
        return self.reduce

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Float [B, in_channels, h, w] per level, exact halves, to [B, channels, h, w], finest first.

        The last level has half of the sides at stride 32, rounded up.
        """
        levels = [
            F.leaky_relu(reduce(f), LEAK) for reduce, f in zip(self.reduce, features, strict=True)
        ]
        coarsest = levels[-1]
        for i in range(len(levels) - 2, -1, -1):
            above = F.interpolate(
                levels[i + 1], scale_factor=2.0, mode="bilinear", align_corners=False
            )
            levels[i] = self.top_down[i](torch.cat((above, levels[i]), 1))
        for i, (down, block) in enumerate(zip(self.down, self.bottom_up, strict=True)):
            levels[i + 1] = block(torch.cat((down(levels[i]), levels[i + 1]), 1))
        return [*levels, self.extra[0](coarsest) + self.extra[1](levels[-1])]
