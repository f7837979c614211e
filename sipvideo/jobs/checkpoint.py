"""Checkpoints: what a long run knew after a frame and how far its results were on disk, to go on from there.

The file is hidden beside the results and replaced as a whole: a line with the version and a sum of the rest, a line of
JSON, then the bytes of the arrays that it refers to. It holds no code, and no picture of the input.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sipvideo import __version__, machine
from sipvideo.errors import SipVideoError
from sipvideo.results import Results
from sipvideo.sinks.sink import Mark, to_disk
from sipvideo.sources import Place, Source
from sipvideo.summary import CHECKPOINT, writable

if TYPE_CHECKING:
    from sipvideo.jobs.job import Job
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Frame

MAGIC = b"sipvideo checkpoint 1 "
ARRAY = "array"
"""Key of what stands for an array in the JSON: type, shape, place of its bytes."""
NUMBERS = "biufc"
"""Kinds of array types that are read: nothing but numbers."""

ELSEWHERE = "folder name upload ahead stdout strict notes patience send resume checkpoint".split()
"""Fields of a job that may be others when it goes on: they do not decide what its results are."""

UNFIT = (SipVideoError, OSError, LookupError, TypeError, ValueError, AttributeError)
"""What going on from a checkpoint that does not fit ends in."""


class UnfitError(SipVideoError):
    """A run cannot go on from a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a run was after a frame.

    Attributes:
        fits: what has to be the same for another run to go on, plain values.
        place: of the frame in the source.
        memory: what every stage knew after it, see :class:`sipvideo.structures.FrameResult`.
        marks: how far each result was.
        summary: what the summary counts and tells.
        identities: int64 [K], all so far.
        first: timestamp of the first frame.
    """

    fits: dict[str, Any]
    place: Place
    memory: dict[str, Any]
    marks: dict[str, Mark]
    summary: dict[str, Any]
    identities: NDArray[np.int64]
    first: float

    def write(self, folder: Path) -> None:
        """Writes it to the disk: whole, or not at all. Raises OSError."""
        arrays = bytearray()
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        text = json.dumps(_plain(content | {"place": asdict(self.place)}, arrays))
        body = text.encode() + b"\n" + arrays
        partial = folder / f"{CHECKPOINT}.partial"
        partial.write_bytes(MAGIC + b"%08x\n" % zlib.crc32(body) + body)
        to_disk(partial)
        os.replace(partial, folder / CHECKPOINT)

    @classmethod
    def read(cls, folder: Path, fits: Mapping[str, Any]) -> Checkpoint | None:
        """The checkpoint in a folder; None: there is none.

        Raises:
            UnfitError: it is damaged, or of a run that had other settings.
        """
        try:
            head, _, body = (folder / CHECKPOINT).read_bytes().partition(b"\n")
        except OSError:
            return None
        try:
            if head != MAGIC + b"%08x" % zlib.crc32(body):
                raise ValueError("damaged")
            text, _, arrays = body.partition(b"\n")
            content = _full(json.loads(text), arrays)
            found = cls(**content | {"place": Place(**content["place"])})
            others = differences(
                found.fits, _full(json.loads(json.dumps(_plain(fits, bytearray()))), b"")
            )
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise UnfitError("the checkpoint is damaged, or of another version") from error
        if others:
            raise UnfitError(f"other than when it was cut off: {', '.join(others)}")
        return found


def fitting(job: Job, segmenter: VideoSegmenter) -> dict[str, Any]:
    """What has to be the same for a run to be gone on with."""
    engine = segmenter.engine
    same = {f.name: getattr(job, f.name) for f in fields(job) if f.name not in ELSEWHERE}
    same |= {"settings": writable(job.settings), "showing": job.showing.model_dump(mode="json")}
    versions = {"version": __version__, "FFmpeg": machine.ffmpeg_version()}
    about = {"engine": f"{engine.model} {engine.about}", "classes": segmenter.class_names}
    return {**same, **versions, **about}


def take_up(
    point: Checkpoint, source: Source, segmenter: VideoSegmenter, results: Results
) -> Iterator[Frame]:
    """Sets everything as it was at a checkpoint; the frames that follow.

    Raises:
        UnfitError: that is not possible; whatever was set already, a new run sets anew.
    """
    try:
        frames = source.frames_from(point.place)
        segmenter.restore(point.memory, next(frames))
        results.go_on(point.marks)
    except UNFIT as error:
        raise UnfitError(str(error).partition("\n")[0]) from error
    return frames


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of what is not the same in two plain values."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [d for key in keys for d in differences(one.get(key), other.get(key), key)]
    return [] if one == other else [name]


class Checkpoints:
    """Takes the checkpoints of a run.

    A checkpoint is asked for in the thread that segments (:meth:`due`), taken when its frame is written (:meth:`take`),
    and put down once all results up to there are on disk (:meth:`settle`): encoders hold frames back.

    Args:
        folder: of the results.
        seconds: of wall time between two checkpoints.

    Attributes:
        count: number of checkpoints that were written.
    """

    def __init__(self, folder: Path, seconds: float) -> None:
        self._folder, self._seconds = folder, seconds
        self._next = time.monotonic() + seconds
        self._taken: Checkpoint | None = None
        self.count = 0

    def due(self) -> bool:
        """Whether the next result shall come with what is known after it; once for each checkpoint."""
        if time.monotonic() < self._next:
            return False
        self._next = math.inf
        return True

    def take(self, checkpoint: Checkpoint) -> None:
        """Takes what a frame that was written came with."""
        self._taken = checkpoint

    def settle(self, results: Results) -> None:
        """After each frame: writes the checkpoint that was taken if all up to there is on disk."""
        if self._taken is None or not results.keep(self._taken.marks):
            return
        with contextlib.suppress(
            OSError
        ):  # a disk that is full ends the run elsewhere, with what there is
            self._taken.write(self._folder)
            self.count += 1
        self._taken, self._next = None, time.monotonic() + self._seconds


def _plain(value: Any, arrays: bytearray) -> Any:
    """A value for JSON; the bytes of arrays are put aside."""
    if isinstance(value, np.ndarray):
        place = len(arrays)
        arrays += np.ascontiguousarray(value).tobytes()
        return {ARRAY: [value.dtype.str, list(value.shape), place]}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): _plain(one, arrays) for key, one in value.items()}
    if isinstance(value, str | int | float | None):
        return value
    return [_plain(one, arrays) for one in value]


def _full(value: Any, arrays: bytes) -> Any:
    """The value that :func:`_plain` was given."""
    if isinstance(value, list):
        return [_full(one, arrays) for one in value]
    if not isinstance(value, dict):
        return value
    if value.keys() != {ARRAY}:
        return {key: _full(one, arrays) for key, one in value.items()}
    name, shape, place = value[ARRAY]
    kind = np.dtype(name)
    if kind.kind not in NUMBERS:
        raise ValueError(f"expected numbers, got {kind}")
    return np.ndarray(shape, kind, arrays, place).copy()
