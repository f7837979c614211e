"""Long work of the studio: done in the background, followed by whoever looks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError, UnforeseenError, contained

State = Literal["waiting", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
KEPT = 200
"""Tasks that are remembered."""


class CancelledError(SipVideoError):
    """Somebody does not want the task any more."""


@dataclass
class Task:
    """One piece of work.

    Attributes:
        id: number, rises.
        run: key of the run that it is about.
        kind: proxy, export, propagate, score, learn, ...
        state: where it stands.
        done, total: how far it is, in any unit; total 0: not yet known.
        detail: a line for people.
        result: what came out of it, plain values.
        version: rises with every change of any task.
    """

    id: int
    run: str
    kind: str
    state: State = "waiting"
    done: float = 0.0
    total: float = 0.0
    detail: str = ""
    result: Any = None
    version: int = 0
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    changed: Callable[[Task], None] = field(default=lambda task: None, repr=False)

    def advance(self, done: float, total: float | None = None, detail: str | None = None) -> None:
        """Tells how far it is.

        Raises:
            CancelledError: it shall end.
        """
        if self.stop.is_set():
            raise CancelledError
        self.done = done
        self.total = self.total if total is None else total
        self.detail = self.detail if detail is None else detail
        self.changed(self)

    def record(self) -> Json:
        """For whoever follows it."""
        shown = ("run", "kind", "state", "done", "total", "detail", "result")
        return {"task": self.id, **{name: getattr(self, name) for name in shown}}


class Tasks:
    """The tasks of a studio, a few at a time.

    Args:
        workers: tasks that are worked on at once; others wait.
    """

    def __init__(self, workers: int = 2) -> None:
        self._pool = ThreadPoolExecutor(workers, "studio")
        self._lock = threading.Lock()
        self._tasks: dict[int, Task] = {}
        self._version = self._last = 0

    def start(self, run: str, kind: str, work: Callable[[Task], Any]) -> Task:
        """Queues work; what it returns becomes the task's result, what goes wrong its detail."""
        with self._lock:
            self._last += 1
            task = Task(self._last, run, kind, changed=self._changed)
            self._tasks[task.id] = task
            ended = [key for key, one in self._tasks.items() if one.state in ENDED]
            for key in ended[: max(0, len(self._tasks) - KEPT)]:
                del self._tasks[key]
        self._changed(task)
        self._pool.submit(self._run, task, work)
        return task

    def get(self, number: int) -> Task | None:
        """The task of that number."""
        return self._tasks.get(number)

    def find(self, run: str, kind: str) -> Task | None:
        """The latest task of a kind on a run."""
        with self._lock:
            found = [one for one in self._tasks.values() if (one.run, one.kind) == (run, kind)]
        return found[-1] if found else None

    def since(self, version: int, run: str) -> list[Task]:
        """Tasks of a run that have changed since, the longest ago first."""
        with self._lock:
            found = [one for one in self._tasks.values() if one.run == run]
        return sorted((one for one in found if one.version > version), key=lambda one: one.version)

    def close(self) -> None:
        """Ends all: those that run at their next step."""
        with self._lock:
            for task in self._tasks.values():
                task.stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _changed(self, task: Task) -> None:
        with self._lock:
            self._version += 1
            task.version = self._version

    def _run(self, task: Task, work: Callable[[Task], Any]) -> None:
        task.state = "running"
        try:
            with contained(task.kind):
                task.advance(0.0)
                task.result = work(task)
                task.state = "done"
        except CancelledError:
            task.state = "cancelled"
        except SipVideoError as error:
            brief = error.brief if isinstance(error, UnforeseenError) else str(error)
            task.state, task.detail = "failed", brief
        self._changed(task)
