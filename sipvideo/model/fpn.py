"""Feature pyramid of the published models: P3..P7 from C3, C4, C5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FPN(nn.Module):
    """Lateral 1x1 convolutions, nearest top-down sums, 3x3 outputs and two extra levels.

    P6 is a strided convolution of P5, P7 one of relu(P6); P6 itself is returned unrectified.

    Args:
        in_channels: channels of C3, C4, C5.
        channels: channels of every output level.
    """

    strides = (8, 16, 32, 64, 128)

    def __init__(self, in_channels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, channels, 1) for n in in_channels)
        self.output = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels
        )
        self.extra = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2, padding=1) for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    @property
    def entrances(self) -> nn.ModuleList:
        """The 1x1 convolutions that see the trunk's features, finest first."""
        return self.lateral

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """C3..C5 to P3..P7, each float [B, channels, h, w]."""
        laterals = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for finer in range(len(laterals) - 2, -1, -1):
            size = laterals[finer].shape[-2:]
            laterals[finer] = laterals[finer] + F.interpolate(laterals[finer + 1], size=size)
        pyramid = [conv(x) for conv, x in zip(self.output, laterals, strict=True)]
        pyramid.append(self.extra[0](pyramid[-1]))
        pyramid.append(self.extra[1](torch.relu(pyramid[-1])))
        return pyramid
