"""Jobs spread over something: one protocol, and the executor that spreads them over nothing.

An executor takes jobs as it has room for them, from a stream that may have millions, and gives back what became of
each as it settles. Everything that people see goes through a :class:`Monitor`.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sipvideo.errors import SipVideoError
from sipvideo.jobs.job import Job, Watch
from sipvideo.jobs.run import run_job
from sipvideo.jobs.spec import Spec

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.sources import Source
    from sipvideo.structures import FrameResult
    from sipvideo.summary import Summary

TRIES = 3
"""How often a job is tried whose worker dies; then it is set aside."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: as it was given.
        summary: what came out. Its state is "complete", "failed" (``problem`` is the cause, also where a worker died
            of the job) or "interrupted".
        tries: how often it was begun.
        worker: where it ended, for people: "", a number, or a machine's name with one.
    """

    job: Job
    summary: Summary
    tries: int = 1
    worker: str = ""


@dataclass(frozen=True)
class Loaded:
    """What is known of a segmenter once it is built: the names of its classes in label order, and of its model."""

    class_names: tuple[str, ...]
    model: str

    @classmethod
    def of(cls, segmenter: VideoSegmenter) -> Loaded:
        """Of a ready one."""
        return cls(segmenter.class_names, segmenter.engine.model)


class Monitor:
    """Follows all jobs of a run, wherever they are in work, and may stop them.

    This one says nothing and lets them run; others override what they need. Its methods are called in the thread that
    takes the outcomes or in one that writes results, one at a time.
    """

    @property
    def stopped(self) -> bool:
        """No more jobs shall be begun, and those in work end after the result that they are at."""
        return False

    def until(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """Results of a job in this process, up to where it shall end."""
        return itertools.takewhile(lambda result: not self.stopped, results)

    def begin(self, job: Job, worker: str, tries: int) -> None:
        """A job is in work, for the first time, the second, ...."""

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        """So many of its frames are saved, of so many as are expected; None: not known. May come seldom."""

    def complain(self, job: Job, error: SipVideoError) -> None:
        """It has failed, or its worker has died and it will be tried again; may come more than once."""

    def note(self, job: Job, line: str) -> None:
        """What was chosen, changed or left out."""

    def end(self, job: Job) -> None:
        """It has no more results; notes may still come."""


class Executor(ABC):
    """Runs jobs somewhere. Used as a context; leaving it ends all that it started."""

    def __enter__(self) -> Executor:
        return self

    def __exit__(self, *exception: object) -> None:  # noqa: B027  nothing to end where nothing was started
        """Ends what was started."""

    @abstractmethod
    def load(self) -> Loaded:
        """Builds the segmenter where jobs will run, at least once, so that what is wrong is told before any job.

        Raises:
            SipVideoError: it cannot be built.
        """

    @abstractmethod
    def run(self, jobs: Iterable[Job], monitor: Monitor) -> Iterator[Outcome]:
        """Runs jobs; gives back each once, in the order in which they settle.

        Args:
            jobs: taken one by one, as there is room; a bounded number is in work or waits for it.
            monitor: told of what happens. Once it is ``stopped``, those in work come back as "interrupted" within
                three seconds, and that is all.

        Raises:
            SipVideoError: nothing can run any more. No job's own failure is an exception.
        """


class InProcess(Executor):
    """One job after the other, in the caller's thread.

    Args:
        spec: builds the segmenter, once.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._segmenter: VideoSegmenter | None = None

    def load(self) -> Loaded:
        """See :class:`Executor`."""
        if self._segmenter is None:
            self._segmenter = self._spec.build()
        return Loaded.of(self._segmenter)

    def run(self, jobs: Iterable[Job], monitor: Monitor) -> Iterator[Outcome]:
        """See :class:`Executor`."""
        self.load()
        assert self._segmenter is not None
        for job in jobs:
            if monitor.stopped:
                return
            monitor.begin(job, "", 1)
            yield Outcome(job, run_job(job, self._segmenter, Monitored(job, monitor)))


class Monitored(Watch):
    """A job in this process, as its monitor sees it.

    Args:
        job: which.
        monitor: told of it.
    """

    def __init__(self, job: Job, monitor: Monitor) -> None:
        self._job, self._monitor = job, monitor
        self._expected: int | None = None

    @property
    def stopped(self) -> bool:
        """See :class:`Watch`."""
        return self._monitor.stopped

    def begin(self, source: Source) -> None:
        """See :class:`Watch`."""
        self._expected = source.expected_frames
        self._monitor.advance(self._job, 0, self._expected)

    def until(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """See :class:`Watch`."""
        return self._monitor.until(results)

    def advance(self, summary: Summary, result: FrameResult) -> None:
        """See :class:`Watch`."""
        self._monitor.advance(self._job, summary.frames, self._expected)

    def complain(self, error: SipVideoError) -> None:
        """See :class:`Watch`."""
        self._monitor.complain(self._job, error)

    def note(self, line: str) -> None:
        """See :class:`Watch`."""
        self._monitor.note(self._job, line)

    def end(self) -> None:
        """See :class:`Watch`."""
        self._monitor.end(self._job)
