"""Jobs spread over workers, any of which may die: tries, time limits and stops, the same wherever workers are."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sipvideo.errors import SipVideoError
from sipvideo.jobs.executor import TRIES, Executor, Loaded, Monitor, Outcome
from sipvideo.jobs.job import Job
from sipvideo.jobs.worker import Advanced, Again, Broken, Settled, Stop, Told, too_long
from sipvideo.remote import shown
from sipvideo.summary import Summary

GRACE = 5.0
"""Seconds over its time after which a job that does not even look at the clock loses its worker."""
PATIENCE = 2.0
"""Seconds that workers have to end their jobs between two frames when the run is stopped."""
AHEAD = 64
"""Jobs that are listed ahead of time, so that no worker waits for a slow list."""
LOOK_EVERY = 0.05
"""Seconds between looks at the clock, at the monitor, and for new jobs where workers are idle."""


@dataclass
class Try:
    """A job that is begun for the first time or again.

    Attributes:
        job: which.
        tries: the how many-th; those do not count whose worker died of something else.
        again: its former worker died of whatever.
        begun: when, on the clock that only rises.
    """

    job: Job
    tries: int = 1
    again: bool = False
    begun: float = 0.0


class Worker(ABC):
    """Whoever has the model and takes one job after the other, see :mod:`sipvideo.jobs.worker`.

    Attributes:
        number: from 1.
        ready: has built the segmenter.
        problem: why it cannot, and is of no use; "" otherwise.
        work: the job that it has.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.problem = ""
        self.work: Try | None = None

    @property
    def name(self) -> str:
        """For people."""
        return str(self.number)

    @abstractmethod
    def send(self, message: object) -> None:
        """Hands over a message; one to a worker that has just died is lost, and its end is noticed."""

    @abstractmethod
    def received(self) -> Iterator[Any]:
        """What it has said; ends with None where it has died."""

    @abstractmethod
    def kill(self) -> None:
        """Ends it in whatever it does."""

    @property
    @abstractmethod
    def cause(self) -> str:
        """Of its death, for people: "by SIGKILL"."""

    @property
    def innocent(self) -> bool:
        """Whether it surely did not die of its job."""
        return False


AnyWorker = TypeVar("AnyWorker", bound=Worker)


