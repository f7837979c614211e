"""What a run holds without its masks, as columns of numbers, and where each frame's line begins.

Made in one pass over the results, a piece at a time, and kept in a hidden folder beside them until they change; hours
of video with a thousand identities are opened from there at once, and their masks read by seeking.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError
from sipvideo.results import FILES
from sipvideo.results_reader import SavedRun
from sipvideo.sinks.results import result_record
from sipvideo.studio.runs_of_masks import areas_of

CACHE = ".studio"
"""Folder beside the results for what can be made anew at any time."""

VERSION = 1
PIECE = 64
"""Lines that are looked at together."""

Progress = Callable[[float], None]
"""Is told which share is done, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Numbers of a run's F frames and N objects, frame after frame; only objects with an identity.

    Attributes:
        offsets: int64 [F], byte at which a frame's line begins.
        numbers: int64 [F], frame number in the source.
        times: float64 [F], seconds.
        sizes: int32 [F, 2], height and width.
        starts: int64 [F + 1], first object of each frame.
        places: int32 [N], which of its line's objects it is.
        ids, labels: int32 [N].
        scores: float32 [N].
        boxes: float32 [N, 4], x0, y0, x1, y1, frame pixels.
        areas: int32 [N], pixels of its mask.
    """

    offsets: NDArray[np.int64]
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    sizes: NDArray[np.int32]
    starts: NDArray[np.int64]
    places: NDArray[np.int32]
    ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    areas: NDArray[np.int32]

    @property
    def frames(self) -> NDArray[np.int32]:
        """int32 [N], the frame of each object."""
        return np.repeat(np.arange(len(self.offsets), dtype=np.int32), np.diff(self.starts))

    @property
    def fingerprint(self) -> str:
        """Tells runs apart by what they found, not by how it is written."""
        whole = hashlib.sha256()
        for column in (self.numbers, self.starts, self.ids, self.labels, self.boxes, self.areas):
            whole.update(np.ascontiguousarray(column).data)
        return whole.hexdigest()[:24]


class RunIndex:
    """A run's columns, made or taken from the hidden folder.

    Args:
        folder: of the run's results.
        progress: is told while they are made; not called where they are there.

    Attributes:
        lines: the file with a line of JSON for every frame.
        columns: the numbers.
        class_names: names in label order, as far as objects tell.
        fingerprint: of the columns.
        notes: lines for people about what is missing.

    Raises:
        DatasetError: there are no results, or they are damaged.
    """

    def __init__(self, folder: Path, progress: Progress = lambda share: None) -> None:
        self.folder = folder
        self._cache = folder / CACHE / "index"
        self.lines = folder / FILES["lines"]
        if not self.lines.is_file():
            self.lines = folder / CACHE / FILES["lines"]
        about = self._kept()
        if about is None:
            about = self._make(progress)
        self._made_of = about["key"]
        self.class_names: tuple[str, ...] = tuple(about["class_names"])
        self.fingerprint: str = about["fingerprint"]
        self.notes: list[str] = list(about["notes"])

    @property
    def is_current(self) -> bool:
        """Whether the results are still those that this was made of."""
        return bool(self._made_of == self._key())

    def records(self, first: int, count: int) -> Iterator[Json]:
        """The lines of ``count`` frames from the frame ``first`` on.

        Raises:
            DatasetError: the file was changed behind our back.
        """
        with self.lines.open("rb") as file:
            file.seek(int(self.columns.offsets[first]))
            try:
                for line in itertools.islice(file, count):
                    yield json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{self.lines}: was changed, open the run anew") from error

    def _key(self) -> list[Any]:
        """Changes with the results."""
        names = [FILES[kind] for kind in ("lines", "json", "csv", "parquet")]
        found = [
            (name, (self.folder / name).stat()) for name in names if (self.folder / name).is_file()
        ]
        return [VERSION, *([name, about.st_size, about.st_mtime_ns] for name, about in found)]

    def _kept(self) -> Json | None:
        """What is told of the columns in the hidden folder; None: there are none, or of other results."""
        try:
            about: Json = json.loads((self._cache / "about.json").read_text("utf-8"))
            if about["key"] != self._key() or not self.lines.is_file():
                return None
            arrays = {
                field.name: np.load(
                    self._cache / f"{field.name}.npy", mmap_mode="r", allow_pickle=False
                )
                for field in fields(Columns)
            }
        except (OSError, ValueError, LookupError, TypeError):
            return None
        self.columns = Columns(**arrays)
        return about

    def _make(self, progress: Progress) -> Json:
        key, notes = self._key(), list[str]()
        if self.lines.parent != self.folder:
            notes = self._write_lines()
        builder = _Builder(self.lines)
        total = max(self.lines.stat().st_size, 1)
        with _reading(self.lines) as file:
            while piece := list(itertools.islice(file, PIECE)):
                builder.add(piece)
                progress(builder.offset / total)
        self.columns = builder.columns()
        if builder.untracked:
            notes.append(f"{builder.untracked} objects without an identity are left out")
        about: Json = {
            "key": key,
            "class_names": builder.class_names,
            "fingerprint": self.columns.fingerprint,
            "notes": notes,
        }
        with contextlib.suppress(OSError):  # a folder that cannot be written: made anew each time
            self._keep(about)
        return about

    def _keep(self, about: Json) -> None:
        """The columns, whole or not at all; what tells of them comes last."""
        shutil.rmtree(self._cache, ignore_errors=True)
        self._cache.mkdir(parents=True)
        for field in fields(Columns):
            np.save(self._cache / f"{field.name}.npy", getattr(self.columns, field.name))
        partial = self._cache / "about.partial"
        partial.write_text(json.dumps(about), "utf-8")
        partial.replace(self._cache / "about.json")

    def _write_lines(self) -> list[str]:
        """Lines of a run that has only tracks; tells what had to be reckoned."""
        run = SavedRun(self.folder)
        partial = self.lines.with_suffix(".partial")
        try:
            self.lines.parent.mkdir(exist_ok=True)
            results = list(run.results())
            with partial.open("w", encoding="utf-8") as file:
                for result in results:
                    file.write(json.dumps(result_record(result, run.class_names)) + "\n")
            os.replace(partial, self.lines)
        except OSError as error:
            raise DatasetError(f"{self.lines}: cannot be written: {error.strerror}") from error
        return list(run.notes)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Iterable[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error


class _Builder:
    """Gathers columns, a few lines at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = self.untracked = self._count = 0
        self._names: dict[int, str] = {}
        self._frames: list[tuple[int, int, float, int, int, int]] = []
        self._parts: list[tuple[NDArray[Any], ...]] = []

    def add(self, lines: list[bytes]) -> None:
        """More lines.

        Raises:
            DatasetError: they are not as we write them.
        """
        objects: list[tuple[int, Json, tuple[int, int]]] = []
        for line in lines:
            where = f"{self._path}: line {len(self._frames) + 1}"
            try:
                objects += self._frame(json.loads(line))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                raise DatasetError(f"{where}: not as sipvideo writes it: {error}") from error
            self.offset += len(line)
        try:
            self._parts.append(_numbers(objects))
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            place = f"{self._path}: up to line {len(self._frames)}"
            raise DatasetError(f"{place}: not as sipvideo writes it: {error}") from error

    def _frame(self, record: Json) -> list[tuple[int, Json, tuple[int, int]]]:
        height, width = (int(side) for side in record["size"])
        number = int(record["frame"])
        if self._frames and number <= self._frames[-1][1]:
            raise ValueError(f"frame {number} comes after frame {self._frames[-1][1]}")
        found = record["objects"]
        tracked = [
            (k, one, (height, width)) for k, one in enumerate(found) if one["track_id"] is not None
        ]
        self.untracked += len(found) - len(tracked)
        self._count += len(tracked)
        seconds = float(record["timestamp"])
        self._frames.append((self.offset, number, seconds, height, width, self._count))
        for _, one, _ in tracked:
            self._names.setdefault(int(one["label"]), str(one.get("class_name", one["label"])))
        return tracked

    @property
    def class_names(self) -> list[str]:
        """In label order; a label that no object had is its number."""
        return [self._names.get(k, str(k)) for k in range(max(self._names, default=-1) + 1)]

    def columns(self) -> Columns:
        """All that was added.

        Raises:
            DatasetError: an identity is in a frame twice.
        """
        if not self._frames:
            raise DatasetError(f"{self._path}: holds no frame")
        offsets, numbers, times, heights, widths, ends = zip(*self._frames, strict=True)
        starts = np.concatenate(([0], np.array(ends, np.int64)))
        places, ids, labels, scores, boxes, areas = (
            np.concatenate(column) for column in zip(*self._parts, strict=True)
        )
        frames = np.repeat(np.arange(len(offsets)), np.diff(starts))
        order = np.lexsort((ids, frames))
        twice = (np.diff(ids[order]) == 0) & (np.diff(frames[order]) == 0)
        if twice.any():
            frame = numbers[frames[order][:-1][twice][0]]
            raise DatasetError(f"{self._path}: an identity is twice in frame {frame}")
        return Columns(
            offsets=np.array(offsets, np.int64),
            numbers=np.array(numbers, np.int64),
            times=np.array(times, np.float64),
            sizes=np.array([heights, widths], np.int32).T,
            starts=starts,
            places=places,
            ids=ids,
            labels=labels,
            scores=scores,
            boxes=boxes,
            areas=areas,
        )


def _numbers(objects: list[tuple[int, Json, tuple[int, int]]]) -> tuple[NDArray[Any], ...]:
    """Columns of a few objects, in the order of :class:`Columns`. Raises ValueError and its like."""
    boxes = np.array([one["bbox"] for _, one, _ in objects], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    ids = np.array([one["track_id"] for _, one, _ in objects], np.int32)
    labels = np.array([one["label"] for _, one, _ in objects], np.int32)
    scores = np.array([one["score"] for _, one, _ in objects], np.float32)
    if min(ids.min(initial=0), labels.min(initial=0)) < 0:
        raise ValueError("an identity or a label is below 0")
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError("a box or a score is no number")
    masks = [one["segmentation"] for _, one, _ in objects]
    for mask, (_, _, size) in zip(masks, objects, strict=True):
        if tuple(mask["size"]) != size:
            raise ValueError(f"a mask of {mask['size']} in a frame of {list(size)} pixels")
    pixels = np.array([height * width for _, _, (height, width) in objects], np.int64)
    areas = areas_of([mask["counts"] for mask in masks], pixels)
    places = np.array([k for k, _, _ in objects], np.int32)
    return places, ids, labels, scores, boxes.astype(np.float32), areas.astype(np.int32)
