"""Results that go into a bucket: made in a local folder, uploaded when their job ends, the summary last.

So a folder with a summary is whole there too. The local folder of a job has always the same name: what a killed run
left is found again. If it was killed while it uploaded, its results are whole and are uploaded, not computed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sipvideo.errors import SinkError
from sipvideo.remote import (
    Patience,
    RemoteError,
    RemoteFile,
    is_remote,
    listed,
    located,
    persistent,
    shown,
)
from sipvideo.results import KINDS, SINGLE_PICTURE
from sipvideo.summary import SUMMARY, Summary

STAGING = "SIPVIDEO_STAGING"
"""Environment variable with the folder in which results wait for their upload; by default the system's for what is
temporary."""

PARTS = {"chunksize": 8 << 20, "max_concurrency": 4}
"""How S3 gets large files: in pieces of so many bytes, so many at once. They are what is in memory."""

LOOK = 0.05
"""Seconds between looks whether somebody wants to stop."""

_writable: set[str] = set()
"""Places that this process has written to."""


def local(output: str | Path) -> Path:
    """The folder on this machine that stands for an output: itself, or where results wait that go into a bucket.

    Raises:
        SinkError: there cannot be one.
    """
    if not is_remote(str(output)):
        return Path(output)
    address = str(output).rstrip("/")
    last = address.rpartition("/")[2]
    name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{last[:40]}"
    return _staging() / name


def joined(output: str | Path, name: str) -> str:
    """The address of what has a name in an output that is in a bucket; empty for other outputs."""
    return f"{str(output).rstrip('/')}/{name}" if is_remote(str(output)) else ""


def _staging() -> Path:
    """Where results wait; it belongs to the user alone."""
    given = os.environ.get(STAGING)
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(given) if given else Path(tempfile.gettempdir()) / f"sipvideo-{user}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not given and user and folder.stat().st_uid != user:
            raise SinkError(f"{folder}: belongs to somebody else, name another folder: {STAGING}")
    except OSError as error:
        raise SinkError(f"{folder}: cannot be made: {error.strerror}") from error
    return folder


class Upload:
    """The way of one job's results into a bucket.

    Args:
        folder: where they are made.
        address: where they go.
        patience: with the store; whoever is told there is told here.
    """

    def __init__(self, folder: Path, address: str, patience: Patience) -> None:
        self._folder, self._address, self._patience = folder, address, patience
        self._stopped = False

    def check(self) -> None:
        """Makes sure that the place can be written to before anything is computed; once in a process.

        Raises:
            SinkError: it cannot.
        """
        place = self._address.rpartition("/")[0]
        if place in _writable:
            return
        probe = f"{place}/.sipvideo-{uuid.uuid4().hex}"

        def write() -> None:
            fs, path = located(probe)
            fs.pipe_file(path, b"")
            with contextlib.suppress(OSError):  # may be allowed to write only
                fs.rm_file(path)

        with self._told("cannot be written"):
            persistent(write, place, self._patience)
        _writable.add(place)

    def publish(self) -> None:
        """Uploads the results, the summary last, and removes them here unless there is something to go on from.

        Raises:
            SinkError: it cannot be done; the results stay here, whole.
        """
        with self._told(f"cannot be uploaded, the results stay in {self._folder}"):
            self._while_wanted(self._publish)
        if not any(path.name.startswith(".") for path in self._folder.iterdir()):
            shutil.rmtree(self._folder, ignore_errors=True)  # else a later run goes on from it

    def _publish(self) -> None:
        files = {
            path.relative_to(self._folder).as_posix(): path
            for path in sorted(self._folder.rglob("*"))
            if path.is_file() and not _hidden(path.relative_to(self._folder))
        }
        summary = files.pop(SUMMARY)
        there = self._there()
        if SUMMARY in there:
            self._remove(SUMMARY)  # from here on the folder there is not whole
        for name, path in files.items():
            self._put(name, path)
        ours = {Path(kind.file).parts[0] for kind in (*KINDS.values(), SINGLE_PICTURE)}
        for name in there.keys() - files.keys() - {SUMMARY}:
            if Path(name).parts[0] in ours:
                self._remove(name)
        arrived = self._there()
        for name, path in files.items():
            if arrived.get(name) != path.stat().st_size:
                raise RemoteError(f"{name} did not arrive whole")
        self._put(SUMMARY, summary)

    def _there(self) -> dict[str, int]:
        """Names and sizes of what is in the bucket's folder."""
        found = listed(f"{self._address}/", recursive=True, patience=self._patience)
        start = len(self._address) + 1
        return {one.address[start:]: one.stat.st_size for one in found}

    def _put(self, name: str, path: Path) -> None:
        self._do(lambda fs, place: fs.put_file(str(path), place, **_parts(fs)), name)

    def _remove(self, name: str) -> None:
        self._do(lambda fs, place: fs.rm_file(place), name)

    def _do(self, what: Callable[[Any, str], object], name: str) -> None:
        address = f"{self._address}/{name}"

        def act() -> None:
            if self._stopped:
                raise RemoteError("interrupted")
            fs, path = located(address)
            what(fs, path)

        persistent(act, address, self._patience)

    def _while_wanted(self, work: Callable[[], None]) -> None:
        """Does the work in a thread, so that whoever wants to stop need not wait for a request."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="upload", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(LOOK)
            if self._patience.stopped() and thread.is_alive():
                self._stopped = True
                raise RemoteError("interrupted")
        if failures:
            raise failures[0]

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except RemoteError as error:
            raise SinkError(f"{shown(self._address)}: {what}: {error}") from error


def uploaded(address: str) -> Summary | None:
    """The summary in a folder in a bucket; None where there is none that can be read."""
    try:
        return Summary.parse(RemoteFile(f"{address}/{SUMMARY}").read_bytes())
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _parts(fs: Any) -> dict[str, int]:
    return PARTS if hasattr(fs, "call_s3") else {}
