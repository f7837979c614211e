"""Timing of the stages of a step. Speed is measured here and stated as medians; nothing asserts on it."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median
from typing import Any

import numpy as np

from sipvideo.config import Config
from sipvideo.errors import ConfigError
from sipvideo.model.plain import PlainSegmenter
from sipvideo.model.sipmask import SipMask
from sipvideo.pipeline import VideoSegmenter
from sipvideo.segmenter import FrameSegmenter
from sipvideo.sources import open_source
from sipvideo.structures import Detections, Frame


@dataclass
class Report:
    """Milliseconds of every stage and frame.

    Attributes:
        stages: stage -> one value per timed frame, in order of the flow.
        baseline: the plain form's whole step per frame; empty if not measured.
        objects: detections per frame.
    """

    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    baseline: list[float] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)

    def values(self) -> dict[str, Any]:
        """Medians in milliseconds, the ratio to the baseline, and objects per frame."""
        steps = [sum(times) for times in zip(*self.stages.values(), strict=True)]
        values: dict[str, Any] = {
            "stages_ms": {name: round(median(times), 2) for name, times in self.stages.items()},
            "step_ms": round(median(steps), 2),
            "step_p95_ms": round(float(np.percentile(steps, 95)), 2),
            "objects": float(np.mean(self.objects)),
        }
        if self.baseline:
            values["plain_ms"] = round(median(self.baseline), 2)
            ratios = [ours / plain for ours, plain in zip(steps, self.baseline, strict=True)]
            values["ratio"] = round(median(ratios), 3)
        return values

    def table(self) -> str:
        """The figures as text."""
        values = self.values()
        lines = [f"{name:<22}{ms:9.1f} ms" for name, ms in values["stages_ms"].items()]
        step = values["step_ms"]
        lines.append(
            f"{'whole step':<22}{step:9.1f} ms  {1000 / step:6.1f} fps  p95 {values['step_p95_ms']:.1f} ms"
        )
        if "ratio" in values:
            lines.append(
                f"{'plain form':<22}{values['plain_ms']:9.1f} ms  ours / plain {values['ratio']:.2f}"
            )
        lines.append(f"{'objects per frame':<22}{values['objects']:9.1f}")
        return "\n".join(lines)


def noise(size: tuple[int, int], count: int) -> list[Frame]:
    """Frames of (height, width) with coarse coloured noise that moves to the right."""
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 255, (12, 20, 3)).astype(np.uint8)
    image = np.kron(coarse, np.ones((height // 12 + 1, width // 20 + 1, 1), np.uint8))
    image = image[:height, :width]
    return [Frame(np.roll(image, 4 * i, axis=1), i, i / 25) for i in range(count)]


def frames_of(text: str, count: int) -> list[Frame]:
    """The first frames of a source, repeated where it has fewer."""
    with open_source(text) as source:
        frames = list(islice(source, count))
    return [frames[i % len(frames)] for i in range(count)]


def plain_form(model: SipMask, config: Config) -> PlainSegmenter:
    """The baseline: a copy of a network as loaded, run without any shortcut.

    Raises:
        ConfigError: there is no plain form of this configuration.
    """
    try:
        return PlainSegmenter(copy.deepcopy(model), config)
    except ValueError as error:
        raise ConfigError(f"config {config.name!r}: {error}") from error


def measure(
    segmenter: VideoSegmenter,
    frames: Sequence[Frame],
    warm_up: int,
    baseline: Callable[[Frame], Detections] | None = None,
) -> Report:
    """Times every stage of a step on each frame after the warm-up.

    Args:
        segmenter: as :func:`sipvideo.build.load` makes it.
        frames: at least one more than ``warm_up``.
        warm_up: frames that are processed first, untimed.
        baseline: is timed on the same frames in alternation.
    """
    segment = segmenter.segment
    assert isinstance(segment, FrameSegmenter)
    report = Report()
    segmenter.reset()
    for i, frame in enumerate(frames):
        timed = i >= warm_up
        times, detections = _stages(segmenter, segment, frame)
        if baseline is not None:
            start = time.perf_counter()
            baseline(frame)
            if timed:
                report.baseline.append((time.perf_counter() - start) * 1000)
        if timed:
            report.objects.append(len(detections))
            for name, milliseconds in times.items():
                report.stages[name].append(milliseconds)
    return report


def _stages(
    segmenter: VideoSegmenter, segment: FrameSegmenter, frame: Frame
) -> tuple[dict[str, float], Detections]:
    times: dict[str, float] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        times[name], last = (now - last) * 1000, now

    images, geometries = segment.inputs([frame])
    lap("preprocess")
    outputs = segment.runtime(images)
    lap("network")
    detections = segment.postprocess(outputs, geometries[0])
    lap("boxes and masks")
    segmenter.tracker.update(detections, frame.timestamp)
    lap("association")
    return times, detections
