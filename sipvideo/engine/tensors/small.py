"""A small picture of each frame, made where the frame is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sipvideo.transforms import small_blocks


class SmallPicture:
    """Means of blocks of pixels, within one level of OpenCV's: :func:`sipvideo.transforms.small_picture`.

    Args:
        picture_size: (height, width) of the scaled frames.
    """

    def __init__(self, picture_size: tuple[int, int]) -> None:
        self.blocks = small_blocks(picture_size)
        self.size = picture_size[0] // self.blocks[0], picture_size[1] // self.blocks[1]

    def __call__(self, pictures: Tensor) -> Tensor:
        """Scaled frames int32 [B, h, w, 3], RGB, to uint8 [B, h', w', 3]."""
        means = F.avg_pool2d(pictures.permute(0, 3, 1, 2).float(), self.blocks)
        # OpenCV rounds halves up where four pixels become one, and to even levels elsewhere.
        levels = (means + 0.5).floor() if self.blocks == (2, 2) else means.round()
        return levels.byte().permute(0, 2, 3, 1)
