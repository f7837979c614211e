"""Workers that are processes of this machine."""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing import connection
from typing import Any

from sipvideo.jobs.pool import LOOK_EVERY, Pool, Worker
from sipvideo.jobs.spec import Spec
from sipvideo.jobs.worker import Share, serve

FAREWELL = 1.0
"""Seconds that idle workers have to end by themselves."""


class Process(Worker):
    """One process.

    Args:
        number: from 1, for people.
        spec, timeout: for :func:`serve`.
        share: of the machine.
    """

    def __init__(self, number: int, spec: Spec, share: Share, timeout: float | None) -> None:
        super().__init__(number)
        context = multiprocessing.get_context("spawn")
        self.link, theirs = context.Pipe()
        given = (theirs, spec, share, timeout)
        name = f"sipvideo-worker-{number}"
        self.process = context.Process(target=serve, args=given, name=name, daemon=True)
        self.process.start()
        theirs.close()

    def send(self, message: object) -> None:
        """See :class:`Worker`."""
        with suppress(OSError):
            self.link.send(message)

    def received(self) -> Iterator[Any]:
        """See :class:`Worker`."""
        try:
            while self.link.poll():
                yield self.link.recv()
        except (EOFError, OSError):
            yield None

    def kill(self) -> None:
        """See :class:`Worker`."""
        self.process.kill()
        self.process.join()
        self.link.close()

    @property
    def cause(self) -> str:
        """See :class:`Worker`."""
        self.process.join(1.0)
        code = self.process.exitcode
        if code is None or code >= 0:
            return f"with exit code {code}"
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"by {name}" + (", for lack of memory perhaps" if name == "SIGKILL" else "")
        return f"by signal {-code}"


class WorkerPool(Pool[Process]):
    """Processes on this machine, each with the model and its share of the cores and GPUs.

    They end with the pool, and with the process that made it, however that ends.

    Args:
        spec: builds the segmenter, once in every process.
        workers: number of processes.
        timeout, tell: as :class:`Pool`.
    """

    def __init__(
        self,
        spec: Spec,
        workers: int,
        timeout: float | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(timeout, tell)
        self._spec = spec
        self._shares = shares(workers)

    def __exit__(self, *exception: object) -> None:
        """Ends the processes."""
        for worker in self._workers:
            worker.send(None)
        deadline = time.monotonic() + FAREWELL
        for worker in self._workers:
            if worker.work is None and worker.ready:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        super().__exit__(*exception)

    def _open(self) -> int:
        return len(self._shares)

    def _start(self, number: int) -> Process:
        return Process(number, self._spec, self._shares[number - 1], self._timeout)

    def _speaking(self) -> Iterable[Process]:
        # One that could not build the segmenter has ended, and that is known.
        links = {worker.link: worker for worker in self._workers if not worker.problem}
        return [links[link] for link in connection.wait(list(links), LOOK_EVERY)]  # type: ignore[index]


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
