"""A run made anew, with another model, into a folder beside it; its edits may be taken over."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sipvideo.errors import SipVideoError, SourceError
from sipvideo.jobs import Job, Watch, run_job
from sipvideo.pipeline import VideoSegmenter
from sipvideo.results import FILES
from sipvideo.sources import Excerpt, Source
from sipvideo.structures import FrameResult
from sipvideo.studio.document import Document
from sipvideo.studio.index import CACHE
from sipvideo.studio.log import EDITS
from sipvideo.studio.tasks import CancelledError, Task
from sipvideo.studio.video import POINTED, RunVideo
from sipvideo.summary import Summary

SUFFIX = "-anew"
"""Added to the name of a run's folder, from the second time on with a number."""
KINDS = ("lines", "appearance")
ROUNDED = 0.0005
"""Seconds that a saved time may be late."""


def runs_beside(folder: Path) -> Iterator[Path]:
    """Runs that were made anew of the one in a folder, the first of them first."""
    resolved = folder.resolve()
    for number in range(1, _free(resolved)):
        found = _numbered(resolved, number)
        if (found / FILES["lines"]).is_file():
            yield found


def check(document: Document, video: RunVideo) -> None:
    """Raises SourceError where a run cannot be made anew."""
    summary = Summary.read(document.folder)
    if summary is not None and summary.covered:
        raise SourceError(f"{document.folder}: was made with privacy, it is not made anew")
    if video.kind != "source":
        raise SourceError(f"{document.folder}: what it was made from is not there")


def make_anew(
    document: Document, video: RunVideo, segmenter: VideoSegmenter, task: Task, *, edits: bool
) -> Path:
    """Segments the frames of a run's source once more; the run itself stays as it is.

    Until it is complete it is in a hidden folder, and what fails or is cancelled leaves nothing.

    Args:
        document: the run.
        video: its pictures.
        segmenter: with the model that is to be used.
        task: is told how far it is, and may end it.
        edits: the log of edits goes along.

    Returns:
        the folder of the new run.

    Raises:
        CancelledError: the task shall end.
        SipVideoError: it cannot be made: why.
    """
    check(document, video)
    folder = document.folder.resolve()
    hidden = folder.with_name(f".{folder.name}{SUFFIX}-{task.id}")
    shutil.rmtree(hidden, ignore_errors=True)  # of a server that was killed
    before = Summary.read(folder)
    job = Job(before.input if before else folder.name, hidden, KINDS)
    try:
        done = run_job(
            job, segmenter, _Watch(task, document), lambda job: _same_frames(document, video)
        )
        if task.stop.is_set():
            raise CancelledError
        if done.state != "complete":
            raise SipVideoError(done.problem)
        _take_along(document, hidden, edits=edits)
        new = _numbered(folder, _free(folder))
        hidden.rename(new)
        return new
    except OSError as error:
        raise SipVideoError(f"{folder.parent}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _take_along(document: Document, folder: Path, *, edits: bool) -> None:
    """Where somebody said that the source is, and the edits."""
    pointed = Path(CACHE, POINTED)
    with document.lock:
        for path in (pointed, Path(EDITS)) if edits else (pointed,):
            if (document.folder / path).is_file():
                (folder / path).parent.mkdir(exist_ok=True)
                shutil.copy(document.folder / path, folder / path)


class _Watch(Watch):
    """Tells a task of a job, and the job of the task's end."""

    def __init__(self, task: Task, document: Document) -> None:
        self._task, self._count = task, document.table.frame_count

    @property
    def stopped(self) -> bool:
        return self._task.stop.is_set()

    def advance(self, summary: Summary, result: FrameResult) -> None:
        if not self.stopped:
            self._task.advance(summary.frames, self._count, "segmenting anew")


@contextlib.contextmanager
def _same_frames(document: Document, video: RunVideo) -> Iterator[Source]:
    """The source, with the frames that the run has of it: anchors of edits count in them."""
    opened = video.clip()
    if opened is None:
        raise SourceError(f"{document.folder}: what it was made from is not there")
    columns = document.index.columns
    numbers = columns.numbers
    start = max(0.0, float(columns.times[0]) - ROUNDED) if numbers[0] else 0.0
    every = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
    with opened as source:
        yield Excerpt(source, start, every=max(every, 1), most=len(numbers))


def _numbered(folder: Path, number: int) -> Path:
    return folder.with_name(f"{folder.name}{SUFFIX}{number if number > 1 else ''}")


def _free(folder: Path) -> int:
    """The first number whose folder is not there."""
    number = 1
    while _numbered(folder, number).exists():
        number += 1
    return number
