"""What every sink promises: results go in frame by frame, a complete file comes out, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

import av

from sipvideo.errors import SinkError
from sipvideo.structures import FrameResult

AnySink = TypeVar("AnySink", bound="Sink")


class Sink(ABC):
    """Takes the results of one run in order; several sinks may share a run.

    Output grows under a temporary name in the same folder (``.name.partial``) and gets its own name when it is
    complete, so that a file with the right name is always whole. Leaving the ``with`` block completes it. That also
    holds when the run ends by Ctrl-C or by a damaged source: the frames so far are worth keeping. Only a run
    that ends by an error before its first frame, and a sink that cannot write, leave nothing behind.

    Attributes:
        path: where the output will be.
        frames_written: number of results taken so far.
        notes: lines for people about what was chosen, changed or left out; complete when the sink is closed.
    """

    def __init__(self, path: str | Path, *, folder: bool = False, stdout: bool = False) -> None:
        self.path = Path(path)
        self._to_stdout = stdout
        self.frames_written = 0
        self.notes: list[str] = []
        self._handles = contextlib.ExitStack()
        self._ended = False
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        if stdout:
            return
        with self._guarded():
            if not folder and self.path.is_dir():
                raise SinkError(f"{self.path}: is a folder, expected a file name")
            if folder and self.path.exists() and (self.path.is_file() or os.listdir(self.path)):
                raise SinkError(f"{self.path}: exists already and is not an empty folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _remove(self._partial)
            self._partial.mkdir() if folder else self._partial.touch()

    @abstractmethod
    def _write(self, result: FrameResult) -> None:
        """Adds one frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Completes the temporary file; afterwards the base closes ``_handles``."""

    def write(self, result: FrameResult) -> None:
        """Adds the next frame. Raises SinkError: disk full and the like; the sink is then gone."""
        if self._ended:
            raise ValueError(f"{self.path}: the sink is closed")
        with self._guarded():
            self._write(result)
        self.frames_written += 1

    def close(self) -> None:
        """Completes the output under its own name. May be called twice. Raises SinkError."""
        if self._ended:
            return
        self._ended = True
        with self._guarded():
            try:
                self._finish()
            except SinkError:
                self.discard()
                raise
            self._handles.close()
            if not self._to_stdout:
                if self._partial.is_dir() and self.path.is_dir():
                    self.path.rmdir()
                os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Leaves nothing behind."""
        self._ended = True
        with contextlib.suppress(Exception):
            self._handles.close()
        with contextlib.suppress(OSError):
            _remove(self._partial)

    def __enter__(self: AnySink) -> AnySink:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None and self.frames_written == 0:
            self.discard()
        self.close()

    def _open_text(self) -> IO[str]:
        """The temporary file (or standard output) for text."""
        if self._to_stdout:
            return sys.stdout
        with self._guarded():
            file = self._partial.open("w", encoding="utf-8", newline="")
        self._handles.callback(file.close)
        return file

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """A failure of the outside world ends the sink with one line."""
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            self.discard()
            if self._to_stdout and isinstance(error, BrokenPipeError):
                raise  # the reader had enough: how that is told is the command's affair
            reason = error.strerror or str(error)
            raise SinkError(f"{self.path}: cannot be written: {reason}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
