"""An engine that looks at a part of the picture only, or knows some of the classes only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sipvideo.engine.contract import Engine, Size
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import grey_picture

Area = tuple[float, float, float, float]
"""x0, y0, x1, y1 in parts of the picture, 0..1."""

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in frame pixels, x1, y1 exclusive."""


class SelectingEngine(Engine):
    """What another engine finds, as far as it is wanted: the tracker never sees the rest.

    Args:
        engine: finds the objects.
        labels: classes that are wanted; None: all.
        area: part of the picture that is looked at, which the model then sees larger; None: all of it.
    """

    def __init__(
        self, engine: Engine, labels: frozenset[int] | None = None, area: Area | None = None
    ) -> None:
        self.engine, self.labels, self.area = engine, labels, area
        self.model, self.about, self.device = engine.model, engine.about, engine.device
        self.input_size, self.resizable = engine.input_size, engine.resizable
        self.largest_batch, self.callers = engine.largest_batch, engine.callers
        self.threshold, self.notes = engine.threshold, engine.notes

    @property
    def choice(self) -> str:
        """The engine's."""
        return self.engine.choice

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The wanted objects, in pixels of the whole frames."""
        if self.area is None:
            found = self.engine.detect(frames)
        else:
            windows = [window(self.area, frame.size) for frame in frames]
            pieces = [cut(frame, w) for frame, w in zip(frames, windows, strict=True)]
            inside = self.engine.detect(pieces)
            found = [
                _with_grey(moved_back(detections, frame.size, w), frame)
                for detections, frame, w in zip(inside, frames, windows, strict=True)
            ]
        if self.labels is None:
            return found
        wanted = sorted(self.labels)
        return [detections[np.isin(detections.labels, wanted)] for detections in found]

    def resized(self, size: Size) -> Engine:
        """The same with another input size. Raises ConfigError: not a size."""
        return SelectingEngine(self.engine.resized(size), self.labels, self.area)

    def doubting(self, threshold: float) -> Engine:
        """The same that reports doubtful objects too."""
        return SelectingEngine(self.engine.doubting(threshold), self.labels, self.area)

    def for_files(self) -> Engine:
        """The same, set up for throughput."""
        return SelectingEngine(self.engine.for_files(), self.labels, self.area)


def window(area: Area, frame_size: tuple[int, int]) -> Window:
    """The area in pixels of a frame of (height, width), x0, y0, x1, y1; at least one pixel."""
    height, width = frame_size
    x0, y0 = min(int(area[0] * width), width - 1), min(int(area[1] * height), height - 1)
    x1, y1 = max(round(area[2] * width), x0 + 1), max(round(area[3] * height), y0 + 1)
    return x0, y0, x1, y1


def cut(frame: Frame, part: Window) -> Frame:
    """A part of a frame as one."""
    x0, y0, x1, y1 = part
    image = np.ascontiguousarray(frame.image[y0:y1, x0:x1])
    return dataclasses.replace(frame, image=image)


def moved_back(detections: Detections, frame_size: tuple[int, int], part: Window) -> Detections:
    """Detections of a part in pixels of the whole frame; their grey picture is still the part's."""
    x0, y0, _, _ = part
    moved = detections.masks.moved(np.tile(np.array((x0, y0), np.int32), (len(detections), 1)))
    return dataclasses.replace(
        detections,
        boxes=detections.boxes + np.array((x0, y0, x0, y0), np.float32),
        masks=CompactMasks(moved.windows, moved.bits, frame_size),
    )


def _with_grey(detections: Detections, frame: Frame) -> Detections:
    """The same with the whole frame's grey picture, where it has one."""
    if detections.grey is None:
        return detections
    return dataclasses.replace(detections, grey=grey_picture(frame.image))
