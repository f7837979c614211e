"""Light path aggregation pyramid: one 1x1 convolution per level, then only resizing and adding."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class PAN(nn.Module):
    """Top-down and bottom-up path (Liu et al., CVPR 2018) without convolutions in the paths.

    Args:
        in_channels: channels of the trunk's features at strides 8, 16, 32.
        channels: channels of every output level.
    """

    strides = (8, 16, 32)

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)

    @property
    def entrances(self) -> nn.ModuleList:
        """The 1x1 convolutions that see the trunk's features, finest first."""
        return self.laterals

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Float [B, in_channels, h, w] per level, exact halves, to [B, channels, h, w]."""
        levels = [lateral(f) for lateral, f in zip(self.laterals, features, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + F.interpolate(
                levels[i], scale_factor=2.0, mode="bilinear", align_corners=False
            )
        for i in range(len(levels) - 1):
            # Equal to bilinear resizing by one half: the sample point is the middle of four pixels.
            levels[i + 1] = levels[i + 1] + F.avg_pool2d(levels[i], 2)
        return levels
