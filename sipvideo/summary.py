"""What became of one input: saved beside its results when it ends, and in a hidden, locked file while it is in work.

A folder with a summary is finished. A folder with a hidden one that nobody holds belongs to a run that was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any, Literal

from pydantic import BaseModel, Field

from sipvideo.errors import SinkError

SUMMARY = "summary.json"
"""Marks the folder as ours and says how the run ended."""

MARK = ".running"
"""As long as a run writes into the folder; whoever finds it unlocked knows that the run was killed."""

CHECKPOINT = ".checkpoint"
"""From where a run that was cut off goes on, see :mod:`sipvideo.jobs.checkpoint`."""

VERSION = 2

State = Literal["running", "complete", "failed", "interrupted", "recovered"]


class Summary(BaseModel):
    """How a run over one input ended, or how far it is.

    Attributes:
        version: of this form; files of version 1 had none.
        input: as it was named.
        state: running, complete, failed, interrupted (Ctrl-C), recovered (of a run that was killed).
        problem: the first error's line.
        notes: what was chosen, changed or left out on the way, one line each.
        begun: local time with its zone.
        frames: in the results.
        objects: with an identity, sum over all frames; None: not counted.
        identities: number of different ones; None: not counted.
        seconds: wall time from opening to saving.
        duration: seconds from the first frame to the last, on the source's clock.
        dropped: frames of a live source that could not be saved.
        resumed: how often it was cut off and went on from a checkpoint; ``seconds`` are those of all its runs.
        settings: what determines the results: equal settings, equal results.
        covered: whether people were made unrecognisable in its pictures (see :mod:`sipvideo.veil`); None: not known.
        files: bytes of each file or folder of results, by name.
        checksums: SHA-256 of each, of a folder over the names and checksums of its files; see :func:`checksum`.
    """

    version: int = VERSION
    input: str
    state: State = "running"
    problem: str = ""
    notes: list[str] = []
    begun: str = Field(
        default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime())
    )
    frames: int = 0
    objects: int | None = 0
    identities: int | None = 0
    seconds: float = 0.0
    duration: float = 0.0
    dropped: int = 0
    resumed: int = 0
    settings: dict[str, Any] = {}
    covered: bool | None = None
    files: dict[str, int] = {}
    checksums: dict[str, str] = {}

    def count(self, objects: int, identities: int) -> None:
        """One more frame is saved, with so many tracked objects; so many identities were seen so far."""
        self.frames += 1
        self.objects = (self.objects or 0) + objects
        self.identities = identities

    def text(self) -> str:
        """As JSON."""
        return json.dumps(writable(self.model_dump()), indent=2, ensure_ascii=False) + "\n"

    @property
    def fps(self) -> float:
        """Frames per second of wall time."""
        return self.frames / self.seconds if self.seconds else 0.0

    @classmethod
    def read(cls, folder: Path, name: str = SUMMARY) -> Summary | None:
        """The summary of a folder; None where there is none that can be read."""
        try:
            return cls.parse((folder / name).read_bytes())
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    @classmethod
    def parse(cls, data: bytes) -> Summary:
        """What :meth:`text` wrote. Raises ValueError, TypeError or RecursionError for anything else."""
        content = json.loads(data)
        if isinstance(content, dict) and "version" not in content:
            content = _of_version_1(content)
        return cls.model_validate(content)

    def write(self, folder: Path) -> None:
        """Writes it: whole, or not at all.

        Raises:
            SinkError: it cannot be written; the former one is gone then, for it tells of other results.
        """
        path, partial = folder / SUMMARY, folder / f".{SUMMARY}.partial"
        try:
            partial.write_text(self.text(), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            for file in (partial, path):
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
            raise SinkError(f"{path}: cannot be written: {error.strerror}") from error


def checksum(path: Path) -> str:
    """SHA-256 of a file's content, of a folder over lines ``NAME CHECKSUM`` of its files by name."""
    if path.is_dir():
        lines = (f"{one.name} {checksum(one)}\n" for one in sorted(path.iterdir()))
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def writable(value: Any) -> Any:
    """The same for texts that UTF-8 can hold; names of other encodings get escapes, and lists take tuples' place."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {writable(key): writable(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [writable(one) for one in value]
    return value


def _of_version_1(old: dict[str, Any]) -> dict[str, Any]:
    """Summaries without a version: of inputs, and of recordings, whose seconds were those of the film."""
    new = {"version": 1, "begun": "", "objects": None, "identities": old.get("tracks"), **old}
    if "dropped" in old:
        new |= {"duration": old.get("seconds", 0.0), "seconds": 0.0}
    return new


class RunMark:
    """The hidden summary of a run that is in work, locked by its process.

    Args:
        folder: of its results; made if need be.
        patience: seconds to wait for another run there, which may be about to end.

    Raises:
        SinkError: another run writes into the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, patience: float = 0.0) -> None:
        self.path = folder / MARK
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = locked(self.path, patience)
        except OSError as error:
            raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error

    def write(self, summary: Summary) -> None:
        """Says what is in work; losing that to a full disk loses no result."""
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.truncate()
            self._file.write(summary.text().encode())
            self._file.flush()

    def release(self, *, keep: bool = False) -> None:
        """The run has ended; ``keep``: there is something to recover. May be called twice."""
        if not keep:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)
        self._file.close()


def locked(path: Path, patience: float = 0.0) -> IO[bytes]:
    """The file, open and locked until it is closed, or its process ends in whatever way.

    Raises:
        SinkError: another process holds it, still so after ``patience`` seconds.
        OSError: it cannot be opened.
    """
    deadline = time.monotonic() + patience
    while True:
        file = path.open("a+b")
        try:
            _lock(file)
            # The run that held it may have removed it meanwhile.
            if os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except BlockingIOError:
            file.close()
            if time.monotonic() >= deadline:
                raise SinkError(f"{path.parent}: another run is writing there") from None
            time.sleep(0.05)
            continue
        except BaseException:
            file.close()
            raise
        file.close()


def _lock(file: IO[bytes]) -> None:
    """Raises BlockingIOError where another process holds it. File systems that know no locks do without."""
    for module in _lockers():
        with _unless_unknown():
            if module.__name__ == "fcntl":
                module.flock(file, module.LOCK_EX | module.LOCK_NB)
            else:
                file.seek(1 << 30)  # beyond the content, which others may read
                module.locking(file.fileno(), module.LK_NBLCK, 1)


@contextlib.contextmanager
def _unless_unknown() -> Iterator[None]:
    try:
        yield
    except PermissionError as error:  # how Windows says it
        raise BlockingIOError from error
    except BlockingIOError:
        raise
    except OSError:
        return


def _lockers() -> Iterator[ModuleType]:
    """The module for locks that this system has."""
    for name in ("fcntl", "msvcrt"):
        with contextlib.suppress(ImportError):
            yield __import__(name)
            return
