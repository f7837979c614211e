"""ShuffleNetV2 trunk (Ma et al., ECCV 2018) as detectors for CPUs use it.

LeakyReLU instead of ReLU; the convolutions carry biases because trained batch normalisation
is folded into them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAK = 0.1
_STEM_CHANNELS = 24
_UNITS = (4, 8, 4)
"""Of the three stages."""
WIDTHS = {"x1_0": (116, 232, 464), "x1_5": (176, 352, 704)}
"""Output channels of the three stages."""


def _depthwise(channels: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=channels)


def _pointwise(in_channels: int, out_channels: int) -> tuple[nn.Conv2d, nn.LeakyReLU]:
    return nn.Conv2d(in_channels, out_channels, 1), nn.LeakyReLU(LEAK, inplace=True)


def _shuffle(features: Tensor) -> Tensor:
    """Interleaves the two halves of the channels."""
    n, c, h, w = features.shape
    return features.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """A branch on half of the channels (stride 1), or two branches on all of them (stride 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.stride = stride
        if stride == 2:
            self.branch1 = nn.Sequential(_depthwise(in_channels, 2), *_pointwise(in_channels, half))
        self.branch2 = nn.Sequential(
            *_pointwise(in_channels if stride == 2 else half, half),
            _depthwise(half, stride),
            *_pointwise(half, half),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Float [B, in_channels, h, w] -> [B, out_channels, h / stride, w / stride]."""
        if self.stride == 2:
            halves = self.branch1(features), self.branch2(features)
        else:
            kept, changed = features.chunk(2, 1)
            halves = kept, self.branch2(changed)
        return _shuffle(torch.cat(halves, 1))


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 without its classifier.

    Args:
        width: one of ``WIDTHS``.

    Attributes:
        out_channels: channels of the returned features.
        strides: their strides in input pixels.
    """

    strides = (2, 4, 8, 16, 32)

    def __init__(self, width: str = "x1_0") -> None:
        super().__init__()
        self.out_channels = (_STEM_CHANNELS, _STEM_CHANNELS, *WIDTHS[width])
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, _STEM_CHANNELS, 3, 2, 1), nn.LeakyReLU(LEAK, inplace=True)
        )
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        stages = []
        channels = _STEM_CHANNELS
        for units, out_channels in zip(_UNITS, WIDTHS[width], strict=True):
            first = ShuffleUnit(channels, out_channels, 2)
            rest = (ShuffleUnit(out_channels, out_channels, 1) for _ in range(units - 1))
            stages.append(nn.Sequential(first, *rest))
            channels = out_channels
        self.stage2, self.stage3, self.stage4 = stages

    def forward(self, images: Tensor) -> list[Tensor]:
        """Stem before and after its pooling, and three stages, finest first.

        Args:
            images: float [B, 3, H, W], normalised, H and W multiples of 32.

        Returns:
            Float [B, out_channels[i], H / strides[i], W / strides[i]].
        """
        detail = self.conv1(images)
        stem = self.maxpool(detail)
        c3 = self.stage2(stem)
        c4 = self.stage3(c3)
        return [detail, stem, c3, c4, self.stage4(c4)]
