"""The other end of a pool: a process that builds the segmenter once and runs one job after the other."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from sipvideo.errors import SipVideoError, contained
from sipvideo.jobs.executor import Loaded
from sipvideo.jobs.job import Job, Watch, completed
from sipvideo.jobs.run import run_job
from sipvideo.jobs.spec import Spec
from sipvideo.remote import shown

if TYPE_CHECKING:
    from sipvideo.sources import Source
    from sipvideo.structures import FrameResult
    from sipvideo.summary import Summary

EVERY = 0.5
"""Seconds between messages about a job's frames."""
ORPHANED = 2.0
"""Seconds that a job has to end between two frames when its driver is gone."""
FORMER = 10.0
"""Seconds to wait for another run that writes into a job's folder: workers of a driver that was killed are ending."""


@dataclass(frozen=True)
class Stop:
    """To a worker: the job in work shall end after the frame that it is at."""


@dataclass(frozen=True)
class Again:
    """To a worker: a job whose former worker died. It goes on where that one left a checkpoint; if that was after all
    was saved, nothing is left to do."""

    job: Job


@dataclass(frozen=True)
class Broken:
    """From a worker: the segmenter cannot be built."""

    problem: str


@dataclass(frozen=True)
class Advanced:
    """From a worker: so many frames of its job are saved."""

    frames: int
    expected: int | None


@dataclass(frozen=True)
class Told:
    """From a worker: a line about its job, a note or an error."""

    line: str
    error: bool


@dataclass(frozen=True)
class Settled:
    """From a worker: what became of its job."""

    summary: Summary


@dataclass(frozen=True)
class Share:
    """What of the machine is a worker's.

    Attributes:
        cores: numbers of processor cores; empty: all.
        gpu: for ``CUDA_VISIBLE_DEVICES``; None: all.
    """

    cores: tuple[int, ...] = ()
    gpu: str | None = None

    def take(self) -> None:
        """From now on this process has no more; before libraries look how many there are."""
        if self.cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, self.cores)
        if self.gpu is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu


class Link(Protocol):
    """A worker's line to the driver."""

    def send(self, message: Any, /) -> None:
        """To the driver; an OSError where it is gone."""

    def recv(self) -> Any:
        """Waits for what the driver says; EOFError or OSError where it is gone."""


def serve(link: Link, spec: Spec, share: Share, timeout: float | None) -> None:
    """Runs the jobs that come over a link, until it is closed or None comes.

    Args:
        link: gives a :class:`Job`, :class:`Again`, :class:`Stop` or None; takes :class:`Loaded` or :class:`Broken`,
            then of every job any number of :class:`Advanced` and :class:`Told`, then :class:`Settled`.
        spec: builds the segmenter.
        share: of the machine.
        timeout: seconds that a job may take; None: any.
    """
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the driver says what to do
    share.take()
    work(link, spec, timeout)


def work(link: Link, spec: Spec, timeout: float | None) -> None:
    """The same in the calling thread, without what concerns the process; ends when None comes."""
    desk = _Desk(link)
    try:
        with contained():
            segmenter = spec.build()
    except SipVideoError as error:
        desk.send(Broken(str(error)))
        return
    desk.send(Loaded.of(segmenter))
    for given in desk.jobs():
        job = replace(given.job, resume=True) if isinstance(given, Again) else given
        kept = None if given is job else completed(job)
        patient = replace(job, patience=FORMER)
        watch = _Reporting(job, desk, timeout)
        desk.send(Settled(kept or run_job(patient, segmenter, watch)))


class _Desk:
    """A worker's end of the link: takes what comes in a thread of its own, so that a job can be stopped."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = threading.Lock()
        self._waiting: queue.SimpleQueue[Job | Again | None] = queue.SimpleQueue()
        self.stop = threading.Event()
        threading.Thread(target=self._listen, name="desk", daemon=True).start()

    def jobs(self) -> Iterator[Job | Again]:
        """The jobs, as they come."""
        while (job := self._waiting.get()) is not None:
            yield job

    def send(self, message: object) -> None:
        """To the driver; where it is gone, the listener knows."""
        with self._lock:
            try:
                self._link.send(message)
            except OSError:
                self.stop.set()

    def _listen(self) -> None:
        try:
            while (message := self._link.recv()) is not None:
                if isinstance(message, Stop):
                    self.stop.set()
                else:
                    self._waiting.put(message)
        except (EOFError, OSError):  # the driver was killed: what is complete so far is kept
            self.stop.set()
            self._waiting.put(None)
            time.sleep(ORPHANED)
            os._exit(1)
        self._waiting.put(None)


class _Reporting(Watch):
    """Tells the driver of a job.

    Args:
        job: which.
        desk: where the messages go.
        timeout: seconds that it may take.
    """

    def __init__(self, job: Job, desk: _Desk, timeout: float | None) -> None:
        self._job, self._desk, self._timeout = job, desk, timeout
        self._begun = self._said = time.monotonic()
        self._expected: int | None = None

    @property
    def stopped(self) -> bool:
        """See :class:`Watch`."""
        return self._desk.stop.is_set()

    def begin(self, source: Source) -> None:
        """See :class:`Watch`."""
        self._expected = source.expected_frames
        self._desk.send(Advanced(0, self._expected))

    def advance(self, summary: Summary, result: FrameResult) -> None:
        """See :class:`Watch`."""
        now = time.monotonic()
        if self._timeout is not None and now - self._begun > self._timeout:
            raise SipVideoError(too_long(self._job, self._timeout))
        if now - self._said >= EVERY:
            self._said = now
            self._desk.send(Advanced(summary.frames, self._expected))

    def complain(self, error: SipVideoError) -> None:
        """See :class:`Watch`."""
        self._desk.send(Told(str(error), error=True))

    def note(self, line: str) -> None:
        """See :class:`Watch`."""
        self._desk.send(Told(line, error=False))


def too_long(job: Job, timeout: float) -> str:
    """The line of a job that took more time than it may."""
    return f"{shown(job.input)}: took longer than {timeout:g} s (--job-timeout)"
