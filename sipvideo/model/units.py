"""The convolution units that towers and branches are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvUnit(nn.Module):
    """3x3 convolution, optional GroupNorm(32), ReLU."""

    def __init__(self, channels: int, norm: bool, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm = nn.GroupNorm(32, channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return torch.relu_(self.norm(self.conv(x)))


class SeparableUnit(nn.Module):
    """Depthwise and 1x1 pointwise convolution with biases, LeakyReLU(0.1) after each."""

    def __init__(self, channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, kernel, stride, padding=kernel // 2, groups=channels
        )
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the channels, and with stride 1 the shape."""
        return F.leaky_relu(self.pointwise(F.leaky_relu(self.depthwise(x), 0.1)), 0.1)


@torch.no_grad()
def reorder_outputs(conv: nn.Conv2d, order: Sequence[int]) -> None:
    """Channel ``i`` of the result becomes what ``order[i]`` was, in place; a depthwise one reads in that order, too."""
    conv.weight.data = conv.weight[list(order)].contiguous()
    if conv.bias is not None:
        conv.bias.data = conv.bias[list(order)].contiguous()


@torch.no_grad()
def reorder_inputs(conv: nn.Conv2d, order: Sequence[int]) -> None:
    """For inputs whose last channels come in another order, in place: the ``i``-th of them was the ``order[i]``-th."""
    before = conv.in_channels - len(order)
    columns = [*range(before), *(before + i for i in order)]
    conv.weight.data = conv.weight[:, columns].contiguous()
