"""The log of edits beside a run's results: lines of JSON, only ever added to.

A line counts when its end is there. Lines are written under a lock, all lines of one change at once, and are on the
disk before anybody is told; a beginning that a killed process left is dropped by the next one that writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError, SinkError
from sipvideo.summary import locked

EDITS = "edits.jsonl"
"""The log's name in the folder of a run."""

BEGIN = "begin"
"""The operation of a line that says of which run the edits after it speak."""

PATIENCE = 10.0
"""Seconds to wait for another process that writes a line."""


class EditLog:
    """The log of one run.

    Args:
        folder: of the run.

    Attributes:
        path: of the log.
        lines: those that are known, in order; ``n`` of line k is k + 1.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / EDITS
        self.lines: list[Json] = []
        self._end = 0
        self._threads = threading.Lock()

    @property
    def revision(self) -> int:
        """``n`` of the last line; 0: there is none."""
        return len(self.lines)

    def refresh(self) -> list[Json]:
        """The lines that came since the last time, whoever wrote them.

        Raises:
            DatasetError: the log is damaged, or shorter than it was.
        """
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            size = 0
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be read: {error.strerror}") from error
        if size < self._end:
            raise DatasetError(f"{self.path}: is shorter than it was: lines of it are gone")
        if size == self._end:
            return []
        try:
            with self.path.open("rb") as file:
                file.seek(self._end)
                text = file.read()
        except OSError as error:
            raise DatasetError(f"{self.path}: cannot be read: {error.strerror}") from error
        whole = text[: text.rfind(b"\n") + 1]
        new = [
            self._read(line, len(self.lines) + k) for k, line in enumerate(whole.splitlines(), 1)
        ]
        self.lines += new
        self._end += len(whole)
        return new

    def _read(self, line: bytes, n: int) -> Json:
        try:
            record = json.loads(line)
            if record["n"] != n or not isinstance(record["op"], str):
                raise ValueError(f"expected line number {n}, got {record['n']!r}")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise DatasetError(
                f"{self.path}: line {n}: not as sipvideo writes it: {error}"
            ) from error
        found: Json = record
        return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes meanwhile: neither another thread nor another process.

        Raises:
            SinkError: somebody holds it for long, or the folder cannot be written.
        """
        with self._threads:
            try:
                file = locked(self.path.with_name(f".{EDITS}.lock"), PATIENCE)
            except OSError as error:
                raise SinkError(f"{self.path}: cannot be written: {error.strerror}") from error
            with file:
                yield

    def append(self, records: list[dict[str, Any]]) -> list[Json]:
        """Writes lines, all or none, while the log is held and nothing new is in it; gives them as written.

        Raises:
            SinkError: there is no room, or the file cannot be written.
        """
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lines = [{"n": self.revision + k, "time": now, **one} for k, one in enumerate(records, 1)]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        try:
            self._write(text)
        except OSError as error:
            raise SinkError(f"{self.path}: cannot be written: {error.strerror}") from error
        self.lines += lines
        self._end += len(text)
        return lines

    def _write(self, text: bytes) -> None:
        fresh = not self.path.exists()
        with self.path.open("ab") as file:
            # What is behind the last whole line was never told to anybody.
            file.truncate(self._end)
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(self._end)
                raise
        if fresh:
            _sync_folder(self.path.parent)


def _sync_folder(folder: Path) -> None:
    """So that also the file's name is on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
