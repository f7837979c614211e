"""The engine for every machine: transform, dense network, post-processing in numpy. Does without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sipvideo.config import Config
from sipvideo.engine.contract import Engine, Size
from sipvideo.errors import CheckpointError
from sipvideo.machine import usable_cores
from sipvideo.postprocess import ObjectHead, Postprocess
from sipvideo.postprocess.colours import with_looks
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.structures import Detections, FloatArray, Frame
from sipvideo.transforms import FrameTransform, Geometry, small_picture


class HostEngine(Engine):
    """Runs one model; the stages may also be called one by one, to time or to replace them.

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
        self.model, self.about, self.device = config.name, runtime.about, runtime.device
        self.input_size = config.input.size
        self.resizable = runtime.fixed is None
        self.largest_batch = 1 if runtime.device == "cpu" else 4
        self.callers = runtime.callers
        self.threshold = config.postprocess.score_threshold

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Detections of each frame; those of one size run through the network together.

        Raises:
            CheckpointError: the network's outputs are not finite.
        """
        found: dict[int, Detections] = {}
        for size in dict.fromkeys(frame.size for frame in frames):
            places = [k for k, frame in enumerate(frames) if frame.size == size]
            found.update(zip(places, self._together([frames[k] for k in places]), strict=True))
        return [found[k] for k in range(len(frames))]

    def _together(self, frames: Sequence[Frame]) -> list[Detections]:
        images, geometries, small = self.inputs(frames)
        outputs = self.runtime(images)
        # What is wrong with weights spreads to the coarsest level, which is looked at in no time.
        coarsest = (outputs.class_logits, outputs.box_distances, outputs.coefficient_features)
        if not all(np.isfinite(maps[-1]).all() for maps in coarsest):
            raise CheckpointError(
                f"{self.model}: the network gives numbers that are not finite; its weights are damaged"
            )
        views = enumerate(zip(geometries, small, strict=True))
        return [self.objects_in(outputs, geometry, picture, k) for k, (geometry, picture) in views]

    def inputs(
        self, frames: Sequence[Frame]
    ) -> tuple[FloatArray, list[Geometry], list[NDArray[np.uint8]]]:
        """Frames of one size as the network takes them.

        Returns:
            model inputs float32 [B, 3, H, W], channels last in memory; where each frame lies in its input; and its
            small picture uint8 [h, w, 3], RGB.
        """
        geometries = [self.transform.geometry(frame.size) for frame in frames]
        images = np.zeros((len(frames), *geometries[0].padded_size, 3), np.float32)
        small = [
            small_picture(self.transform.write(frame, geometry, image))
            for frame, geometry, image in zip(frames, geometries, images, strict=True)
        ]
        return images.transpose(0, 3, 1, 2), geometries, small

    def objects_in(
        self,
        outputs: DenseOutputs,
        geometry: Geometry,
        small: NDArray[np.uint8],
        item: int = 0,
    ) -> Detections:
        """The objects of one frame of a batch; ``geometry`` and ``small`` as :meth:`inputs` gives them."""
        found = self.postprocess(outputs, geometry, item)
        return with_looks(found, small, self.config.postprocess.colour_share)

    def resized(self, size: Size) -> HostEngine:
        """The same network with another input size."""
        config = self.config.with_overrides([f"input.size=[{size[0]}, {size[1]}]"])
        return HostEngine(self.runtime, self.objects, config)

    def doubting(self, threshold: float) -> HostEngine:
        """The same network that reports objects from a lower score too."""
        if self.threshold <= threshold:
            return self
        config = self.config.with_overrides([f"postprocess.score_threshold={threshold}"])
        return HostEngine(self.runtime, self.objects, config)

    def for_files(self) -> HostEngine:
        """Several callers, each with a share of the cores; results are the same up to rounding."""
        cores = usable_cores()
        if cores == 1:
            return self
        shared = self.runtime.shared(min(4, max(2, cores // 2)))
        return HostEngine(shared, self.objects, self.config)
