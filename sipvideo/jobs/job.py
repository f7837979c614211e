"""A job: one stored input, what is wanted of it, and what an earlier run has made of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.errors import SipVideoError, SourceError
from sipvideo.jobs import storage
from sipvideo.remote import RemoteError, fingerprint, is_remote, shown
from sipvideo.showing import ShowingOptions
from sipvideo.summary import Summary, writable

if TYPE_CHECKING:
    from sipvideo.sources import Source
    from sipvideo.structures import FrameResult


@dataclass(frozen=True)
class Job:
    """One input and what is to become of it. Plain values: a job may travel to another process.

    Attributes:
        input: for :func:`sipvideo.sources.open_source`.
        folder: where its results are made; None: nowhere.
        upload: address of a folder in a bucket where they go from there when the job ends; empty: they stay.
        kinds: what to save, keys of :data:`sipvideo.results.FILES`.
        settings: what determines the results: equal settings, equal results.
        fps: pictures per second of sequences.
        batch: frames that the network sees at once; None: as many as make it faster.
        ahead: batches that are read and segmented ahead of time; 0: one frame after the other.
        stdout: also write one JSON line per frame to standard output.
        strict: notes are errors.
        lookahead: seconds of the video that come before it is decided about identities, see :mod:`sipvideo.repair`;
            0: frame by frame.
        notes: what was chosen or left out already where the input was named, one line each.
        start, end: seconds of playing time from which, and before which, frames are taken.
        every: of so many frames one is taken.
        most: number of frames at most.
        showing: how results look, and what is watched in them.
        name: of its folder in a run over many, the key in their ledger.
        classes: names or numbers of the only classes that are looked for; empty: those of the segmenter.
        patience: seconds to wait for another run that still writes into the folder.
        send: addresses of receivers of events; may have passwords in them, so no summary tells them.
        resume: an earlier run with the same settings that was cut off is gone on with, where it left a checkpoint.
        checkpoint: seconds of wall time between checkpoints of a long run; 0: there are none.
        hwaccel: what decodes the video, see :meth:`sipvideo.engine.Engine.decoding_for`.
    """

    input: str
    folder: Path | None
    kinds: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    fps: float = 25.0
    batch: int | None = None
    ahead: int = 0
    stdout: bool = False
    strict: bool = False
    lookahead: float = 0.0
    notes: tuple[str, ...] = ()
    start: float = 0.0
    end: float | None = None
    every: int = 1
    most: int | None = None
    showing: ShowingOptions = field(default_factory=ShowingOptions)
    name: str = ""
    classes: tuple[str | int, ...] = ()
    patience: float = 0.0
    send: tuple[str, ...] = field(default=(), repr=False)
    resume: bool = False
    checkpoint: float = 60.0
    upload: str = ""
    hwaccel: str = "auto"

    @property
    def output(self) -> Path | str | None:
        """Where its results are in the end."""
        return self.upload or self.folder


class Watch:
    """Follows a job and may end it. This one says nothing and lets it run; others override what they need."""

    @property
    def stopped(self) -> bool:
        """The job shall end after the result that it is at."""
        return False

    def begin(self, source: Source) -> None:
        """The input is open."""

    def until(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """The results, up to where the job shall end."""
        return itertools.takewhile(lambda result: not self.stopped, results)

    def advance(self, summary: Summary, result: FrameResult) -> None:
        """One more result is saved. Whatever it raises ends the job; what is saved so far stays."""

    def complain(self, error: SipVideoError) -> None:
        """The job has failed; what fails after that is a note."""

    def note(self, line: str) -> None:
        """What was chosen, changed or left out."""

    def end(self) -> None:
        """No more results come; notes still may."""


def earlier(job: Job) -> Summary | None:
    """The summary that an earlier run left where the results of a job go; None where there is none."""
    if job.upload:
        return storage.uploaded(job.upload)
    return None if job.folder is None else Summary.read(job.folder)


def completed(job: Job) -> Summary | None:
    """The summary of an earlier run that did the same with the same settings, with ``strict`` only without notes.

    Raises:
        SourceError: the input is in a bucket that cannot be asked whether it has changed.
    """
    return fitting(earlier(job), job)


def fitting(summary: Summary | None, job: Job) -> Summary | None:
    """A summary, if it is what the job would come to."""
    if summary is None or summary.state != "complete" or (job.strict and summary.notes):
        return None
    return None if changed(job, summary) else summary


def changed(job: Job, summary: Summary) -> list[str]:
    """Names of the settings in which an earlier run differs from a job.

    Raises:
        SourceError: as :func:`completed`.
    """
    now: dict[str, Any] = writable(settings_of(job))
    names = dict.fromkeys((*now, *summary.settings))
    return [name for name in names if now.get(name) != summary.settings.get(name)]


def settings_of(job: Job) -> dict[str, Any]:
    """The job's settings; of an input in a bucket also what tells whether it has changed, asked of the store.

    So the input of each job is asked where the job runs, and whoever makes a million jobs need not ask for each.
    """
    if not is_remote(job.input) or "input" not in job.settings:
        return job.settings
    try:
        return {**job.settings, "input": [shown(job.input), fingerprint(job.input)]}
    except RemoteError as error:
        raise SourceError(f"{shown(job.input)}: {error}") from error
