"""Runs over stored videos as people see them: progress on stderr, each line once; Ctrl-C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from sipvideo.apps import command
from sipvideo.apps.progress import Overall, Progress
from sipvideo.apps.video.table import shown_input
from sipvideo.errors import SipVideoError
from sipvideo.jobs import Job, Monitor

if TYPE_CHECKING:
    from sipvideo.structures import FrameResult


REMEMBERED = 10_000
"""Notes that are not said twice."""

Start = Callable[[str, str, int], None]
"""Is told of every job that begins: its name, its worker, which try."""


class SingleMonitor(Monitor):
    """Shows each line once, and the progress of one job after the other; Ctrl-C ends all.

    Args:
        stop: listens to signals.
        start: writes down what is in work.
        quiet: no progress.
    """

    def __init__(self, stop: command.Stop, start: Start, *, quiet: bool) -> None:
        self._stop, self._start, self._quiet = stop, start, quiet
        self._told: set[str] = set()
        self._progress: Progress | None = None

    @property
    def stopped(self) -> bool:
        """See :class:`Monitor`."""
        return self._stop.asked

    def until(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """See :class:`Monitor`."""
        return self._stop.until(results)

    def begin(self, job: Job, worker: str, tries: int) -> None:
        """See :class:`Monitor`."""
        self._start(job.name, worker, tries)

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        """See :class:`Monitor`."""
        if self._progress is None:
            self._progress = Progress(shown_input(job.input), expected, self._quiet)
        self._progress.reach(frames)

    def complain(self, job: Job, error: SipVideoError) -> None:
        """See :class:`Monitor`."""
        command.complain(error)

    def note(self, job: Job, line: str) -> None:
        """See :class:`Monitor`."""
        if line not in self._told:
            if len(self._told) < REMEMBERED:
                self._told.add(line)
            command.note(line)

    def end(self, job: Job) -> None:
        """See :class:`Monitor`."""
        self.close()

    def skip(self, job: Job) -> None:
        """It is settled without having been in work."""

    def close(self) -> None:
        """Takes the progress away."""
        if self._progress is not None:
            self._progress.bar.close()
            self._progress = None


class ManyMonitor(SingleMonitor):
    """The same with one display for all.

    Args:
        stop, start: as above.
        total: says how many inputs there are, as far as is known.
        quiet: no progress.
    """

    def __init__(
        self, stop: command.Stop, start: Start, total: Callable[[], int], *, quiet: bool
    ) -> None:
        super().__init__(stop, start, quiet=quiet)
        self._all = Overall(total, quiet)

    def begin(self, job: Job, worker: str, tries: int) -> None:
        """See :class:`Monitor`."""
        super().begin(job, worker, tries)
        self._all.begin(job.name)

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        """See :class:`Monitor`."""
        self._all.work(job.name, frames)

    def end(self, job: Job) -> None:
        """See :class:`Monitor`."""
        self._all.settle(job.name)

    def skip(self, job: Job) -> None:
        """See :class:`SingleMonitor`."""
        self._all.settle(job.name)

    def close(self) -> None:
        """See :class:`SingleMonitor`."""
        self._all.bar.close()
