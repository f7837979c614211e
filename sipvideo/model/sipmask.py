"""SipMask: backbone, feature pyramid and head put together. Holds no state between frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sipvideo.config import Config
from sipvideo.model.alignment import FeatureAlignment
from sipvideo.model.fpn import FPN
from sipvideo.model.ghost_pan import GhostPAN
from sipvideo.model.head import HeadOutputs, SipMaskHead
from sipvideo.model.pan import PAN
from sipvideo.model.resnet import ResNet
from sipvideo.model.shufflenet import ShuffleNetV2
from sipvideo.model.units import reorder_inputs
from sipvideo.model.winograd import WinogradConv

PRECISE = re.compile(
    r"(offset|class_logits\.\d+|box_distances\.\d+|centerness\.\d+|basis\.output)$"
)
"""Names of the layers that stay in single precision."""


def _in_single_precision(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(value.float() for value in inputs)


NECKS: dict[str, type[FPN] | type[PAN] | type[GhostPAN]] = {
    "fpn": FPN,
    "pan": PAN,
    "ghost_pan": GhostPAN,
}


class SipMask(nn.Module):
    """The dense network.

    Args:
        config: configuration; its input, post-processing and tracker sections are not read here.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        trunk = config.backbone
        self.backbone: ResNet | ShuffleNetV2
        if trunk.name.startswith("shufflenet"):
            self.backbone = ShuffleNetV2(trunk.name.removeprefix("shufflenet_v2_"))
        else:
            depth = int(trunk.name.removeprefix("resnet"))
            self.backbone = ResNet(depth, trunk.style, trunk.deformable_every, trunk.norm_epsilon)
        neck = NECKS[config.neck.name]
        self.neck: FPN | PAN | GhostPAN = neck(
            self.backbone.out_channels[-3:], config.neck.channels
        )
        self.head = SipMaskHead(
            config.head,
            config.neck.channels,
            len(config.class_names),
            self.neck.strides,
            self.backbone.out_channels,
        )

    def simplified(self) -> SipMask:
        """The same function with fewer operations, in place; cannot be undone, and changes nothing when done again.

        Batch norms are folded, and channels stay where they are made instead of being shuffled.
        """
        self.eval()
        if isinstance(self.backbone, ResNet):
            self.backbone.fold_norms()
        elif self.backbone.shuffles:
            self._unshuffle(self.backbone.unshuffle())
        return self

    def _unshuffle(self, orders: Sequence[Sequence[int]]) -> None:
        """What reads the trunk reads its stages' channels in these orders."""
        readers: list[Any] = [self.neck.entrances]
        if self.head.config.mask_pyramid:
            readers.append(self.head.mask_pyramid.laterals)
        for convolutions in readers:
            for convolution, order in zip(convolutions, orders, strict=True):
                reorder_inputs(convolution, order)

    def for_inference(self) -> SipMask:
        """Rearranges the network for speed, in place; cannot be undone.

        As :meth:`simplified`; memory is channels-last, and large 3x3 convolutions take Winograd's way.
        """
        self.simplified()
        self.to(memory_format=torch.channels_last)
        for parent in list(self.modules()):
            for name, child in parent.named_children():
                only_in_places = (
                    isinstance(parent, FeatureAlignment) or child is self.head.coefficients
                )
                if WinogradConv.suits(child) and not only_in_places:
                    setattr(parent, name, WinogradConv(child))
        return self

    def in_precision(self, dtype: torch.dtype) -> SipMask:
        """Converts the weights, in place, except for the few layers whose rounding decides what is found and where.

        Those (``PRECISE``: what classes, boxes, places on a map and basis masks come out of) stay in single precision,
        and so do their results.
        """
        self.to(dtype)
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d) and PRECISE.search(name):
                module.float()
                if dtype != torch.float32:
                    module.register_forward_pre_hook(_in_single_precision)
        return self

    def pyramid(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Images float [B, 3, H, W] to pyramid levels and the backbone's maps, the last at strides 4, 8, 16, 32."""
        trunk = self.backbone(images)
        return self.neck(trunk[-3:]), trunk

    def forward(self, images: Tensor) -> HeadOutputs:
        """Images float [B, 3, H, W] (normalised, sides multiples of 32) to raw outputs."""
        result: HeadOutputs = self.head(*self.pyramid(images))
        return result
