"""ShuffleNetV2 trunk (Ma et al., ECCV 2018) as detectors for CPUs use it.

LeakyReLU instead of ReLU; the convolutions carry biases because trained batch normalisation
is folded into them.
"""

from __future__ import annotations

from collections import Counter
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from sipvideo.model.units import reorder_inputs, reorder_outputs

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


class UnshuffledStage(nn.Module):
    """A stage without shuffling: the same numbers, in another order of the channels.

    A shuffle moves the whole map only to settle which unit changes a channel next. That is known beforehand: each
    branch gives its channels sorted by the unit that reads them, and a unit joins what has been waiting for it.

    Args:
        stage: its weights are reordered in place.

    Attributes:
        order: of the result, whose channel ``i`` is channel ``order[i]`` of the stage's own.
    """

    def __init__(self, stage: Any) -> None:
        super().__init__()
        first, *rest = stage.children()
        self.branches = nn.ModuleList((first.branch1, first.branch2, *(u.branch2 for u in rest)))
        half = first.branch1[-2].out_channels
        made = [[(branch, i) for i in range(half)] for branch in range(len(self.branches))]
        read = _channels_read(made)
        reader = {channel: number for number, channels in enumerate(read) for channel in channels}
        branch: Any
        for branch, channels in zip(self.branches, made, strict=True):
            channels.sort(key=lambda channel: (reader[channel], channel))
            reorder_outputs(branch[-2], [i for _, i in channels])
        orders = [
            [channels.index(c) for c in chain(*made) if reader[c] == number]
            for number, channels in enumerate(read)
        ]
        for unit, order in zip(rest, orders[:-1], strict=True):
            reorder_inputs(unit.branch2[0], order)
        self.sizes = [Counter(reader[channel] for channel in channels) for channels in made]
        self.order = orders[-1]

    def forward(self, features: Tensor) -> Tensor:
        """As the stage, but for the order of the channels."""
        waiting: list[list[Tensor]] = [[] for _ in range(len(self.branches) - 1)]
        for number, (branch, sizes) in enumerate(zip(self.branches, self.sizes, strict=True)):
            made = branch(features if number < 2 else torch.cat(waiting[number - 2], 1))
            for part, reader in zip(made.split(list(sizes.values()), 1), sizes, strict=True):
                waiting[reader].append(part)
        return torch.cat(waiting[-1], 1)


Channel = tuple[int, int]
"""Of a stage: the branch that makes it, and its place there."""


def _channels_read(made: list[list[Channel]]) -> list[list[Channel]]:
    """The channels that each unit behind the first one changes, then those that the stage gives.

    Args:
        made: those of each branch: both of the first unit, then one per unit.
    """
    kept, changed, *rest = made
    read = []
    for own in rest:
        shuffled = list(chain.from_iterable(zip(kept, changed, strict=True)))
        kept, seen = shuffled[: len(kept)], shuffled[len(kept) :]
        read.append(seen)
        changed = own
    return [*read, list(chain.from_iterable(zip(kept, changed, strict=True)))]


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

    @property
    def shuffles(self) -> bool:
        """Whether the stages are as they were trained, not yet rearranged."""
        return not isinstance(self.stage2, UnshuffledStage)

    def unshuffle(self) -> list[list[int]]:
        """Rearranges the stages for inference, in place, so that no channel is moved; cannot be undone.

        Returns:
            The order of each stage's channels: channel ``i`` was channel ``order[i]``.
        """
        orders: list[list[int]] = []
        for name in ("stage2", "stage3", "stage4"):
            stage: Any = getattr(self, name)
            if orders:
                depthwise, pointwise = stage[0].branch1[:2]
                reorder_outputs(depthwise, orders[-1])
                reorder_inputs(pointwise, orders[-1])
                reorder_inputs(stage[0].branch2[0], orders[-1])
            unshuffled = UnshuffledStage(stage)
            setattr(self, name, unshuffled)
            orders.append(unshuffled.order)
        return orders

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
