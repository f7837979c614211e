"""Small runs on the disk, without a model: rectangles that move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sipvideo.masks import CompactMasks
from sipvideo.sinks import CocoRleLines
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.summary import Summary

CLASSES = ("person", "dog", "car")
SIZE = (48, 64)

Course = Mapping[int, tuple[int, int]]
"""Left and top of an object by frame."""


def straight(first: int, last: int, top: int = 0, left: int = 0) -> Course:
    """One pixel to the right with every frame."""
    return {frame: (left + frame, top) for frame in range(first, last + 1)}


def results(
    courses: Mapping[int, Course],
    frames: int,
    *,
    labels: Mapping[int, int] | None = None,
    scores: Mapping[int, float] | None = None,
    fps: float = 10.0,
    size: tuple[int, int] = SIZE,
) -> list[FrameResult]:
    """Rectangles of 10 x 8 pixels."""
    found = []
    for frame in range(frames):
        here = [(key, course[frame]) for key, course in courses.items() if frame in course]
        here.sort(key=lambda one: -(scores or {}).get(one[0], 0.5))
        ids = np.array([key for key, _ in here], np.int64)
        corners = np.array([place for _, place in here], np.float32).reshape(-1, 2)
        crops = [np.ones((8, 10), bool)] * len(here)
        origins = [(int(x), int(y)) for x, y in corners]
        detections = Detections(
            boxes=np.concatenate((corners, corners + np.array([10, 8])), 1).astype(np.float32),
            scores=np.array([(scores or {}).get(key, 0.5) for key, _ in here], np.float32),
            labels=np.array([(labels or {}).get(key, 0) for key, _ in here], np.int64),
            masks=CompactMasks.from_crops(crops, origins, size),
            embeddings=np.zeros((len(here), 0), np.float32),
        )
        image = np.broadcast_to(np.uint8(0), (*size, 3))
        found.append(FrameResult(Frame(image, frame, frame / fps), detections, ids, 0.0))
    return found


def write_run(
    folder: Path, frames: Sequence[FrameResult], source: str = "", *, covered: bool | None = None
) -> Path:
    """The folder of a run that found these."""
    folder.mkdir(parents=True, exist_ok=True)
    with CocoRleLines(folder / "results.jsonl", CLASSES) as sink:
        for result in frames:
            sink.write(result)
    summary = Summary(input=source, state="complete", frames=len(frames), covered=covered)
    summary.write(folder)
    return folder


def run(folder: Path, courses: Mapping[int, Course], frames: int = 30) -> Path:
    """A run with these objects."""
    return write_run(folder, results(courses, frames))