class Pool(Executor, Generic[AnyWorker]):
    """Workers, each with the model; subclasses say what they are.

    A worker that dies is replaced, and its job is tried again, up to :data:`TRIES` times. A job that does not end in
    its time is not. A worker that cannot build the segmenter is left alone while others can.

    Args:
        timeout: seconds that a job may take; None: any.
        tell: takes lines about workers, for people.
    """

    def __init__(
        self, timeout: float | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self._timeout = timeout
        self._tell = tell or (lambda line: None)
        self._workers: list[AnyWorker] = []
        self._loaded: Loaded | None = None
        self._stillborn = 0

    def __exit__(self, *exception: object) -> None:
        """Ends the workers."""
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    @abstractmethod
    def _open(self) -> int:
        """Makes ready what workers need; their number."""

    @abstractmethod
    def _start(self, number: int) -> AnyWorker:
        """A new worker."""

    @abstractmethod
    def _speaking(self) -> Iterable[AnyWorker]:
        """Workers that have something to say or have died; waits up to :data:`LOOK_EVERY` for one."""

    def load(self) -> Loaded:
        """See :class:`Executor`."""
        if not self._workers:
            count = self._open()
            self._workers.extend(map(self._start, range(1, count + 1)))
        while self._loaded is None:
            for _ in self._events(Monitor(), deque()):
                pass
        return self._loaded

    def run(self, jobs: Iterable[Job], monitor: Monitor) -> Iterator[Outcome]:
        """See :class:`Executor`. ``jobs`` is used in another thread."""
        self.load()
        feed = _Feed(jobs, max(AHEAD, 2 * len(self._workers)))
        again: deque[Try] = deque()
        try:
            while not monitor.stopped:
                starved = self._hand_out(feed, again, monitor)
                if starved and feed.ended and not self._busy:
                    feed.check()
                    return
                yield from self._events(monitor, again)
            yield from self._stop(again, monitor)
        finally:
            feed.close()

    @property
    def _busy(self) -> list[AnyWorker]:
        return [worker for worker in self._workers if worker.work is not None]

    def _hand_out(self, feed: _Feed, again: deque[Try], monitor: Monitor) -> bool:
        """Gives work to whoever has none; whether there was none to give."""
        for worker in self._workers:
            if not worker.ready or worker.work is not None:
                continue
            work = again.popleft() if again else feed.next()
            if work is None:
                return True
            work.begun = time.monotonic()
            worker.work = work
            monitor.begin(work.job, worker.name, work.tries)
            worker.send(Again(work.job) if work.again else work.job)
        return not again

    def _events(self, monitor: Monitor, again: deque[Try]) -> Iterator[Outcome]:
        """Waits a little for what workers say, and deals with it."""
        for worker in self._speaking():
            for message in worker.received():
                if message is None:
                    if worker.problem:  # it has ended because of that
                        break
                    yield from self._died(worker, monitor, again)
                else:
                    yield from self._heard(worker, message, monitor)
        if self._timeout is not None:
            yield from self._overdue(monitor)

    def _heard(self, worker: AnyWorker, message: object, monitor: Monitor) -> Iterator[Outcome]:
        work = worker.work
        if isinstance(message, Loaded):
            self._loaded, worker.ready, self._stillborn = message, True, 0
        elif isinstance(message, Broken):
            self._refuse(worker, message.problem)
        elif work is not None and isinstance(message, Advanced):
            monitor.advance(work.job, message.frames, message.expected)
        elif work is not None and isinstance(message, Told):
            if message.error:
                monitor.complain(work.job, SipVideoError(message.line))
            else:
                monitor.note(work.job, message.line)
        elif work is not None and isinstance(message, Settled):
            worker.work = None
            monitor.advance(work.job, message.summary.frames, None)
            monitor.end(work.job)
            yield Outcome(work.job, message.summary, work.tries, worker.name)

    def _refuse(self, worker: AnyWorker, problem: str) -> None:
        """Goes on without a worker that cannot build the segmenter; its place would be no better for another."""
        known = {one.problem for one in self._workers}
        worker.problem = problem
        if all(one.problem for one in self._workers):
            raise SipVideoError(problem)
        if problem not in known:
            self._tell(f"goes on without a worker: {problem}")

    def _died(self, worker: AnyWorker, monitor: Monitor, again: deque[Try]) -> Iterator[Outcome]:
        """Puts another worker in its place; its job is tried again, or set aside."""
        cause, work, innocent = worker.cause, worker.work, worker.innocent
        if not worker.ready and not innocent:
            self._stillborn += 1
            if self._stillborn >= TRIES * (1 if self._loaded is None else len(self._workers)):
                raise SipVideoError(f"workers die before they have loaded the model: {cause}")
        self._replace(worker)
        if work is None:
            return
        if work.tries < TRIES or innocent:
            monitor.note(
                work.job, f"{shown(work.job.input)}: its worker died {cause}; it is tried again"
            )
            again.append(Try(work.job, work.tries + (not innocent), again=True))
            return
        line = (
            f"{shown(work.job.input)}: set aside: {TRIES} workers died of it, the last one {cause}"
        )
        yield self._failed(work, worker, line, monitor)

    def _overdue(self, monitor: Monitor) -> Iterator[Outcome]:
        """Ends workers whose jobs are over their time and do not notice it."""
        assert self._timeout is not None
        latest = time.monotonic() - self._timeout - GRACE
        for worker in self._busy:
            work = worker.work
            if work is not None and work.begun < latest:
                self._replace(worker)
                yield self._failed(work, worker, too_long(work.job, self._timeout), monitor)

    def _failed(self, work: Try, worker: AnyWorker, line: str, monitor: Monitor) -> Outcome:
        summary = Summary(input=shown(work.job.input), settings=work.job.settings, state="failed")
        summary.problem, summary.seconds = line, time.monotonic() - work.begun
        monitor.complain(work.job, SipVideoError(line))
        monitor.end(work.job)
        return Outcome(work.job, summary, work.tries, worker.name)

    def _replace(self, worker: AnyWorker) -> None:
        worker.kill()
        self._workers[worker.number - 1] = self._start(worker.number)

    def _stop(self, again: deque[Try], monitor: Monitor) -> Iterator[Outcome]:
        """Ends what is in work between two frames, or else with its worker."""
        for worker in self._busy:
            worker.send(Stop())
        deadline = time.monotonic() + PATIENCE
        while self._busy and time.monotonic() < deadline:
            yield from self._events(monitor, again)
        left = [(worker.work, worker.name) for worker in self._busy]
        for work, name in (*left, *((work, "") for work in again)):
            assert work is not None
            summary = Summary(
                input=shown(work.job.input), settings=work.job.settings, state="interrupted"
            )
            yield Outcome(work.job, summary, work.tries, name)


class _Feed:
    """Jobs taken from a stream by a thread, a few ahead: a stream that waits for something holds nobody up."""

    def __init__(self, jobs: Iterable[Job], most: int) -> None:
        self._jobs = jobs
        self._line: queue.Queue[Job] = queue.Queue(most)
        self._error: BaseException | None = None
        self._closed = self._done = False
        threading.Thread(target=self._take, name="feed", daemon=True).start()

    @property
    def ended(self) -> bool:
        """No more jobs come."""
        return self._done and self._line.empty()

    def next(self) -> Try | None:
        """The next job, if there is one just now."""
        with suppress(queue.Empty):
            return Try(self._line.get_nowait())
        return None

    def check(self) -> None:
        """Raises what ended the stream, if it was an error."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """No more jobs are taken."""
        self._closed = True
        with suppress(queue.Empty):
            while True:
                self._line.get_nowait()

    def _take(self) -> None:
        try:
            for job in self._jobs:
                if self._closed:
                    break
                self._line.put(job)
        except BaseException as error:
            self._error = error
        finally:
            self._done = True
