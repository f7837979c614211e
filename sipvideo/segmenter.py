"""Frame in, detections out: transform, network and post-processing of one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sipvideo.config import Config
from sipvideo.model.head import HeadOutputs
from sipvideo.model.postprocess import Postprocess
from sipvideo.model.sipmask import SipMask
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import FrameTransform, Geometry


class FrameSegmenter:
    """Finds the objects of single frames. Has no memory: the same frame gives the same detections.

    Args:
        model: the network, in evaluation mode, weights loaded.
        config: its configuration.
        device: where it runs.
    """

    def __init__(self, model: SipMask, config: Config, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.model = model.eval().to(self.device)
        self.config = config
        self.transform = FrameTransform(config.input)
        self.postprocess = Postprocess(config.postprocess, model.head)
        self.network: Callable[[Tensor], HeadOutputs] = self.model

    def __call__(self, frame: Frame) -> Detections:
        """Detections of one frame, frame pixels, by descending score."""
        return self.batch([frame])[0]

    @torch.inference_mode()
    def batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detections of frames of one size; equal to calling one by one up to rounding."""
        images, geometries = self.inputs(frames)
        outputs = self.network(images)
        return [
            self.postprocess(outputs, geometry, item) for item, geometry in enumerate(geometries)
        ]

    def inputs(self, frames: Sequence[Frame]) -> tuple[Tensor, list[Geometry]]:
        """Model inputs float32 [B, 3, H, W] on the device, and where each frame lies in its input."""
        pairs = [self.transform(frame) for frame in frames]
        images = torch.stack([torch.from_numpy(image) for image, _ in pairs])
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        return images, [geometry for _, geometry in pairs]
