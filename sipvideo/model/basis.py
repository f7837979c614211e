"""Basis masks: full-picture maps that all objects' masks are combined from (section 3.1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.config import HeadConfig
from sipvideo.model.units import SeparableUnit


class PyramidSum(nn.Module):
    """1x1 convolution of the concatenation of three levels brought to the finest one's size.

    A 1x1 convolution commutes with bilinear upsampling, so each level is convolved at its own resolution
    and only the results are upsampled and added.

    Args:
        channels: of each level.
        out_channels: of the sum.
    """

    levels = 3

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(self.levels * channels, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Levels at strides 8, 16, 32 to float [B, out_channels, h, w] at stride 8."""
        size = features[0].shape[-2:]
        parts = self.conv.weight.chunk(self.levels, dim=1)
        total = F.conv2d(features[0], parts[0], self.conv.bias)
        for feature, weight in zip(features[1:], parts[1:], strict=True):
            small = F.conv2d(feature, weight)
            total = total + F.interpolate(small, size=size, mode="bilinear", align_corners=False)
        return total


class MaskPyramid(nn.Module):
    """A pyramid for masks alone: each level sees its detector level, the trunk and all coarser levels.

    The detector's levels are made for classes and boxes, and lose most of the trunk's channels on the way.

    Args:
        channels: of every detector level.
        trunk_channels: of the trunk's features at strides 8, 16, 32.
        out_channels: of every level of the result.
    """

    def __init__(self, channels: int, trunk_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels + c, out_channels, 1) for c in trunk_channels
        )
        self.smooth = nn.ModuleList(SeparableUnit(out_channels) for _ in trunk_channels)

    def forward(self, levels: Sequence[Tensor], trunk: Sequence[Tensor]) -> list[Tensor]:
        """Float [B, channels, h, w] and [B, trunk_channels, h, w] per level, finest first, to [B, out_channels, h, w].

        Detector levels without a trunk feature, those coarser than stride 32, are left out.
        """
        joined = [
            lateral(torch.cat(pair, 1))
            for lateral, *pair in zip(self.laterals, levels[: len(trunk)], trunk, strict=True)
        ]
        for i in range(len(joined) - 1, 0, -1):
            joined[i - 1] = joined[i - 1] + F.interpolate(
                joined[i], scale_factor=2.0, mode="bilinear", align_corners=False
            )
        return [unit(F.leaky_relu(x, 0.1)) for unit, x in zip(self.smooth, joined, strict=True)]


class BasisBranch(nn.Module):
    """Basis masks from three levels (section 3.1), optionally refined by the stem's finer feature.

    Args:
        config: head configuration.
        channels: of the input levels.
        trunk_channels: of the trunk's maps, the last four at strides 4, 8, 16, 32. With ``basis_source`` "pyramid" the
            one at stride 4 is used, with ``basis_detail`` also the one at stride 2.
    """

    def __init__(self, config: HeadConfig, channels: int, trunk_channels: Sequence[int]) -> None:
        super().__init__()
        self.upsample = config.basis_upsample
        self.lateral = PyramidSum(channels, config.basis_channels)
        self.refined = config.basis_source == "pyramid"
        self.detailed = config.basis_detail
        if self.refined:
            self.before = nn.Sequential(
                *(SeparableUnit(config.basis_channels) for _ in range(config.basis_units))
            )
            self.stem = nn.Conv2d(trunk_channels[-4], config.basis_channels, 1)
            if config.basis_detail:
                self.detail = nn.Conv2d(trunk_channels[-5], config.basis_channels, 2, 2)
            self.residuals = nn.ModuleList(
                SeparableUnit(config.basis_channels) for _ in range(config.basis_residuals)
            )
            self.after = nn.Sequential(
                SeparableUnit(config.basis_channels), SeparableUnit(config.basis_channels)
            )
            self.output = nn.Conv2d(config.basis_channels, config.bases, 1)
        else:
            self.output = nn.Conv2d(config.basis_channels, config.bases, 3, padding=1)

    def forward(self, features: Sequence[Tensor], trunk: Sequence[Tensor]) -> Tensor:
        """Three levels [B, channels, h, w] and the trunk's maps to float [B, bases, h * up, w * up]."""
        x = self.lateral(features)
        if self.refined:
            x = self.before(F.leaky_relu(x, 0.1))
            stem = trunk[-4]
            x = F.interpolate(x, size=stem.shape[-2:], mode="bilinear", align_corners=False)
            x = x + self.stem(stem)
            if self.detailed:
                x = x + self.detail(trunk[-5])
            for unit in self.residuals:
                x = x + unit(x)
            return torch.relu(self.output(self.after(x)))
        x = torch.relu(self.output(torch.relu_(x)))
        return F.interpolate(x, scale_factor=self.upsample, mode="bilinear", align_corners=False)
