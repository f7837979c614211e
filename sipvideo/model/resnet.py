"""torchvision's ResNet with the published differences: stride placement and deformable blocks."""

from __future__ import annotations

from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import Bottleneck

from sipvideo.model.ops import deformable_conv


class DeformableConv(nn.Module):
    """3x3 deformable convolution whose offsets come from an ordinary 3x3 convolution (SipMask++).

    Args:
        conv: the 3x3 convolution that it replaces (stride 1, no bias).
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight = conv.weight
        self.conv_offset = nn.Conv2d(conv.in_channels, 18, 3, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] to float [B, O, H, W]."""
        offsets = self.conv_offset(x.to(self.conv_offset.weight.dtype))
        return deformable_conv(x, offsets, self.weight, groups=1)


class ResNet(nn.Module):
    """ResNet-50 or -101 trunk.

    Args:
        depth: 50 or 101.
        style: "caffe" keeps the stride of a stage in the first 1x1 convolution, "pytorch" in the 3x3.
        deformable_every: in layer2-4, every n-th block's 3x3 convolution is deformable; 0: none.
        norm_epsilon: added to the batch norms' variances.
    """

    out_channels = (256, 512, 1024, 2048)
    strides = (4, 8, 16, 32)

    def __init__(
        self,
        depth: int,
        style: Literal["caffe", "pytorch"],
        deformable_every: int = 0,
        norm_epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        body = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        self.conv1, self.bn1 = body.conv1, body.bn1
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            body.layer1,
            body.layer2,
            body.layer3,
            body.layer4,
        )
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = norm_epsilon
        for stage in (self.layer2, self.layer3, self.layer4):
            if style == "caffe":
                stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
            if deformable_every:
                for block in stage[::deformable_every]:
                    assert isinstance(block, Bottleneck)
                    block.conv2 = DeformableConv(block.conv2)

    def train(self, mode: bool = True) -> ResNet:
        """As usual, but the batch norms keep their statistics: published training never moves them."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def fold_norms(self) -> None:
        """Folds the batch norms into the convolutions before them; for inference only, cannot be undone."""
        _fold(self, "conv1", "bn1")
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                for i in (1, 2, 3):
                    _fold(block, f"conv{i}", f"bn{i}")
                if block.downsample is not None:
                    _fold(block.downsample, "0", "1")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image float [B, 3, H, W] to the maps C2..C5 at strides 4, 8, 16, 32."""
        x = torch.relu(self.bn1(self.conv1(image)))
        x = torch.max_pool2d(x, 3, 2, 1)
        c2 = self.layer1(x)
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c2, c3, c4, self.layer4(c4)]


def _fold(module: nn.Module, conv: str, norm: str) -> None:
    convolution, batch_norm = module.get_submodule(conv), module.get_submodule(norm)
    if isinstance(convolution, nn.Conv2d) and isinstance(batch_norm, nn.BatchNorm2d):
        setattr(module, conv, fuse_conv_bn_eval(convolution.eval(), batch_norm.eval()))
        setattr(module, norm, nn.Identity())
