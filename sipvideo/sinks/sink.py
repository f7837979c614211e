"""What every sink promises: results go in frame by frame, a complete file comes out, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, TypeVar

import av

from sipvideo.errors import SinkError
from sipvideo.structures import FrameResult

FORCE_EVERY = 2.0
"""Seconds between two times that a growing file is forced to the disk; it takes some ten milliseconds."""

AnySink = TypeVar("AnySink", bound="Sink")

Mark = dict[str, Any]
"""How far a sink was at a frame, plain values: ``frames`` written, ``sizes`` (bytes of each hidden file, by what is
added to its name), ``notes`` and ``memory`` (what it carries from frame to frame)."""


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

    :meth:`mark` says how far it is. A later run goes on from there: what the hidden files hold beyond the mark, which
    is given to the constructor, is cut off.

    Args:
        path: where the output will be.
        folder: it is a folder.
        stdout: there is no file.
        mark: of an earlier run, to go on from; None: begins anew.

    Attributes:
        path: where the output will be.
        frames_written: number of results taken so far.
        notes: lines for people about what was chosen, changed or left out; complete when the sink is closed.
        keep: the hidden files stay when the output is made of them: there is a checkpoint to go on from.
        stopped: the run has not come to its end.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        folder: bool = False,
        stdout: bool = False,
        mark: Mark | None = None,
    ) -> None:
        self.path = Path(path)
        self._to_stdout = stdout
        self.frames_written = 0
        self.notes: list[str] = []
        self.keep = self.stopped = False
        self._mark = mark
        self._handles = contextlib.ExitStack()
        self._text: IO[str] | None = None
        self._forced = time.monotonic()
        self._ended = False
        self._partial = hidden(self.path)
        if stdout:
            return
        with self._guarded():
            if mark is not None:
                self._take_up(mark, folder=folder)
                return
            if not folder and self.path.is_dir():
                raise SinkError(f"{self.path}: is a folder, expected a file name")
            if folder and self.path.exists() and (self.path.is_file() or os.listdir(self.path)):
                raise SinkError(f"{self.path}: exists already and is not an empty folder")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for part in parts(self._partial):
                remove(part)
            self._partial.mkdir() if folder else self._partial.touch()

    def _take_up(self, mark: Mark, *, folder: bool) -> None:
        """The hidden files as they were at the mark."""
        self.frames_written, self.notes = mark["frames"], list(mark["notes"])
        # Where the run was stopped, its output was made of what there was.
        if not folder:
            self.path.unlink(missing_ok=True)
        elif not self._partial.exists():
            os.replace(self.path, self._partial)
        for name in self._growing():
            file, size = f"{self._partial}{name}", mark["sizes"][name]
            if os.path.getsize(file) < size:
                raise SinkError(f"{self.path}: what was written of it before is not all there")
            os.truncate(file, size)

    @abstractmethod
    def _write(self, result: FrameResult) -> None:
        """Adds one frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Writes what is still to be written; afterwards the base closes ``_handles`` and assembles the output."""

    def _growing(self) -> tuple[str, ...]:
        """The hidden files that only grow, by what is added to the name of the hidden file or folder."""
        return () if self._partial.is_dir() else ("",)

    def _memory(self) -> dict[str, Any]:
        """What is carried from frame to frame beside the files: plain values and arrays."""
        return {}

    def mark(self) -> Mark:
        """How far it is: all that a later run needs to go on after the last frame. Raises SinkError."""
        with self._guarded():
            if self._text is not None:
                self._text.flush()
            files = {name: Path(f"{self._partial}{name}") for name in self._growing()}
            for file in files.values():
                to_disk(file)
            sizes = {name: file.stat().st_size for name, file in files.items()}
        memory = self._memory()
        notes = list(self.notes)
        return {"frames": self.frames_written, "sizes": sizes, "notes": notes, "memory": memory}

    def keeps(self, mark: Mark) -> bool:
        """Whether all up to a mark is on disk by now: encoders hold frames back. Completes the mark then."""
        return True

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """Makes the output at ``path`` of all that is whole in the hidden file, wherever its writing was cut off.

        The hidden file is gone afterwards, unless it is to be kept (a folder becomes the output itself); where this
        fails it stays, and can be tried again.

        Raises:
            OSError: disk full and the like.
        """
        if partial.is_dir():
            if path.is_dir():
                path.rmdir()
            os.replace(partial, path)
        elif not keep:
            to_disk(partial)  # or a power failure might keep the name, and not what it stands for
            os.replace(partial, path)
        else:
            with replacing(path) as new:
                _linked(partial, new)
        return Kept()

    def write(self, result: FrameResult) -> None:
        """Adds the next frame. Raises SinkError: disk full and the like; the sink is then closed."""
        if self._ended:
            raise ValueError(f"{self.path}: the sink is closed")
        with self._guarded():
            self._write(result)
            if self._text is not None:
                self._text.flush()
            self._force()
        self.frames_written += 1

    def _force(self) -> None:
        """Every two seconds what was written is forced to the disk, so that no more is lost when the power fails."""
        now = time.monotonic()
        if self._to_stdout or now < self._forced + FORCE_EVERY:
            return
        self._forced = now
        for file in parts(self._partial):
            if file.is_file():
                to_disk(file)

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
                self.assemble(self._partial, self.path, keep=self.keep)

    def discard(self) -> None:
        """Leaves nothing behind."""
        self._ended = True
        with contextlib.suppress(Exception):
            self._handles.close()
        with contextlib.suppress(OSError):
            for part in parts(self._partial):
                remove(part)

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
            mode = "w" if self._mark is None else "a"
            self._text = self._partial.open(mode, encoding="utf-8", newline="")
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
                self.assemble(self._partial, self.path, keep=self.keep)
                return ""
        return f"; when that is mended, sipvideo recover {self.path.parent} saves what was written"


def hidden(path: Path, ending: str = "partial") -> Path:
    """The name under which an output waits for its completion."""
    return path.with_name(f".{path.name}.{ending}")


def parts(partial: Path) -> list[Path]:
    """A hidden file, and those that were begun when a run went on with what cannot be added to."""
    found = [partial]
    while (part := Path(f"{partial}.{len(found)}")).exists():
        found.append(part)
    return found


def to_disk(path: Path) -> None:
    """Waits until what was written to a file is on the disk, not only with the operating system."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _linked(path: Path, new: Path) -> None:
    """A second name for a file; a copy where the file system knows no such names."""
    new.unlink(missing_ok=True)
    try:
        os.link(path, new)
    except OSError:
        shutil.copyfile(path, new)


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
        if new.is_file():
            to_disk(new)  # as in Sink.assemble
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
