"""Saved results read back: a run's folder as the frames with objects that were written.

Pictures are not among what a run saves for programs: frames are black until a source is laid under them.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.annotations import number, read_json, shown, to_rle, whole
from sipvideo.errors import DatasetError
from sipvideo.extras import absence
from sipvideo.masks import CompactMasks, from_rles
from sipvideo.results import FILES
from sipvideo.structures import Detections, FloatArray, Frame, FrameResult
from sipvideo.summary import Summary

Json = dict[str, Any]
Size = tuple[int, int]
FPS = 25.0
"""Frames per second where nothing tells their times."""


def source_of(folder: Path, asked: str | None = None) -> str | None:
    """What a run was made from, as it was named then, for whoever draws its pictures anew.

    Args:
        folder: of the run's results.
        asked: what somebody says it was made from, instead.

    Returns:
        None where it is not known, or where the run covered people: their uncovered pictures are not shown again.

    Raises:
        DatasetError: it covered people, and a source was asked for.
    """
    summary = Summary.read(folder)
    if summary is not None and summary.covered:
        if asked is not None:
            raise DatasetError(f"{folder}: was made with privacy, its source is not shown")
        return None
    return asked or ((summary.input or None) if summary else None)


def read_explanations(folder: str | Path) -> Iterator[Json]:
    """What the tracker told of each frame, as :class:`sipvideo.sinks.Explanations` wrote it.

    Raises:
        DatasetError: there is none, or it is damaged.
    """
    path = Path(folder) / FILES["explain"]
    if not path.is_file():
        raise DatasetError(
            f"{folder}: has no {path.name}; a run keeps the reasons for its identities with --save explain"
        )
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for place, line in enumerate(file, 1):
                with _at(f"{path}: line {place}"):
                    record = json.loads(line)
                    missing = {
                        "frame",
                        "timestamp",
                        "size",
                        "track_ids",
                        "boxes",
                        "scores",
                        "labels",
                    }
                    missing |= {"verdicts", "pairs", "reunions", "weights", "cut"}
                    missing -= record.keys()
                    if missing:
                        raise ValueError(f"{min(missing)} is missing")
                    yield record
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: is damaged: {error}") from error


class SavedRun:
    """What a run left in its folder.

    JSON lines hold everything. Otherwise masks come from the YouTube-VIS file, and times, boxes and the scores of
    single frames from the table beside it; frames without objects then have times reckoned from their neighbours.

    Args:
        folder: of one input's results.

    Attributes:
        folder: that folder.
        kinds: what was saved, keys of :data:`sipvideo.results.FILES`.
        source: see :func:`source_of`.
        covered: whether people were made unrecognisable in the run's pictures; None: not known.
        notes: lines for people about what is missing; complete after reading.
        class_names: names in label order, as far as objects tell; complete after reading.
        embeddings: what identities looked like is known.

    Raises:
        DatasetError: there are no results that can be read back.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DatasetError(f"{folder}: expected the folder of a run's results")
        self.kinds = tuple(kind for kind, name in FILES.items() if (self.folder / name).exists())
        if not {"lines", "json"} & set(self.kinds):
            raise DatasetError(
                f"{folder}: holds neither {FILES['lines']} nor {FILES['json']}, of which one is needed"
            )
        self.source = source_of(self.folder)
        summary = Summary.read(self.folder)
        self.covered = None if summary is None else summary.covered
        self.notes: list[str] = []
        self._names: dict[int, str] = {}
        self._looks = Looks.read(self.folder / FILES["appearance"])

    @property
    def embeddings(self) -> bool:
        """Whether what identities looked like is known."""
        return self._looks is not None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names in label order; a label that no object had is its number."""
        return tuple(self._names.get(k, str(k)) for k in range(max(self._names, default=-1) + 1))

    def results(self) -> Iterator[FrameResult]:
        """The frames in order; may be called again.

        Raises:
            DatasetError: a file is damaged; frames before the damage came first.
        """
        found = self._lines() if "lines" in self.kinds else self._tracks()
        for result in found:
            yield result if self._looks is None else self._looks.on(result)

    def on(self, frames: Iterable[Frame]) -> Iterator[FrameResult]:
        """The results with the pictures of their source, as far as both have a frame; its times are right."""
        results = self.results()
        result = next(results, None)
        for frame in frames:
            while result is not None and result.frame.index < frame.index:
                result = next(results, None)
            if result is None:
                return
            if result.frame.index == frame.index:
                if result.frame.size != frame.size:
                    raise DatasetError(
                        f"{self.folder}: frame {frame.index}: the results are of {result.frame.size}, the source has"
                        f" {frame.size} (height, width)"
                    )
                yield replace(result, frame=frame)

    def _lines(self) -> Iterator[FrameResult]:
        path = self.folder / FILES["lines"]
        with _reading(path, "rb") as file:
            last = -1
            for place, line in enumerate(file, 1):
                with _at(f"{path}: line {place}"):
                    result = self._frame(json.loads(line))
                    if result.frame.index <= last:
                        raise ValueError(f"frame {result.frame.index} comes after frame {last}")
                last = result.frame.index
                yield result

    def _frame(self, record: Json) -> FrameResult:
        result = frame_result(record)
        for one in record["objects"]:
            self._names.setdefault(whole(one["label"], 0), str(one.get("class_name", one["label"])))
        return result

    def _tracks(self) -> Iterator[FrameResult]:
        path = self.folder / FILES["json"]
        entries = read_json(path, "results")
        with _at(str(path)):
            tracks = [entry["segmentations"] for entry in entries]
            size = next((mask["size"] for track in tracks for mask in track if mask), None)
            if size is None:
                raise ValueError("holds no object: there is nothing to read back")
            length = max(map(len, tracks))
            rows = self._table(length, tracks) or self._without_table(entries)
            times = _times(rows, length)
            for index in range(length):
                here = [(k, rows[k, index]) for k in range(len(tracks)) if (k, index) in rows]
                masks = [tracks[k][index] for k, _ in here]
                yield self._of_rows([row for _, row in here], masks, (index, times[index], size))

    def _of_rows(
        self, rows: list[_Row], masks: list[Json], about: tuple[int, float, Any]
    ) -> FrameResult:
        index, second, (height, width) = about
        size = whole(height, 1), whole(width, 1)
        compact = _masks(masks, size)
        boxes = [compact.windows[k] if row.box is None else row.box for k, row in enumerate(rows)]
        found = Detections(
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            scores=np.array([row.score for row in rows], np.float32),
            labels=np.array([row.label for row in rows], np.int64),
            masks=compact,
            embeddings=np.zeros((len(rows), 0), np.float32),
        )
        filled = np.array([row.filled for row in rows], bool)
        ids = np.array([row.track_id for row in rows], np.int64)
        marks = filled if filled.any() else None
        away = np.array([row.returned for row in rows], np.float32)
        frame, returned = _black(index, second, size), away if away.any() else None
        result = FrameResult(frame, found, ids, 0.0, filled=marks, returned=returned)
        return result.selected(np.argsort(-found.scores, kind="stable"))

    def _table(self, length: int, tracks: list[list[Any]]) -> dict[tuple[int, int], _Row]:
        """What the table says of each track and frame; tracks stand in the order in which they first appear."""
        kind = next((kind for kind in ("csv", "parquet") if kind in self.kinds), None)
        if kind is None:
            return {}
        path, places, found = self.folder / FILES[kind], dict[int, int](), {}
        for count, fields in enumerate(_csv(path) if kind == "csv" else _parquet(path), 1):
            with _at(f"{path}: row {count}"):
                row = _Row.of(fields)
                place = places.setdefault(row.track_id, len(places))
                found[place, row.frame] = row
                self._names.setdefault(row.label, str(fields["class_name"]))
        masks = {(k, t) for k, track in enumerate(tracks) for t, mask in enumerate(track) if mask}
        if masks != set(found):
            raise DatasetError(f"{path}: does not tell of the objects that {FILES['json']} holds")
        return found

    def _without_table(self, entries: list[Json]) -> dict[tuple[int, int], _Row]:
        self.notes.append(
            f"{FILES['json']} has no table beside it: times are reckoned at {FPS:g} frames per second, every"
            " frame has its track's mean score, and boxes are those of the masks"
        )
        found = {}
        for k, entry in enumerate(entries):
            score, label = number(entry["score"]), whole(entry["category_id"], 1) - 1
            self._names.setdefault(label, str(label))
            for index, mask in enumerate(entry["segmentations"]):
                if mask:
                    found[k, index] = _Row(index, index / FPS, k, label, score, None)
        return found


@dataclass(frozen=True)
class _Row:
    """One object in one frame as a table tells it; box None: not known."""

    frame: int
    timestamp: float
    track_id: int
    label: int
    score: float
    box: list[float] | None
    filled: bool = False
    returned: float = 0.0

    @classmethod
    def of(cls, fields: Json) -> _Row:
        box = [float(fields[name]) for name in ("x0", "y0", "x1", "y1")]
        numbers = [int(fields[name]) for name in ("frame", "track_id", "label")]
        second, score = float(fields["timestamp"]), float(fields["score"])
        if min(numbers) < 0 or not np.isfinite([second, score, *box]).all():
            raise ValueError(f"expected numbers from 0 on, got {shown(fields)}")
        frame, track_id, label = numbers
        marks = bool(int(fields.get("filled") or 0)), float(fields.get("returned") or 0)
        return cls(frame, second, track_id, label, score, box, *marks)


@dataclass(frozen=True, eq=False)
class Looks:
    """Views of identities, as the sink of appearances wrote them, by identity and in order of time."""

    views: dict[int, tuple[NDArray[np.float64], NDArray[np.float32]]]
    size: int

    @classmethod
    def read(cls, path: Path) -> Looks | None:
        """None where nothing is known."""
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                ids, times, looks = file["track_id"], file["timestamp"], file["embedding"]
        except Exception:  # damaged archives end in errors of every type
            return None
        if looks.ndim != 2 or not len(looks) == len(ids) == len(times) or not len(ids):
            return None
        views = {}
        for track_id in np.unique(ids).tolist():
            rows = np.flatnonzero(ids == track_id)
            rows = rows[np.argsort(times[rows], kind="stable")]
            views[track_id] = times[rows].astype(np.float64), looks[rows].astype(np.float32)
        return cls(views, looks.shape[1])

    def on(self, result: FrameResult) -> FrameResult:
        """The result with what each object looked like in that second."""
        seconds = np.full(len(result.track_ids), result.frame.timestamp)
        looks = self.at(result.track_ids, seconds)
        return replace(result, detections=replace(result.detections, embeddings=looks))

    def at(self, track_ids: NDArray[np.int64], seconds: NDArray[np.float64]) -> FloatArray:
        """What identities [N] looked like at those times [N]: float32 [N, E], zeros where it is not known."""
        looks = np.zeros((len(track_ids), self.size), np.float32)
        for track_id in np.unique(track_ids).tolist():
            if track_id in self.views:
                times, known = self.views[track_id]
                rows = np.flatnonzero(track_ids == track_id)
                latest = np.searchsorted(times, seconds[rows] + 1e-9, "right") - 1
                looks[rows] = known[latest.clip(0)]
        return looks


def frame_result(record: Json) -> FrameResult:
    """One frame's objects from what :func:`sipvideo.sinks.results.result_record` made of them; its picture is black.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: it is not such a record.
    """
    height, width = (whole(side, 1) for side in record["size"])
    objects = record["objects"]
    boxes = [[number(v) for v in o["bbox"]] for o in objects]
    corners = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    quality = [o.get("mask_score") for o in objects]
    filled = np.array([o.get("filled") is True for o in objects], bool)
    found = Detections(
        boxes=np.array(corners, np.float32).reshape(-1, 4),
        scores=np.array([number(o["score"]) for o in objects], np.float32),
        labels=np.array([whole(o["label"], 0) for o in objects], np.int64),
        masks=_masks([o["segmentation"] for o in objects], (height, width)),
        embeddings=np.zeros((len(objects), 0), np.float32),
        mask_scores=None if None in quality or not quality else np.array(quality, np.float32),
    )
    away = np.array([number(o.get("returned", 0)) for o in objects], np.float32)
    ids = [-1 if o["track_id"] is None else whole(o["track_id"], 0) for o in objects]
    name, index = str(record.get("name", "")), whole(record["frame"], 0)
    frame = _black(index, number(record["timestamp"]), (height, width), name)
    carried = record.get("carried") is True
    marks = filled if filled.any() else None
    returned = away if away.any() else None
    return FrameResult(frame, found, np.array(ids, np.int64), 0.0, carried, marks, returned)


@contextlib.contextmanager
def _at(where: str) -> Iterator[None]:
    """Whatever is wrong with a file's values becomes one line that says where."""
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{where}: {error} is missing") from error
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise DatasetError(f"{where}: not as sipvideo writes it: {error}") from error


