"""3x3 convolutions by Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016), on CPUs.

Sixteen outputs of a tile cost 36 products instead of 144. The result is the same convolution in another order
of summation: single precision errors are about thirty times those of the direct form, 1e-6 of the values' size.
"""

from __future__ import annotations

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Interpolation points 0, 1, -1, 2, -2 and infinity; rows of G.
_KERNEL_TRANSFORM = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)

LEAST_CELLS = 900
"""On smaller maps there are too few tiles for the matrix products to be efficient."""
LEAST_CHANNELS = 256


class WinogradConv(nn.Module):
    """Takes the place of a 3x3 convolution with stride 1 and padding 1, for inference on CPUs.

    Args:
        conv: the convolution; its weights are shared.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.direct = conv
        g = torch.tensor(_KERNEL_TRANSFORM, dtype=torch.float64)
        kernel = torch.einsum("ia,ocab,jb->ijco", g, conv.weight.detach().double(), g)
        self.register_buffer("kernel", kernel.float().flatten(0, 1), persistent=False)
        self.kernel: Tensor  # float32 [36, C, O]

    @staticmethod
    def suits(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
        """Whether a module is a convolution that gains."""
        return (
            isinstance(conv, nn.Conv2d)
            and conv.kernel_size == (3, 3)
            and conv.stride == conv.padding == conv.dilation == (1, 1)
            and conv.groups == 1
            and min(conv.in_channels, conv.out_channels) >= LEAST_CHANNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """float [B, C, H, W] to float [B, O, H, W]."""
        height, width = x.shape[-2:]
        single_cpu = x.device.type == "cpu" and x.dtype == torch.float32
        if not single_cpu or height * width < LEAST_CELLS or torch.is_grad_enabled():
            result: Tensor = self.direct(x)
            return result
        rows, columns = -(-height // 4), -(-width // 4)
        padded = F.pad(
            x.permute(0, 2, 3, 1), (0, 0, 1, 4 * columns + 1 - width, 1, 4 * rows + 1 - height)
        )
        tiles = x.new_empty(6, 6, len(x), rows, columns, x.shape[1])
        vertical = _to_points([padded[:, i : i + 4 * rows : 4][:, :rows] for i in range(6)])
        for i, band in enumerate(vertical):
            parts = [band[:, :, j : j + 4 * columns : 4][:, :, :columns] for j in range(6)]
            for j, value in enumerate(_to_points(parts)):
                tiles[i, j] = value
        products = torch.bmm(tiles.view(36, -1, x.shape[1]), self.kernel)
        points = products.view(6, 6, len(x), rows, columns, -1)
        output = x.new_empty(len(x), rows, 4, columns, 4, points.shape[-1])
        for i, band in enumerate(_from_points(list(points))):
            for j, value in enumerate(_from_points(list(band))):
                output[:, :, i, :, j] = value
        if self.direct.bias is not None:
            output += self.direct.bias
        whole = output.view(len(x), 4 * rows, 4 * columns, -1)[:, :height, :width]
        return whole.permute(0, 3, 1, 2)


def _to_points(d: list[Tensor]) -> list[Tensor]:
    """Six samples to the values at the six interpolation points (the transposed B of the paper)."""
    even, odd = d[4] - 4 * d[2], d[3] - 4 * d[1]
    near, far = d[4] - d[2], 2 * (d[3] - d[1])
    return [
        4 * d[0] - 5 * d[2] + d[4],
        even + odd,
        even - odd,
        near + far,
        near - far,
        4 * d[1] - 5 * d[3] + d[5],
    ]


def _from_points(m: list[Tensor]) -> list[Tensor]:
    """Values at the six interpolation points to the four outputs (the transposed A)."""
    plus1, minus1, plus2, minus2 = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    return [
        m[0] + plus1 + plus2,
        minus1 + 2 * minus2,
        plus1 + 4 * plus2,
        minus1 + 8 * minus2 + m[5],
    ]
