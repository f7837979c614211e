"""Reports of annotated videos, found once and kept on disk, so that trackers are compared on the same ones.

A *report* is what a detector says of one frame, without identities: those of a network, or true boxes with noise.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from sipvideo.evaluation.files import Json
from sipvideo.evaluation.tracking import TrackingCounts, TrackingScores, evaluate_tracking
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.masks import CompactMasks, from_rles
from sipvideo.structures import Detections, Frame, FrameResult, IntArray
from sipvideo.synth.dataset import picture
from sipvideo.transforms import grey_picture

NOISE = 0.03
"""Standard deviation of each side of a reported true box, in sizes of the box."""
MISSES = 0.1
"""Share of the true boxes that are not reported."""
SAME_OBJECT = 0.5
"""Least mask overlap of a report and the object that it is of."""


class Association(Protocol):
    """What is asked of a tracker."""

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities int64 [N] of one frame's detections; -1 for untracked. ``timestamp`` in seconds."""


@dataclass(frozen=True, eq=False)
class Replay:
    """The reports of one annotated video.

    Attributes:
        name: of the video.
        frame_size: (height, width).
        seconds: time of each of T frames.
        reports: T detections without identities.
        pictures: files of the frames.
        truth: the video's annotations in YouTube-VIS form.
        cuts: numbers of the frames that are the first after a hard cut.
        key: a digest of all this and of what made the reports.
    """

    name: str
    frame_size: tuple[int, int]
    seconds: tuple[float, ...]
    reports: tuple[Detections, ...]
    pictures: tuple[Path, ...]
    truth: tuple[Json, ...]
    cuts: tuple[int, ...] = ()
    key: str = ""

    def __len__(self) -> int:
        return len(self.reports)

    def every(self, step: int) -> Replay:
        """The same with only every ``step``-th frame."""
        tracks = [
            {**t, "segmentations": t["segmentations"][::step], "length": len(self.seconds[::step])}
            for t in self.truth
        ]
        seen = tuple(t for t in tracks if any(t["segmentations"]))
        parts = self.seconds[::step], self.reports[::step], self.pictures[::step]
        cuts = tuple(-(-cut // step) for cut in self.cuts)
        return Replay(self.name, self.frame_size, *parts, seen, cuts, f"{self.key}/{step}")

    @cached_property
    def half(self) -> Replay:
        """The same with only every second frame."""
        return self.every(2)

    def identities(self, tracker: Association) -> list[IntArray]:
        """What a fresh tracker says of each frame: T arrays int64 [N]."""
        pairs = zip(self.reports, self.seconds, strict=True)
        return [tracker.update(report, second) for report, second in pairs]

    def results(
        self, identities: Sequence[IntArray], *, with_pictures: bool = False
    ) -> list[FrameResult]:
        """The reports with identities as a run gives them; frames are black unless their pictures are asked for."""
        black = np.broadcast_to(np.uint8(0), (*self.frame_size, 3))
        found = []
        for t, (report, ids) in enumerate(zip(self.reports, identities, strict=True)):
            image = picture(self.pictures[t]) if with_pictures else black
            found.append(FrameResult(Frame(image, t, self.seconds[t]), report, ids, 0.0))
        return found

    @cached_property
    def objects(self) -> list[tuple[CompactMasks, IntArray]]:
        """The true masks of each frame, and which of ``truth`` they are, int64 [K]."""
        shown = []
        for t in range(len(self)):
            rows = [k for k, a in enumerate(self.truth) if a["segmentations"][t] is not None]
            rles = [self.truth[k]["segmentations"][t] for k in rows]
            shown.append((from_rles(rles, self.frame_size), np.array(rows, np.int64)))
        return shown

    @cached_property
    def _own(self) -> list[IntArray]:
        pairs = zip(self.reports, self.objects, strict=True)
        return [_owners(report, *objects) for report, objects in pairs]

    @cached_property
    def _rles(self) -> list[list[Json]]:
        return [[report.masks.rle(k) for k in range(len(report))] for report in self.reports]

    def owners(self, reports: Sequence[Detections] | None = None) -> list[IntArray]:
        """Which of ``truth`` each report is of, int64 [N] for each frame: -1 for none, one report per object.

        Args:
            reports: T frames of other reports than the own.
        """
        if reports is None:
            return self._own
        frames = zip(reports, self.reports, self._own, self.objects, strict=True)
        return [
            own if report.masks is mine.masks else _owners(report, *objects)
            for report, mine, own, objects in frames
        ]

    def tracks(self, results: Sequence[FrameResult]) -> list[list[Json | None]]:
        """The masks of each identity, one RLE or None per frame, in the order of the identities."""
        found: dict[int, list[Json | None]] = {}
        for t, result in enumerate(results):
            mine = result.detections.masks is self.reports[t].masks
            for k, track_id in enumerate(result.track_ids.tolist()):
                if track_id >= 0:
                    row = found.setdefault(track_id, [None] * len(results))
                    row[t] = self._rles[t][k] if mine else result.detections.masks.rle(k)
        return [found[key] for key in sorted(found)]


def _owners(report: Detections, masks: CompactMasks, rows: IntArray) -> IntArray:
    """Which of the objects ``rows`` with these masks each of N detections is of, -1 for none, int64 [N]."""
    overlap = report.masks.iou(masks)
    mine, theirs = linear_sum_assignment(overlap * (overlap >= SAME_OBJECT), maximize=True)
    real = overlap[mine, theirs] >= SAME_OBJECT
    owner = np.full(len(report), -1, np.int64)
    owner[mine[real]] = rows[theirs[real]]
    return owner


def replays(
    dataset: Path,
    cache: Path,
    reporter: Reporter,
    shown: Callable[[str], None] = lambda name: None,
) -> Iterator[Replay]:
    """The videos of a dataset with their reports, from the cache where they are.

    Args:
        dataset: folder of ``sipvideo data synth``.
        cache: folder for the reports; a report is found by the content of what it was made of.
        reporter: makes the reports.
        shown: called with a video's name before its reports are made.

    Raises:
        DatasetError: the dataset or a picture is damaged.
    """
    content = json.loads((dataset / "instances.json").read_text(encoding="utf-8"))
    by_video: dict[Any, list[Json]] = {video["id"]: [] for video in content["videos"]}
    for annotation in content["annotations"]:
        by_video[annotation["video_id"]].append(annotation)
    cache.mkdir(parents=True, exist_ok=True)
    for video in content["videos"]:
        pictures = tuple(dataset / "images" / name for name in video["file_names"])
        truth = tuple(by_video[video["id"]])
        size = video["height"], video["width"]
        name = Path(video["file_names"][0]).parts[0]
        cuts = tuple(video.get("cuts", ()))
        empty = Replay(name, size, tuple(video["seconds"]), (), pictures, truth, cuts)
        yield _reported(empty, cache, reporter, shown)


class Reporter(Protocol):
    """Makes the reports of a video.

    Attributes:
        key: what its reports depend on besides the video.
    """

    key: str

    def __call__(self, replay: Replay, frames: Iterable[Frame]) -> Iterator[Detections]:
        """One report per frame."""


class NetworkReporter:
    """A detector's reports.

    Args:
        detect: the detector, as ``engine.detect``.
        key: what it depends on: weights, configuration, runtime.
    """

    def __init__(self, detect: Callable[[Sequence[Frame]], list[Detections]], key: str) -> None:
        self.detect, self.key = detect, key

    def __call__(self, replay: Replay, frames: Iterable[Frame]) -> Iterator[Detections]:
        """What the detector finds."""
        for frame in frames:
            yield self.detect([frame])[0]


class TruthReporter:
    """True boxes with noise and misses, true masks, no embeddings; scores say nothing.

    Args:
        noise: see ``NOISE``.
        misses: see ``MISSES``.
    """

    def __init__(self, noise: float = NOISE, misses: float = MISSES) -> None:
        self.noise, self.misses = noise, misses
        self.key = f"truth {noise} {misses}"

    def __call__(self, replay: Replay, frames: Iterable[Frame]) -> Iterator[Detections]:
        """The same for a video every time."""
        digest = hashlib.sha256(replay.name.encode()).digest()
        rng = np.random.default_rng(list(digest[:8]))
        for t, frame in enumerate(frames):
            # All objects take part in the draw, so that one that is unseen does not change the others.
            kept = rng.uniform(size=len(replay.truth)) >= self.misses
            shifts = rng.normal(0, self.noise, (len(replay.truth), 4)).astype(np.float32)
            scores = rng.uniform(0.5, 1, len(replay.truth)).astype(np.float32)
            rows = [k for k, a in enumerate(replay.truth) if a["segmentations"][t] and kept[k]]
            rows.sort(key=lambda k: -scores[k])
            masks = from_rles([replay.truth[k]["segmentations"][t] for k in rows], frame.size)
            boxes = masks.windows.astype(np.float32)
            sides = boxes[:, 2:] - boxes[:, :2]
            boxes += shifts[rows] * np.concatenate((sides, sides), 1)
            labels = [int(replay.truth[k]["category_id"]) - 1 for k in rows]
            yield Detections(
                boxes=boxes,
                scores=scores[rows],
                labels=np.array(labels, np.int64),
                masks=masks,
                embeddings=np.zeros((len(rows), 0), np.float32),
                grey=grey_picture(frame.image),
            )


def perfect(replay: Replay) -> list[IntArray]:
    """The best that identities can be on these reports: each has that of its object, those of nothing have none."""
    return replay.owners()


def tracking_counts(replay: Replay, results: Sequence[FrameResult]) -> TrackingCounts:
    """Tracking figures' counts of one video, all classes as one.

    Args:
        replay: the truth.
        results: T frames with identities; objects of identity -1 do not count.
    """
    truth = [track["segmentations"] for track in replay.truth]
    return compared(truth, replay.tracks(results), (*replay.frame_size, len(replay)))


def compared(
    truth: Sequence[list[Json | None]],
    found: Sequence[list[Json | None]],
    shape: tuple[int, int, int],
) -> TrackingCounts:
    """Tracks against tracks: what the figures are computed from.

    Args:
        truth: masks of each track, frame by frame.
        found: the same.
        shape: (height, width, frames) of the video.
    """
    height, width, frames = shape
    names = [f"{t:05d}.jpg" for t in range(frames)]
    video = {"id": 1, "height": height, "width": width, "length": frames, "file_names": names}
    shared = {"video_id": 1, "category_id": 1, "height": height, "width": width}
    content = {
        "videos": [video],
        "categories": [{"id": 1, "name": "object"}],
        "annotations": [
            {**shared, "id": n, "iscrowd": 0, "segmentations": masks, "areas": [], "bboxes": []}
            for n, masks in enumerate(truth, 1)
        ],
    }
    real = YTVOS(content)
    results = [{**shared, "score": 1.0, "segmentations": masks} for masks in found]
    report = evaluate_tracking(real, real.loadRes(results))
    return report.counts.get((1, 1), TrackingCounts.none())


def tracking_scores(counts: Iterable[TrackingCounts]) -> TrackingScores:
    """Figures over videos."""
    return sum(counts, TrackingCounts.none()).scores()


def _reported(
    replay: Replay, cache: Path, reporter: Reporter, shown: Callable[[str], None]
) -> Replay:
    key = _key(replay, reporter)
    path = cache / f"{key}.npz"
    if not path.is_file():
        shown(replay.name)
        frames = (
            Frame(picture(file), t, second)
            for t, (file, second) in enumerate(zip(replay.pictures, replay.seconds, strict=True))
        )
        save_reports(path, list(reporter(replay, frames)))
    return replace(replay, reports=load_reports(path, replay.frame_size), key=key)


def _key(replay: Replay, reporter: Reporter) -> str:
    """Name of what is kept: a digest of the pictures, the truth and what makes the reports."""
    digest = hashlib.sha256(reporter.key.encode())
    digest.update(json.dumps([replay.name, replay.seconds, replay.truth]).encode())
    for path in replay.pictures:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def save_reports(path: Path, reports: Sequence[Detections]) -> None:
    """Writes the reports of a video; the file is whole or not there."""
    bits = [crop for report in reports for crop in report.masks.bits]
    greys = [report.grey for report in reports if report.grey is not None]
    quality = [report.mask_scores for report in reports if report.mask_scores is not None]
    partial = path.with_name(f".{path.stem}.partial.npz")
    optional: dict[str, Any] = {}
    if len(quality) == len(reports):
        optional["mask_scores"] = np.concatenate(quality)
    if len(greys) == len(reports):
        optional["grey"] = np.stack(greys)
    np.savez(
        partial,
        counts=np.array([len(report) for report in reports], np.int64),
        boxes=np.concatenate([report.boxes for report in reports]),
        scores=np.concatenate([report.scores for report in reports]),
        labels=np.concatenate([report.labels for report in reports]),
        embeddings=np.concatenate([report.embeddings for report in reports]),
        windows=np.concatenate([report.masks.windows for report in reports]),
        shapes=np.array([crop.shape for crop in bits], np.int64).reshape(-1, 2),
        bits=np.concatenate([crop.ravel() for crop in bits] or [np.zeros(0, np.uint8)]),
        **optional,
    )
    partial.replace(path)


def load_reports(path: Path, frame_size: tuple[int, int]) -> tuple[Detections, ...]:
    """The reports of a video of (height, width), as :func:`save_reports` wrote them."""
    with np.load(path, allow_pickle=False) as content:
        saved = dict(content)
    ends = np.cumsum(saved["shapes"].prod(1))[:-1]
    shapes = saved["shapes"].tolist()
    crops = np.split(saved["bits"], ends) if shapes else []
    bits = [crop.reshape(shape) for crop, shape in zip(crops, shapes, strict=True)]
    reports, first = [], 0
    for t, count in enumerate(saved["counts"].tolist()):
        part = slice(first, first + count)
        first += count
        reports.append(
            Detections(
                boxes=saved["boxes"][part],
                scores=saved["scores"][part],
                labels=saved["labels"][part],
                masks=CompactMasks(saved["windows"][part], tuple(bits[part]), frame_size),
                embeddings=saved["embeddings"][part],
                mask_scores=saved["mask_scores"][part] if "mask_scores" in saved else None,
                grey=saved["grey"][t] if "grey" in saved else None,
            )
        )
    return tuple(reports)
