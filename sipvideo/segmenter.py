"""Frame in, detections out: transform, network and post-processing of one model. Needs no deep-learning framework."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sipvideo.config import Config
from sipvideo.machine import usable_cores
from sipvideo.postprocess import ObjectHead, Postprocess
from sipvideo.postprocess.outputs import Runtime
from sipvideo.structures import Detections, FloatArray, Frame
from sipvideo.transforms import FrameTransform, Geometry


class FrameSegmenter:
    """Finds the objects of single frames. Has no memory: the same frame gives the same detections.

    May be used from several threads at once.

    Args:
        runtime: runs the dense network.
        objects: the per-object part of the same network.
        config: its configuration.
    """

    def __init__(self, runtime: Runtime, objects: ObjectHead, config: Config) -> None:
        self.runtime = runtime
        self.objects = objects
        self.config = config
        self.transform = FrameTransform(config.input)
        self.postprocess = Postprocess(config, objects)

    def __call__(self, frame: Frame) -> Detections:
        """Detections of one frame, frame pixels, by descending score."""
        return self.batch([frame])[0]

    def batch(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detections of frames of one size; equal to calling one by one up to rounding."""
        if not frames:
            return []
        images, geometries = self.inputs(frames)
        outputs = self.runtime(images)
        return [
            self.postprocess(outputs, geometry, item) for item, geometry in enumerate(geometries)
        ]

    def inputs(self, frames: Sequence[Frame]) -> tuple[FloatArray, list[Geometry]]:
        """Model inputs float32 [B, 3, H, W], channels last in memory, and where each frame lies in its input."""
        geometries = [self.transform.geometry(frame.size) for frame in frames]
        images = np.zeros((len(frames), *geometries[0].padded_size, 3), np.float32)
        for frame, geometry, image in zip(frames, geometries, images, strict=True):
            self.transform.write(frame, geometry, image)
        return images.transpose(0, 3, 1, 2), geometries

    @property
    def callers(self) -> int:
        """Threads that call at once with profit."""
        return getattr(self.runtime, "callers", 1)

    def for_files(self) -> FrameSegmenter:
        """The same, set up for throughput instead of latency where the engine knows the difference.

        There it has several callers, each with a share of the cores; results are the same up to rounding.
        """
        shared = getattr(self.runtime, "shared", None)
        cores = usable_cores()
        if shared is None or cores == 1:
            return self
        return FrameSegmenter(shared(min(4, max(2, cores // 2))), self.objects, self.config)

    @property
    def resizable(self) -> bool:
        """Whether the network takes other input sizes; exports of one fixed size do not."""
        return getattr(self.runtime, "fixed", None) is None

    def resized(self, size: tuple[int, int]) -> FrameSegmenter:
        """The same network with another input size, ``input.size`` of the configuration: (long, short) in pixels."""
        config = self.config.with_overrides([f"input.size=[{size[0]}, {size[1]}]"])
        return FrameSegmenter(self.runtime, self.objects, config)
