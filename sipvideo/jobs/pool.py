"""Jobs spread over processes of this machine, any of which may die."""

from __future__ import annotations

import glob
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from sipvideo.errors import SipVideoError
from sipvideo.jobs.executor import TRIES, Executor, Loaded, Monitor, Outcome
from sipvideo.jobs.job import Job, shown
from sipvideo.jobs.spec import Spec
from sipvideo.jobs.worker import Advanced, Broken, Settled, Share, Stop, Told, serve, too_long
from sipvideo.summary import Summary

GRACE = 5.0
"""Seconds over its time after which a job that does not even look at the clock loses its worker."""
PATIENCE = 2.0
"""Seconds that workers have to end their jobs between two frames when the run is stopped."""
LOOK_EVERY = 0.05
"""Seconds between looks at the clock, at the monitor, and for new jobs where workers are idle."""


@dataclass
class Try:
    """A job that is begun for the first time or again."""

    job: Job
    tries: int = 1
    begun: float = 0.0


class Worker:
    """One process and the job that it has.

    Args:
        number: from 1, for people.
        spec, timeout: for :func:`serve`.
        share: of the machine.
    """

    def __init__(self, number: int, spec: Spec, share: Share, timeout: float | None) -> None:
        self.number = number
        self.ready = False
        self.work: Try | None = None
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        given = (theirs, spec, share, timeout)
        name = f"sipvideo-worker-{number}"
        self.process = context.Process(target=serve, args=given, name=name, daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: object) -> None:
        """Hands over a message; one to a worker that has just died is lost, and its end is noticed."""
        with suppress(OSError):
            self.link.send(message)

    def received(self) -> Iterator[Any]:
        """What it has said; ends with None where it has died."""
        try:
            while self.link.poll():
                yield self.link.recv()
        except (EOFError, OSError):
            yield None

    def kill(self) -> None:
        """Ends it in whatever it does."""
        self.process.kill()
        self.process.join()
        self.link.close()

    @property
    def cause(self) -> str:
        """Of its death, for people."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"with exit code {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"by {name}" + (", for lack of memory perhaps" if name == "SIGKILL" else "")
        return f"by signal {-code}"


class WorkerPool(Executor):
    """Processes on this machine, each with the model and its share of the cores and GPUs.

    A worker that dies is replaced, and its job is tried again, up to :data:`TRIES` times. A job that does not end in
    its time is not. Workers end with the pool, and with the process that made it, however that ends.

    Args:
        spec: builds the segmenter, once in every process.
        workers: number of processes.
        timeout: seconds that a job may take; None: any.
    """

    def __init__(self, spec: Spec, workers: int, timeout: float | None = None) -> None:
        self._spec, self._timeout = spec, timeout
        self._shares = shares(workers)
        self._workers: list[Worker] = []
        self._loaded: Loaded | None = None
        self._stillborn = 0

    def __exit__(self, *exception: object) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.send(None)
        deadline = time.monotonic() + 1.0
        for worker in self._workers:
            if worker.work is None and worker.ready:
                worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.kill()
        self._workers.clear()

    def load(self) -> Loaded:
        """See :class:`Executor`."""
        if not self._workers:
            for number, share in enumerate(self._shares, 1):
                self._workers.append(Worker(number, self._spec, share, self._timeout))
        while self._loaded is None:
            for _ in self._events(Monitor(), deque()):
                pass
        return self._loaded

    def run(self, jobs: Iterable[Job], monitor: Monitor) -> Iterator[Outcome]:
        """See :class:`Executor`. ``jobs`` is used in another thread."""
        self.load()
        feed = _Feed(jobs, len(self._shares))
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
    def _busy(self) -> list[Worker]:
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
            monitor.begin(work.job, str(worker.number), work.tries)
            worker.send(work.job)
        return not again

    def _events(self, monitor: Monitor, again: deque[Try]) -> Iterator[Outcome]:
        """Waits a little for what workers say, and deals with it."""
        links = {worker.link: worker for worker in self._workers}
        for link in connection.wait(list(links), LOOK_EVERY):
            worker = links[link]  # type: ignore[index]
            for message in worker.received():
                if message is None:
                    yield from self._died(worker, monitor, again)
                else:
                    yield from self._heard(worker, message, monitor)
        if self._timeout is not None:
            yield from self._overdue(monitor)

    def _heard(self, worker: Worker, message: object, monitor: Monitor) -> Iterator[Outcome]:
        work = worker.work
        if isinstance(message, Loaded):
            self._loaded, worker.ready, self._stillborn = message, True, 0
        elif isinstance(message, Broken):
            raise SipVideoError(message.problem)
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
            yield Outcome(work.job, message.summary, work.tries, str(worker.number))

    def _died(self, worker: Worker, monitor: Monitor, again: deque[Try]) -> Iterator[Outcome]:
        """Puts another worker in its place; its job is tried again, or set aside."""
        cause, work = worker.cause, worker.work
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= TRIES:
                raise SipVideoError(f"workers die before they have loaded the model: {cause}")
        self._replace(worker)
        if work is None:
            return
        if work.tries < TRIES:
            monitor.note(
                work.job, f"{shown(work.job.input)}: its worker died {cause}; it is tried again"
            )
            again.append(Try(work.job, work.tries + 1))
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

    def _failed(self, work: Try, worker: Worker, line: str, monitor: Monitor) -> Outcome:
        summary = Summary(input=shown(work.job.input), settings=work.job.settings, state="failed")
        summary.problem, summary.seconds = line, time.monotonic() - work.begun
        monitor.complain(work.job, SipVideoError(line))
        monitor.end(work.job)
        return Outcome(work.job, summary, work.tries, str(worker.number))

    def _replace(self, worker: Worker) -> None:
        worker.kill()
        share = self._shares[worker.number - 1]
        another = Worker(worker.number, self._spec, share, self._timeout)
        self._workers[worker.number - 1] = another

    def _stop(self, again: deque[Try], monitor: Monitor) -> Iterator[Outcome]:
        """Ends what is in work between two frames, or else with its worker."""
        for worker in self._busy:
            worker.send(Stop())
        deadline = time.monotonic() + PATIENCE
        while self._busy and time.monotonic() < deadline:
            yield from self._events(monitor, again)
        left = [(worker.work, str(worker.number)) for worker in self._busy]
        for work, number in (*left, *((work, "") for work in again)):
            assert work is not None
            summary = Summary(
                input=shown(work.job.input), settings=work.job.settings, state="interrupted"
            )
            yield Outcome(work.job, summary, work.tries, number)


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


def shares(workers: int) -> list[Share]:
    """The machine's cores and GPUs divided among so many workers, each with at least one core."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    gpus = _gpus()
    found = []
    for number in range(workers):
        first, last = number * len(cores) // workers, (number + 1) * len(cores) // workers
        mine = cores[first : max(last, first + 1)]
        found.append(Share(tuple(mine), gpus[number % len(gpus)] if len(gpus) > 1 else None))
    return found


def _gpus() -> list[str]:
    """NVIDIA's GPUs that this process may use, as it names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]
