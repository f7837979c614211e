"""The end of a Ray cluster's node: an actor that runs jobs, and what it needs for that."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import socket
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sipvideo import __version__
from sipvideo.errors import CheckpointError, SipVideoError
from sipvideo.jobs.spec import SegmenterSpec, Spec
from sipvideo.jobs.worker import Broken, Share, work
from sipvideo.summary import locked


@dataclass(frozen=True)
class Here:
    """From a node: its name, for people."""

    node: str


@dataclass(frozen=True)
class Order:
    """What a node needs to begin.

    Attributes:
        spec: builds the segmenter.
        timeout: seconds that a job may take; None: any.
        folder: of the driver, to which relative paths belong.
        mark: a file that every node must see; None: nothing.
        cpus: of this worker.
    """

    spec: Spec
    timeout: float | None
    folder: str
    mark: Path | None
    cpus: float


class Node:
    """An actor: builds the segmenter in a thread of its own and runs jobs in it, as :func:`sipvideo.jobs.worker.work`.

    Args:
        version: of the driver's sipvideo.
        order: an :class:`Order`, pickled: only the same version understands it.
        files: of :func:`packed`.
    """

    def __init__(self, version: str, order: bytes, files: Mapping[str, bytes]) -> None:
        self._line = _Line()
        self._line.send(Here(socket.gethostname()))
        try:
            if version != __version__:
                raise SipVideoError(f"it has sipvideo {__version__}, the run has {version}")
            self._begin(pickle.loads(order), files)
        except (SipVideoError, OSError) as error:
            self._line.send(Broken(str(error)))

    def take(self, message: object) -> None:
        """What the driver says."""
        self._line.inward.put(message)

    def said(self) -> list[object]:
        """All that is to be told to the driver; waits until there is something."""
        messages = [self._line.outward.get()]
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(self._line.outward.get_nowait())
        return messages

    def _begin(self, order: Order, files: Mapping[str, bytes]) -> None:
        if order.mark is not None and not order.mark.exists():
            raise SipVideoError(
                f"it does not see {order.mark.parent}: results must go to a disk that all nodes share, or to a bucket"
            )
        with contextlib.suppress(OSError):  # then nothing of the run lies there
            os.chdir(order.folder)
        spec = unpacked(order.spec, files)
        self._share = claimed(order.cpus)
        given = (spec, order.timeout, self._share)
        threading.Thread(target=self._work, args=given, name="work", daemon=True).start()

    def _work(self, spec: Spec, timeout: float | None, share: Share) -> None:
        share.take()  # concerns this thread and all that begin in it
        work(self._line, spec, timeout)


class _Line:
    """A worker's link whose other end is asked by the driver."""

    def __init__(self) -> None:
        self.inward: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outward: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.send = self.outward.put
        self.recv = self.inward.get


def packed(spec: Spec) -> dict[str, bytes]:
    """Files that a segmenter is made of and that no installation has: its weights and configuration, by name.

    Raises:
        CheckpointError: one cannot be read.
    """
    found: dict[str, bytes] = {}
    for field in ("weights", "config"):
        path = Path(getattr(spec, field, None) or "")
        files = sorted(path.iterdir()) if path.name and path.is_dir() else [path]
        for file in files:
            if not file.is_file():
                continue
            name = f"{field}/{path.name}" + ("" if file == path else f"/{file.name}")
            try:
                found[name] = file.read_bytes()
            except OSError as error:
                raise CheckpointError(f"{file}: cannot be read: {error.strerror}") from error
    return found


def unpacked(spec: Spec, files: Mapping[str, bytes]) -> Spec:
    """The same with those files on this machine, where all workers of a user share them."""
    if not isinstance(spec, SegmenterSpec):
        return spec
    folder = _own_folder() / (spec.checksum or "unsealed")
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_bytes(content)
        partial.replace(path)
    fields = {name.partition("/")[0] for name in files}
    here: dict[str, Any] = {
        field: str(folder / field / Path(getattr(spec, field)).name) for field in fields
    }
    return replace(spec, **here)


def claimed(cpus: float) -> Share:
    """Cores of this machine that no other worker here has, until the process ends; all where there are not enough.

    Ray counts CPUs but says nobody which; engines would all take as many threads as the machine has cores.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    count = max(1, round(cpus))
    if count >= len(cores):
        return Share()
    mine: list[int] = []
    for core in cores:
        with contextlib.suppress(SipVideoError, OSError):
            _held.append(locked(_own_folder() / f"core-{core}"))
            mine.append(core)
        if len(mine) == count:
            return Share(tuple(mine))
    return Share()


_held: list[Any] = []
"""Locked files of cores: the locks end with the process, however it ends."""


def _own_folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(tempfile.gettempdir()) / f"sipvideo-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
