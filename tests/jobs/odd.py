"""A segmenter that travels to workers and does there what pictures of certain widths ask for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sipvideo.config import TrackerConfig
from sipvideo.errors import SipVideoError
from sipvideo.jobs import Job, Monitor, SegmenterSpec
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.fuzz.engines import CLASSES, detect
from tests.media import picture, write_video

DEADLY, STUCK, SLOW, WRONG = 80, 96, 112, 144
"""Widths of pictures at which the process dies, hangs, takes its time, or raises what nobody foresaw."""


@dataclass(frozen=True)
class OddSpec(SegmenterSpec):
    """Sees up to three objects in everything.

    Attributes:
        problem: why it cannot be built.
        once: a file: only the first who makes it cannot build it; "": nobody can.
    """

    problem: str = ""
    once: str = ""

    def build(self) -> VideoSegmenter:
        if self.problem and self._unlucky():
            raise SipVideoError(self.problem)

        def found(frame: Frame) -> Detections:
            width = frame.size[1]
            if width == DEADLY:
                os.kill(os.getpid(), signal.SIGKILL)
            if width in (STUCK, SLOW):
                time.sleep(3600 if width == STUCK else 0.05)
            if width == WRONG:
                raise ZeroDivisionError("a defect")
            return detect(frame)

        return VideoSegmenter(found, build_tracker(TrackerConfig()), CLASSES)

    def _unlucky(self) -> bool:
        if not self.once:
            return True
        with suppress(FileExistsError):
            Path(self.once).touch(exist_ok=False)
            return True
        return False


@dataclass(frozen=True)
class MortalSpec(OddSpec):
    """The same, but the first process that comes to a frame (``at``) of whatever video dies there."""

    at: int = 60

    def build(self) -> VideoSegmenter:
        def found(frame: Frame) -> Detections:
            time.sleep(0.005)
            if frame.index == self.at and self._unlucky():
                os.kill(os.getpid(), signal.SIGKILL)
            return detect(frame)

        return VideoSegmenter(found, build_tracker(TrackerConfig()), CLASSES)


def clip(path: Path, width: int = 128, frames: int = 10) -> Path:
    """A video whose width says what becomes of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, [picture(k, (96, width)) for k in range(frames)])


def job(path: Path, out: Path) -> Job:
    """One that saves lines and a table."""
    return Job(str(path), out / path.stem, ("lines", "csv"), {"of": path.name})


@dataclass
class Noted(Monitor):
    """Keeps what it is told."""

    lines: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    most: int = 0
    stop: bool = False
    stop_at: str = ""

    @property
    def stopped(self) -> bool:
        return self.stop

    def begin(self, job: Job, worker: str, tries: int) -> None:
        self.begun.append(f"{Path(job.input).stem} {tries}")

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        self.most = max(self.most, frames)
        self.stop = self.stop or (Path(job.input).stem == self.stop_at and frames > 0)

    def complain(self, job: Job, error: SipVideoError) -> None:
        self.lines.append(str(error))

    def note(self, job: Job, line: str) -> None:
        self.lines.append(line)


def endless(path: Path, out: Path, taken: list[int]) -> Iterator[Job]:
    """The same clip again and again, each time into another folder; counts what is taken."""
    while True:
        taken.append(len(taken))
        yield Job(str(path), out / f"{len(taken)}", ("lines",))
