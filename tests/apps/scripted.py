"""Clips of synthetic scenes on disk, and a segmenter that sees in them what is really there."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sipvideo.apps import command, video
from sipvideo.config import TrackerConfig
from sipvideo.jobs import SegmenterSpec
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.media import write_video
from tests.scenes import Shot, clock, crossing, film

CLASSES = ("walker", "runner")


def shots(seconds: float = 1.0) -> list[Shot]:
    """Two actors of different classes who cross, at 25 frames per second."""
    return list(film(crossing(4.0), clock(seconds, fps=25)))


def clip(path: Path, seconds: float = 1.0) -> Path:
    """The scene as a video file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, [shot.frame.image for shot in shots(seconds)])


def segmenter(seconds: float = 1.0, delay: float = 0.0) -> VideoSegmenter:
    """Detects by frame number, after ``delay`` seconds each; the tracker is the real one."""
    script = [shot.detections for shot in shots(seconds)]

    def detect(frame: Frame) -> Detections:
        time.sleep(delay)
        return script[frame.index]

    return VideoSegmenter(detect, build_tracker(TrackerConfig()), CLASSES)


@dataclass(frozen=True)
class ScriptedSpec(SegmenterSpec):
    """That segmenter in place of the network."""

    seconds: float = 1.0
    delay: float = 0.0

    def build(self) -> VideoSegmenter:
        return segmenter(self.seconds, self.delay)


@dataclass(frozen=True)
class ReadySpec(SegmenterSpec):
    """A segmenter that is there already; does not travel."""

    ready: VideoSegmenter | None = None

    def build(self) -> VideoSegmenter:
        assert self.ready is not None
        return self.ready


def run(*arguments: str | Path, seconds: float = 1.0, delay: float = 0.0) -> int:
    """``sipvideo video`` with that segmenter in place of the network."""
    args = video.parse([str(argument) for argument in arguments])
    spec = ScriptedSpec(**vars(command.spec(args)), seconds=seconds, delay=delay)
    return command.guarded(lambda: video.run(args, spec))


if __name__ == "__main__":
    # For tests that need a process of its own: python -m tests.apps.scripted SECONDS DELAY ARGUMENT...
    sys.exit(run(*sys.argv[3:], seconds=float(sys.argv[1]), delay=float(sys.argv[2])))
