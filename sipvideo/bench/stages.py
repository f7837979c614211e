"""Timing: the stages of a step, whole runs from file to file, memory and cores. Nothing asserts on speed."""

from __future__ import annotations

import contextlib
import copy
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from sipvideo.config import Config
from sipvideo.engine import HostEngine
from sipvideo.errors import ConfigError, SourceError
from sipvideo.machine import resident_memory
from sipvideo.pipeline import VideoSegmenter
from sipvideo.results import Results
from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import open_source
from sipvideo.stages import Behind
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.tracker import build_tracker

DEFAULT_KINDS = ("video", "json", "csv")
PERCENTILES = (50, 95, 99)
WITHOUT_FILES = "frames in memory to identities and masks; no reading, drawing or writing"


@dataclass
class Times:
    """Milliseconds of every stage and frame, and how many objects a frame has.

    Attributes:
        stages: stage -> one value per timed frame, in order of the flow.
        objects: detections per frame.
    """

    stages: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    objects: list[int] = field(default_factory=list)

    @property
    def steps(self) -> list[float]:
        """The whole step per frame."""
        return [sum(times) for times in zip(*self.stages.values(), strict=True)]

    def add(self, laps: dict[str, float], objects: int) -> None:
        """One more frame."""
        for name, milliseconds in laps.items():
            self.stages[name].append(milliseconds)
        self.objects.append(objects)

    def values(self) -> dict[str, Any]:
        """Percentiles in milliseconds, and the mean number of objects per frame."""
        return {
            "stages_ms": {name: percentiles(times) for name, times in self.stages.items()},
            "step_ms": percentiles(self.steps),
            "objects": round(float(np.mean(self.objects)), 2),
        }

    def table(self) -> str:
        """The percentiles as text."""
        rows = [*self.stages.items(), ("whole step", self.steps)]
        lines = [f"{'milliseconds':<18}" + "".join(f"{f'p{p}':>9}" for p in PERCENTILES)]
        for name, times in rows:
            lines.append(
                f"{name:<18}" + "".join(f"{ms:9.2f}" for ms in percentiles(times).values())
            )
        return "\n".join(lines)


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """``p50``, ``p95`` and ``p99`` of some times, to the microsecond."""
    found = np.percentile(times, PERCENTILES).tolist()
    return {f"p{p}": round(ms, 3) for p, ms in zip(PERCENTILES, found, strict=True)}


def ratio(ours: Times, theirs: Times) -> float:
    """Median over the frames of our step's time divided by theirs on the same frame."""
    pairs = zip(ours.steps, theirs.steps, strict=True)
    return round(median(mine / other for mine, other in pairs), 3)


