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
from typing import IO, NamedTuple, TypeVar

import av

from sipvideo.errors import SinkError
from sipvideo.structures import FrameResult

AnySink = TypeVar("AnySink", bound="Sink")


class Kept(NamedTuple):
    """What an output holds, as far as it tells.

    Attributes:
        frames: number of frames; None: it does not tell. 0: nothing could be kept, and there is no file.
        seconds: from the first frame to the last.
    """

    frames: int | None = None
    seconds: float | None = None


class Sink(ABC):
    """Takes the results of one run in order; several sinks may share a run.

    What is written grows under a hidden name in the same folder (``.name.partial``), in a form of which every beginning
    is of use: text as whole lines, video as pieces, pictures as files. After every frame it is handed to the operating
    system. :meth:`assemble` makes the output of it, at the end of every run; the same function does so for a run
    that was killed, or whose disk was full. So a file with the right name is always whole.

    Leaving the ``with`` block completes it. That also holds when the run ends by Ctrl-C or by a damaged source: the
    frames so far are worth keeping. Only a run that ends by an error before its first frame leaves nothing behind.

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
        self._text: IO[str] | None = None
        self._ended = False
        self._partial = hidden(self.path)
        if stdout:
            return
        with self._guarded():
            if not folder and self.path.is_dir():
                raise SinkError(f"{self.path}: is a folder, expected a file name")
            if folder and self.path.exists() and (self.path.is_file() or os.listdir(self.path)):
                raise SinkError(f"{self.path}: exists already and is not an empty folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove(self._partial)
            self._partial.mkdir() if folder else self._partial.touch()

    @abstractmethod
    def _write(self, result: FrameResult) -> None:
        """Adds one frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what is still to be written; afterwards the base closes ``_handles`` and assembles the output."""

    @classmethod
    def assemble(cls, partial: Path, path: Path) -> Kept:
        """Makes the output at ``path`` of all that is whole in the hidden file, wherever its writing was cut off.

        The hidden file is gone afterwards; where this fails it stays, and can be tried again.

        Raises:
            OSError: disk full and the like.
        """
        if partial.is_dir() and path.is_dir():
            path.rmdir()
        os.replace(partial, path)
        return Kept()

    def write(self, result: FrameResult) -> None:
        """Adds the next frame. Raises SinkError: disk full and the like; the sink is then closed."""
        if self._ended:
            raise ValueError(f"{self.path}: the sink is closed")
        with self._guarded():
            self._write(result)
            if self._text is not None:
                self._text.flush()
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
            with self._guarded(assembling=True):
                self.assemble(self._partial, self.path)

    def discard(self) -> None:
        """Leaves nothing behind."""
        self._ended = True
        with contextlib.suppress(Exception):
            self._handles.close()
        with contextlib.suppress(OSError):
            remove(self._partial)

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
        """The hidden file (or standard output) for lines of text."""
        if self._to_stdout:
            return sys.stdout
        with self._guarded():
            self._text = self._partial.open("w", encoding="utf-8", newline="")
        self._handles.callback(self._text.close)
        return self._text

    @contextlib.contextmanager
    def _guarded(self, *, assembling: bool = False) -> Iterator[None]:
        """A failure of the outside world ends the sink with one line; what was written before is kept."""
        try:
            yield
        except (OSError, av.error.FFmpegError) as error:
            if self._to_stdout and isinstance(error, BrokenPipeError):
                self.discard()
                raise  # the reader had enough: how that is told is the command's affair
            reason = error.strerror or str(error)
            later = self._keep_beginning(assembling=assembling)
            raise SinkError(f"{self.path}: cannot be written: {reason}{later}") from error

    def _keep_beginning(self, *, assembling: bool) -> str:
        """Saves what was written before a failure; what there is to say of it."""
        self._ended = True
        with contextlib.suppress(Exception):
            self._handles.close()
        if self._to_stdout or not self.frames_written:
            self.discard()
            return ""
        with contextlib.suppress(OSError, av.error.FFmpegError):
            if not assembling:
                self.assemble(self._partial, self.path)
                return ""
        return f"; when that is mended, sipvideo recover {self.path.parent} saves what was written"


def hidden(path: Path, ending: str = "partial") -> Path:
    """The name under which an output waits for its completion."""
    return path.with_name(f".{path.name}.{ending}")


def remove(path: Path) -> None:
    """Removes a file or a whole folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a file that may end in the middle of one, each with its place."""
    place = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield place, line
            place += len(line)


def cut_to_whole_lines(path: Path) -> None:
    """Cuts off the last line of a file where it is incomplete; needs no room."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < end:
            file.truncate(position)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden name to write to that becomes ``path`` at the end; gone where the writing fails."""
    new = hidden(path, "new")
    try:
        yield new
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
