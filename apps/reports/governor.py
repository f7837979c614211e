"""``python apps/reports/governor.py``: what the choices of the latency governor cost in accuracy and time."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.apps.reports.models import DAVIS_FPS, FOUND, track_overlaps

if TYPE_CHECKING:
    from sipvideo.engine import Size
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Frame, FrameResult


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/governor.py",
        description="Runs a model over sequences with one annotated object each (DAVIS, YouTube-VIS format) at every "
        "input size and detection interval that the governor may choose.",
    )
    parser.add_argument("dataset", metavar="FILE", type=Path, help="annotation file (json)")
    flags.add_model_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures and prints a table in Markdown."""
    segmenter = command.segmenter(args)
    from sipvideo.live.governor import INTERVALS, ladder

    print("| input | detected | mask IoU | identity switches | ms detected | ms carried |")
    print("|---|---|---|---|---|---|")
    largest = segmenter.engine.input_size
    assert largest is not None
    for size in ladder(largest):
        for interval in INTERVALS:
            print(_row(args.dataset, segmenter, size, interval), flush=True)
    return 0


class _Timed:
    """A segmenter with one choice that keeps the times of its frames."""

    def __init__(self, segmenter: VideoSegmenter, size: Size, interval: int) -> None:
        from sipvideo.live.governor import GovernedSegmenter, Governor

        self._segmenter = GovernedSegmenter(segmenter.another(), Governor.fixed(size, interval))
        self.detected: list[float] = []
        self.carried: list[float] = []

    def run(self, frames: Iterator[Frame]) -> Iterator[FrameResult]:
        for result in self._segmenter.run(frames):
            (self.carried if result.carried else self.detected).append(result.latency_ms)
            yield result


def _row(path: Path, segmenter: VideoSegmenter, size: Size, interval: int) -> str:
    from sipvideo.data import YouTubeVis
    from sipvideo.evaluation import YTVOS

    truth, data = YTVOS(path), YouTubeVis(path)
    timed = _Timed(segmenter, size, interval)
    overlaps, switches = [], []
    for video in data.videos:
        (annotation,) = truth.loadAnns(truth.getAnnIds(vidIds=[video.id]))
        wanted = (truth.annToRLE(annotation, index) for index in range(video.length))
        seconds = tuple(index / DAVIS_FPS for index in range(video.length))
        frames = data.frames(dataclasses.replace(video, seconds=seconds))
        table, ids = track_overlaps(timed.run(frames), wanted)
        overlaps.append(float(table.mean(0).max()) if ids else 0.0)
        best = [ids[row.argmax()] for row in table if row.size and row.max() >= FOUND]
        switches.append(sum(a != b for a, b in pairwise(best)))
    times = f"{median(timed.detected):.1f} | {median(timed.carried or [0.0]):.1f}"
    share = "every frame" if interval == 1 else f"1 of {interval}"
    return f"| {max(size)} | {share} | {mean(overlaps):.3f} | {mean(switches):.2f} | {times} |"


if __name__ == "__main__":
    sys.exit(main())