def noise(size: tuple[int, int], count: int) -> list[Frame]:
    """Frames of (height, width) with coarse coloured noise that moves to the right."""
    height, width = size
    coarse = np.random.default_rng(0).integers(0, 255, (12, 20, 3)).astype(np.uint8)
    image = np.kron(coarse, np.ones((height // 12 + 1, width // 20 + 1, 1), np.uint8))
    image = image[:height, :width]
    return [Frame(np.roll(image, 4 * i, axis=1), i, i / 25) for i in range(count)]


def frames_of(text: str, count: int) -> list[Frame]:
    """The first frames of a source, repeated where it has fewer; their numbers and times go on.

    Raises:
        SourceError: it cannot be read or has none.
    """
    with open_source(text) as source:
        frames = list(islice(source, count))
    if not frames:
        raise SourceError(f"{text}: has no frames")
    step = (frames[-1].timestamp - frames[0].timestamp) / max(1, len(frames) - 1) or 0.04
    again = (frames[i % len(frames)] for i in range(count))
    return [Frame(frame.image, i, i * step) for i, frame in enumerate(again)]


def plain_form(model: Any, config: Config) -> VideoSegmenter:
    """The baseline: a copy of a network as loaded, run without any shortcut, with our tracker.

    Raises:
        ConfigError: there is no plain form of this configuration.
    """
    from sipvideo.model.plain import PlainSegmenter

    try:
        plain = PlainSegmenter(copy.deepcopy(model), config)
    except ValueError as error:
        raise ConfigError(f"config {config.name!r}: {error}") from error
    return VideoSegmenter(plain, build_tracker(config.tracker), config.class_names)


def measure(
    segmenters: Sequence[VideoSegmenter], frames: Sequence[Frame], warm_up: int
) -> list[Times]:
    """Times every stage of a step on each frame after the warm-up, of several segmenters in alternation.

    Args:
        segmenters: the ones to compare.
        frames: at least one more than ``warm_up``.
        warm_up: frames that are processed first, untimed.
    """
    results = [Times() for _ in segmenters]
    for segmenter in segmenters:
        segmenter.reset()
    for number, frame in enumerate(frames):
        for segmenter, times in zip(segmenters, results, strict=True):
            laps, detections = _step(segmenter, frame)
            if number >= warm_up:
                times.add(laps, len(detections))
    return results


def _step(segmenter: VideoSegmenter, frame: Frame) -> tuple[dict[str, float], Detections]:
    """One step with the milliseconds of its stages."""
    engine = segmenter.engine
    watch = Laps()
    if isinstance(engine, HostEngine):
        images, geometries, small = engine.inputs([frame])
        watch.lap("preprocess")
        outputs = _network(engine, images, watch)
        detections = engine.objects_in(outputs, geometries[0], small[0])
        watch.lap("boxes and masks")
    else:
        detections = segmenter.segment(frame)
        watch.lap("frame to objects")
    segmenter.associate(frame, detections, 0.0)
    watch.lap("association")
    return watch.laps, detections


def _network(engine: HostEngine, images: Any, watch: Laps) -> Any:
    """The raw outputs; PyTorch on the CPU, not compiled, shows the parts of its network."""
    runtime: Any = engine.runtime
    if runtime.name != "torch" or runtime.device != "cpu":
        outputs = runtime(images)
        watch.lap("network")
        return outputs
    import torch

    from sipvideo.runtime.pytorch import as_arrays

    with torch.inference_mode():
        tensor = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
        trunk = runtime.model.backbone(tensor)
        watch.lap("backbone")
        pyramid = runtime.model.neck(trunk[-3:])
        watch.lap("pyramid")
        outputs = runtime.model.head(pyramid, trunk)
        watch.lap("head")
    return as_arrays(outputs)


class Laps:
    """A stop watch: milliseconds since the lap before."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Ends a lap."""
        now = time.perf_counter()
        self.laps[name], self._last = (now - self._last) * 1000, now

    def skip(self) -> None:
        """Leaves out what was done since the lap before."""
        self._last = time.perf_counter()


class Meter:
    """Frames per second, busy cores and memory of a run, from when it is made."""

    def __init__(self) -> None:
        self.frames = 0
        self._wall, self._processor = time.perf_counter(), time.process_time()
        self._resident: list[float] = []

    def count(self, result: FrameResult) -> None:
        """One more frame is done."""
        self.frames += 1
        if self.frames % 10 == 1 and (now := resident_memory()):
            self._resident.append(now)

    def values(self, includes: str) -> dict[str, Any]:
        """The figures; memory in megabytes, of the whole process."""
        wall = time.perf_counter() - self._wall
        values: dict[str, Any] = {
            "fps": round(self.frames / wall, 2),
            "frames": self.frames,
            "seconds": round(wall, 3),
            "cores_busy": round((time.process_time() - self._processor) / wall, 2),
            "includes": includes,
        }
        if len(self._resident) > 3:
            quarter = len(self._resident) // 4
            values["memory_mb"] = {
                "after_a_quarter": round(self._resident[quarter]),
                "end": round(self._resident[-1]),
                "highest": round(max(self._resident)),
            }
        return values


def run_in_memory(segmenter: VideoSegmenter, frames: Iterable[Frame], ahead: int) -> dict[str, Any]:
    """Frames per second without files, stages overlapping as in ``sipvideo video``."""
    meter = Meter()
    for result in segmenter.run(frames, ahead):
        meter.count(result)
    return meter.values(WITHOUT_FILES)


def run_files(
    segmenter: VideoSegmenter,
    path: str,
    kinds: Sequence[str] = DEFAULT_KINDS,
    how: tuple[int, int] = (3, 2),
) -> dict[str, Any]:
    """Frames per second from file to files, as ``sipvideo video`` works; the model is loaded before.

    Args:
        segmenter: ready, and warmed up by :func:`measure`.
        path: the video.
        kinds: results to write, keys of :data:`sipvideo.results.FILES`.
        how: frames read ahead and written behind.
    """
    names = segmenter.class_names
    with tempfile.TemporaryDirectory() as folder:
        meter = Meter()
        with (
            open_source(path) as source,
            Results(source, names, Path(folder) / "results", kinds) as results,
            contextlib.closing(segmenter.run(source, how[0])) as found,
        ):

            def write(result: FrameResult) -> None:
                results.write(result)
                meter.count(result)

            with Behind(write, how[1]) as written:
                for result in found:
                    written.put(result)
        return meter.values(f"reading the file, segmenting, tracking; written: {', '.join(kinds)}")


def clip_of(frames: Sequence[Frame], path: Path) -> None:
    """Frames as a video file, for runs from file to file without a clip."""

    def picture(result: FrameResult) -> Any:
        return result.frame.image

    with AnnotatedVideo(path, picture) as video:
        for frame in frames:
            nothing = Detections.empty(frame.size)
            video.write(FrameResult(frame, nothing, np.zeros(0, np.int64), 0.0))
