"""How the cost of everything but the network grows with objects and pixels.

The network is replaced by raw outputs that are made up, with as many objects as wanted; the real transform,
post-processing, tracker, drawing, encoder and result files do the rest.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.bench.stages import Laps, noise
from sipvideo.charts import Panel, drawn
from sipvideo.config import Config
from sipvideo.draw import draw
from sipvideo.engine import HostEngine
from sipvideo.pipeline import VideoSegmenter
from sipvideo.postprocess import DenseOutputs, ObjectHead
from sipvideo.postprocess.assembly import assemble, to_frame
from sipvideo.postprocess.outputs import Runtime
from sipvideo.sinks import AnnotatedVideo, TrackTable, YouTubeVISResults
from sipvideo.structures import FloatArray, Frame
from sipvideo.tracker import build_tracker

if TYPE_CHECKING:
    from PIL.Image import Image

SIZES = ((360, 640), (720, 1280), (2160, 3840))
COUNTS = (1, 10, 100)
WARM_UP = 2


class ScriptedNetwork(Runtime):
    """Stands in for the network: raw outputs with objects in rows and columns that sway from frame to frame.

    Objects have the same size however many there are.

    Args:
        config: the model whose outputs are imitated.
        objects: its per-object part.
        count: number of objects.
    """

    name = "scripted"

    def __init__(self, config: Config, objects: ObjectHead, count: int) -> None:
        self.config, self.objects, self.count = config, objects, count
        self._number = itertools.count()

    @property
    def about(self) -> str:
        """For people."""
        return "raw outputs made up"

    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Raw outputs for one model input float32 [1, 3, H, W], whose pixels are not looked at."""
        size = images.shape[2], images.shape[3]
        head, channels = self.config.head, self.config.neck.channels
        read = head.mask_channels or channels
        rng = np.random.default_rng(0)

        def maps(number: int, value: float, levels: int | None = None) -> list[FloatArray]:
            shapes = [[-(-side // s) for side in size] for s in self.objects.strides[:levels]]
            return [np.full((1, number, *shape), value, np.float32) for shape in shapes]

        logits = maps(len(self.config.class_names), -12.0)
        distances = maps(4, 1.0)
        self._place(logits[0][0], distances[0][0], size)
        basis = [side // self.objects.basis_stride for side in size]
        coarse = rng.standard_normal((1, head.bases, basis[0] // 8 + 1, basis[1] // 8 + 1))
        blocks = coarse.repeat(8, 2).repeat(8, 3)[:, :, : basis[0], : basis[1]]
        embedding = maps(channels, 0.0, 3) if head.embedding else []
        for feature in embedding:
            feature[:] = rng.standard_normal(feature.shape)
        return DenseOutputs(
            class_logits=logits,
            centerness_logits=maps(1, 6.0) if head.centerness else [],
            box_distances=distances,
            coefficient_features=maps(read, 0.0, 3 if head.mask_pyramid else None),
            basis_masks=np.ascontiguousarray(blocks, np.float32),
            embedding_features=embedding,
        )

    def _place(self, logits: FloatArray, distances: FloatArray, size: tuple[int, int]) -> None:
        """Sets one cell of the finest level per object: class and box."""
        side = max(10, math.ceil(math.sqrt(self.count)))
        height, width = size[0] / side, size[1] / side
        sway = next(self._number) % 8 - 4
        for k in range(self.count):
            row = int((k // side + 0.5) * height) // self.objects.strides[0]
            column = int((k % side + 0.5) * width) // self.objects.strides[0]
            logits[k % len(logits), row, column] = 3.0
            half = 0.45 * width, 0.45 * height
            distances[:, row, column] = half[0] - sway, half[1], half[0] + sway, half[1]


@dataclass
class Growth:
    """Milliseconds per frame of each stage but the network, and two single figures.

    Attributes:
        stages: (height, objects) -> stage -> median.
        assembly: number of masks on a 1080p frame, our time, and that of full maps of all parts of each object.
    """

    stages: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)
    assembly: dict[str, float] = field(default_factory=dict)

    def total(self, height: int, count: int) -> float:
        """All stages of one cell of the table."""
        return sum(self.stages[height, count].values())

    def values(self) -> dict[str, Any]:
        """Everything as plain values."""
        rows = [
            {"height": height, "objects": count, "total": round(self.total(height, count), 3)}
            | {name: round(ms, 3) for name, ms in stages.items()}
            for (height, count), stages in self.stages.items()
        ]
        return {"milliseconds": rows, "growth": self._factors(), "assembly_ms": self.assembly}

    def _factors(self) -> dict[str, dict[str, float]]:
        """What the whole costs more when something grows, and what linear growth would be."""
        heights = sorted({height for height, _ in self.stages})
        counts = sorted({count for _, count in self.stages})
        found = {}
        for height in heights:
            factor = self.total(height, counts[-1]) / self.total(height, counts[0])
            name = f"{height}p, {counts[0]} to {counts[-1]} objects"
            found[name] = {"factor": round(factor, 2), "linear": counts[-1] / counts[0]}
        for count in counts:
            factor = self.total(heights[-1], count) / self.total(heights[0], count)
            name = f"{count} objects, {heights[0]}p to {heights[-1]}p"
            linear = round((heights[-1] / heights[0]) ** 2, 2)
            found[name] = {"factor": round(factor, 2), "linear": linear}
        return found

    def table(self) -> str:
        """The figures as text."""
        names = list(next(iter(self.stages.values())))
        head = f"{'ms per frame':<20}" + "".join(f"{name:>17}" for name in (*names, "all"))
        lines = [head]
        for (height, count), stages in self.stages.items():
            row = (*stages.values(), self.total(height, count))
            lines.append(
                f"{f'{height}p, {count} objects':<20}" + "".join(f"{ms:17.2f}" for ms in row)
            )
        lines.append("")
        for name, found in self._factors().items():
            lines.append(f"{name}: {found['factor']:g} times; linear would be {found['linear']:g}")
        ours, plain = self.assembly["ours"], self.assembly["plain"]
        lines.append(
            f"{self.assembly['masks']:g} masks on a 1080p frame: {ours:.2f} ms; by full maps of every part: "
            f"{plain:.1f} ms, {plain / ours:.1f} times as long"
        )
        return "\n".join(lines)

    def picture(self) -> Image:
        """Cost over objects, one line per resolution, and over pixels, one line per number of objects."""
        heights = sorted({height for height, _ in self.stages})
        counts = sorted({count for _, count in self.stages})
        pixels = np.array([height * height * 16 / 9 / 1e3 for height in heights])
        by_count = {
            f"{h}p": (np.array(counts, float), np.array([self.total(h, n) for n in counts]))
            for h in heights
        }
        by_size = {
            f"{n} objects": (pixels, np.array([self.total(h, n) for h in heights])) for n in counts
        }
        return drawn(
            [
                Panel("ms per frame", by_count, across="objects", logarithmic=True),
                Panel("ms per frame", by_size, across="thousand pixels", logarithmic=True),
            ]
        )


def measure(
    segmenter: VideoSegmenter,
    frames: int,
    sizes: Sequence[tuple[int, int]] = SIZES,
    counts: Sequence[int] = COUNTS,
    masks: int = 100,
) -> Growth:
    """Runs every combination.

    Args:
        segmenter: the model whose configuration and per-object part are used; its network is not run.
        frames: timed per combination.
        sizes: (height, width) of the frames.
        counts: numbers of objects.
        masks: number of masks whose assembly is compared with full maps.
    """
    engine = segmenter.engine
    assert isinstance(engine, HostEngine)
    config = engine.config.with_overrides([f"postprocess.max_detections={max(counts)}"])
    growth = Growth()
    for size in sizes:
        pictures = noise(size, 4)
        for count in counts:
            network = ScriptedNetwork(config, engine.objects, count)
            scripted = HostEngine(network, engine.objects, config)
            one = VideoSegmenter(scripted, build_tracker(config.tracker), config.class_names)
            growth.stages[size[0], count] = _stages(one, pictures, frames)
    growth.assembly = _assembly(engine, masks)
    return growth


def _stages(segmenter: VideoSegmenter, pictures: Sequence[Frame], frames: int) -> dict[str, float]:
    """Median milliseconds of each stage; the pictures are shown in turn."""
    engine, names = segmenter.engine, segmenter.class_names
    assert isinstance(engine, HostEngine)
    times: dict[str, list[float]] = defaultdict(list)
    last: list[Any] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as sinks:
        video = sinks.enter_context(AnnotatedVideo(Path(folder) / "v.mp4", lambda _: last[0]))
        tracks = sinks.enter_context(YouTubeVISResults(Path(folder) / "r.json"))
        table = sinks.enter_context(TrackTable(Path(folder) / "t.csv", names))
        for number in range(frames + WARM_UP):
            image = pictures[number % len(pictures)].image
            frame = Frame(image, number, number / 25)
            watch = Laps()
            images, geometries, small = engine.inputs([frame])
            watch.lap("preprocess")
            outputs = engine.runtime(images)
            watch.skip()
            detections = engine.objects_in(outputs, geometries[0], small[0])
            watch.lap("boxes and masks")
            result = segmenter.associate(frame, detections, 0.0)
            watch.lap("association")
            last[:] = [draw(result.tracked(), names)]
            watch.lap("drawing")
            video.write(result)
            watch.lap("encoding")
            tracks.write(result)
            table.write(result)
            watch.lap("json and csv")
            if number >= WARM_UP:
                for name, milliseconds in watch.laps.items():
                    times[name].append(milliseconds)
    return {name: median(values) for name, values in times.items()}


def _assembly(engine: HostEngine, count: int) -> dict[str, float]:
    """Milliseconds for the masks of objects on a 1080p frame from basis masks and coefficients, in alternation."""
    import torch

    from sipvideo.model.plain import masks_of, pasted

    objects, rules = engine.objects, engine.config.postprocess
    geometry = engine.transform.geometry((1080, 1920))
    height, width = (side // objects.basis_stride for side in geometry.padded_size)
    parts, bases = objects.config.sub_regions, objects.config.bases
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((bases, height, width)).astype(np.float32)
    vectors = rng.standard_normal((count, parts * parts * bases)).astype(np.float32)
    corners = rng.uniform(0, 0.8, (count, 2))
    shares = np.concatenate((corners, corners + rng.uniform(0.05, 0.2, (count, 2))), 1)
    boxes = (shares * [width, height, width, height]).astype(np.float32)
    upsampled = geometry.upsampled_size((height, width), objects.basis_stride, rules.mask_scale)

    def ours() -> object:
        masks = assemble(basis, vectors, boxes, parts)
        return to_frame(masks, upsampled, (1080, 1920), rules.mask_threshold)

    def plain() -> object:
        maps, numbers, where = (torch.from_numpy(array) for array in (basis, vectors, boxes))
        with torch.inference_mode():
            low = masks_of(maps, numbers, where, parts)
            return pasted(low, upsampled, (1080, 1920), rules.mask_threshold)

    times = list(_alternating((ours, plain), rounds=5))
    mine, theirs = (median(column) for column in zip(*times, strict=True))
    return {"masks": count, "ours": round(mine, 3), "plain": round(theirs, 3)}


def _alternating(
    works: tuple[Callable[[], object], Callable[[], object]], rounds: int
) -> Iterator[tuple[float, float]]:
    """Milliseconds of both, round by round, after one that does not count."""
    for number in range(rounds + 1):
        taken = []
        for work in works:
            started = time.perf_counter()
            work()
            taken.append((time.perf_counter() - started) * 1000)
        if number:
            yield taken[0], taken[1]