def _reading(path: Path, mode: str = "r") -> Any:
    try:
        return path.open("rb") if mode == "rb" else path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from error


def _csv(path: Path) -> Iterator[Json]:
    with _reading(path) as file:
        try:
            yield from csv.DictReader(file)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: not as sipvideo writes it: {error}") from error


def _parquet(path: Path) -> Iterator[Json]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(f"{path}: {absence('pyarrow')}") from error
    try:
        yield from pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error


def _masks(segmentations: list[Any], size: Size) -> CompactMasks:
    return from_rles([to_rle(segmentation, size) for segmentation in segmentations], size)


def _black(index: int, second: float, size: Size, name: str = "") -> Frame:
    """A frame without a picture; takes no memory."""
    return Frame(np.broadcast_to(np.uint8(0), (*size, 3)), index, second, name)


def _times(rows: dict[tuple[int, int], _Row], length: int) -> list[float]:
    """The time of every frame; those without objects lie evenly between their neighbours."""
    known = sorted({(row.frame, row.timestamp) for row in rows.values()})
    frames, seconds = np.array(known, np.float64).T
    step = (
        (seconds[-1] - seconds[0]) / max(frames[-1] - frames[0], 1) if len(known) > 1 else 1 / FPS
    )
    at = np.arange(length)
    times = np.interp(at, frames, seconds)
    times += np.minimum(at - frames[0], 0) * step + np.maximum(at - frames[-1], 0) * step
    result: list[float] = times.tolist()
    return result
