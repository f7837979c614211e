"""Work done in other programs: taken over into a run as edits, or as a run of its own."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from scipy.optimize import linear_sum_assignment

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError
from sipvideo.exchange import FORMATS, Collection, Film, Request, Track, read, recognised
from sipvideo.exchange.collection import rle
from sipvideo.masks import from_rles
from sipvideo.sinks import CocoRleLines
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.studio.document import Document
from sipvideo.studio.exporting import WRITTEN, as_collection, export_format
from sipvideo.studio.operations import label_of
from sipvideo.summary import Summary

MEETS = 0.5
"""Intersection over union from which two masks show one object."""
EQUAL = 0.98
"""Intersection over union from which nobody has changed a mask: formats round places of corners."""

Masks = Mapping[int, Mapping[int, Json]]
"""Masks by frame and by object."""


def read_film(path: Path, kind: str | None = None) -> tuple[Collection, Film, str]:
    """The film of a file or folder of another program: the collection, its only film, its format.

    Raises:
        DatasetError: it cannot be read, or holds several films.
    """
    kind = kind or recognised(path)
    if kind not in FORMATS or FORMATS[kind].read is None:
        readable = ", ".join(name for name, one in FORMATS.items() if one.read is not None)
        raise DatasetError(f"{kind}: no format that can be read; expected one of {readable}")
    found = read(Request(path), kind)
    films = [film for film in found.films if film.frames]
    if len(films) != 1:
        raise DatasetError(f"{path}: expected one film, got {len(films)}")
    return found, films[0], kind


def edits_of(
    document: Document, path: Path, kind: str | None = None
) -> tuple[list[Json], list[str]]:
    """Edits that make of a document what a file says, and notes for people.

    What the file says is compared with what the document would look like in that format: losses of the format are no
    edits.

    Args:
        document: the run with its edits.
        path: file or folder in another program's format, made from an export of the run.
        kind: its format; None: as it looks.

    Raises:
        DatasetError: it cannot be read, or is of another film.
    """
    collection, film, kind = read_film(path, kind)
    count, size = document.table.frame_count, document.table.size(0)
    if film.size != size or len(film.frames) > count:
        raise DatasetError(
            f"{path}: has {len(film.frames)} frames of {film.size[1]} x {film.size[0]}, the run {count} of"
            f" {size[1]} x {size[0]}"
        )
    with document.lock:
        now = as_collection(document).films[0]
        there = now if kind not in WRITTEN else _as_there(document, kind)
        found = _Comparison(document, film, there, now)
        return list(found.edits()), [*collection.notes, *found.notes]


def _as_there(document: Document, kind: str) -> Film:
    """The document as it looks after a way through the format."""
    with tempfile.TemporaryDirectory(prefix="sipvideo-") as name:
        folder = Path(name) / "there"
        folder.mkdir()
        export_format(document, folder, kind)
        return read_film(folder, kind)[1]


@dataclass(frozen=True)
class _Target:
    """What a track of the file becomes."""

    track: Track
    masks: Mapping[int, Json]
    identity: int
    fresh: bool


class _Comparison:
    """A film of a file against the document.

    Args:
        document: the run with its edits.
        film: what the file says.
        there: the document as the file's format has it.
        now: the document.
    """

    def __init__(self, document: Document, film: Film, there: Film, now: Film) -> None:
        self._document = document
        self.notes: list[str] = []
        new, old, exact = (_masks(one) for one in (film, there, now))
        lost = sum(
            shape.segmentation is None for track in film.tracks for shape in track.shapes.values()
        )
        if lost:
            self.notes.append(f"{lost} boxes without a mask are left out")
        # Objects of the format's way are those of the document that they cover: that way keeps no numbers.
        names = {key: own - 1 for key, own in _paired(_meetings(old, exact)).items()}
        self._old = {names[key]: masks for key, masks in _by_object(old).items() if key in names}
        self._classes = {names[one.id]: one.category for one in there.tracks if one.id in names}
        meetings = _meetings(new, old)
        self._met: dict[int, dict[int, int]] = defaultdict(dict)
        for frame, here in meetings.items():
            for key, (other, _) in here.items():
                if other in names:
                    self._met[key][frame] = names[other]
        own = {key: names[other] for key, other in _paired(meetings).items() if other in names}
        shapes = _by_object(new)
        self._targets = [
            _Target(track, shapes[track.id], own.get(track.id, -1), track.id not in own)
            for track in film.tracks
            if track.id in shapes
        ]

    def edits(self) -> Iterator[Json]:
        """Removals first, then identities, masks and classes."""
        claimed = {
            (frame, identity)
            for target in self._targets
            for frame, identity in self._met[target.track.id].items()
        }
        own = {one.identity: one for one in self._targets if not one.fresh}
        for identity, masks in self._old.items():
            gone = [f for f in masks if (f, identity) not in claimed]
            stay = own[identity].masks if identity in own else {}
            for first, last in _spans([f for f in gone if f not in stay]):
                yield {"op": "delete", "id": identity, "first": first, "last": last}
        moves = [self._moves(one) for one in self._targets]
        for removed, _ in moves:
            yield from removed
        for target, (_, moved) in zip(self._targets, moves, strict=True):
            yield from self._put(target, moved)

    def _moves(self, target: _Target) -> tuple[list[Json], dict[int, int]]:
        """Objects that the file gives to this track and the document to another identity: taken away there, and whose
        they were by frame."""
        moved = {
            frame: identity
            for frame, identity in self._met[target.track.id].items()
            if identity != target.identity
        }
        removed = []
        for identity in sorted(set(moved.values())):
            frames = [frame for frame, one in moved.items() if one == identity]
            for first, last in _spans(frames):
                removed.append({"op": "delete", "id": identity, "first": first, "last": last})
        return removed, moved

    def _put(self, target: _Target, moved: Mapping[int, int]) -> Iterator[Json]:
        """What the track has that its identity has not."""
        table, masks, identity = self._document.table, target.masks, target.identity
        before = self._old.get(identity, {})
        wanted = [f for f in sorted(masks) if f in moved or not _equal(masks[f], before.get(f))]
        exact = {f: self._exact(f, moved.get(f), masks[f]) for f in wanted}
        category, kind = target.track.category, dict[str, Any]()
        if target.fresh:
            kind = {"class": category} if category else {"label": 0}
            identity, first = table.new_id(), wanted.pop(0)
            yield {"op": "create", "id": identity, "frame": first, "mask": exact[first], **kind}
        else:
            kind = {"label": label_of(table, table.rows(identity))}
        if wanted:
            frames = [[frame, exact[frame]] for frame in wanted]
            yield {"op": "masks", "id": identity, "frames": frames, **kind}
        if not target.fresh and category and category != self._classes.get(identity):
            yield {"op": "relabel", "id": identity, "class": category}

    def _exact(self, frame: int, identity: int | None, mask: Json) -> Json:
        """The document's own mask where the file has it unchanged, given to somebody else."""
        if identity is None or not _equal(mask, self._old.get(identity, {}).get(frame)):
            return mask
        records = self._document.records(frame, 1)
        objects = next(records)["objects"]
        own: Json = next(one["segmentation"] for one in objects if one["track_id"] == identity)
        return own


def _masks(film: Film) -> dict[int, dict[int, Json]]:
    """By frame and track."""
    found: dict[int, dict[int, Json]] = defaultdict(dict)
    for track in film.tracks:
        for frame, shape in track.shapes.items():
            mask = rle(shape, film.size)
            if mask is not None and coco_mask.area(mask):
                found[frame][track.id] = mask
    return found


def _by_object(masks: Masks) -> dict[int, dict[int, Json]]:
    found: dict[int, dict[int, Json]] = defaultdict(dict)
    for frame, here in masks.items():
        for key, mask in here.items():
            found[key][frame] = mask
    return found


def _meetings(ones: Masks, others: Masks) -> dict[int, dict[int, tuple[int, float]]]:
    """Which object of the others each one shows, by frame, and the overlap; one to one in a frame."""
    found: dict[int, dict[int, tuple[int, float]]] = {}
    for frame, here in ones.items():
        there = others.get(frame, {})
        if not there:
            found[frame] = {}
            continue
        overlaps = _overlaps(list(here.values()), list(there.values()))
        rows, columns = linear_sum_assignment(-overlaps)
        mine, theirs = list(here), list(there)
        found[frame] = {
            mine[i]: (theirs[j], float(overlaps[i, j]))
            for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
            if overlaps[i, j] >= MEETS
        }
    return found


def _overlaps(ones: list[Json], others: list[Json]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = coco_mask.iou(ones, others, [0] * len(others))
    return found


def _paired(meetings: Mapping[int, Mapping[int, tuple[int, float]]]) -> dict[int, int]:
    """One to one over the whole film: those that meet in most frames, weighed by how well."""
    votes: dict[tuple[int, int], float] = defaultdict(float)
    for here in meetings.values():
        for one, (other, overlap) in here.items():
            votes[one, other] += overlap
    ones, others = (sorted({pair[side] for pair in votes}) for side in (0, 1))
    row, column = ({key: k for k, key in enumerate(keys)} for keys in (ones, others))
    table = np.zeros((len(ones), len(others)))
    for (one, other), weight in votes.items():
        table[row[one], column[other]] = weight
    rows, columns = linear_sum_assignment(-table)
    return {
        ones[i]: others[j]
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        if table[i, j] > 0
    }


def _equal(mask: Json, before: Json | None) -> bool:
    if before is None:
        return False
    return bool(mask["counts"] == before["counts"] or _overlaps([mask], [before])[0, 0] >= EQUAL)


def _spans(frames: list[int]) -> list[tuple[int, int]]:
    """First and last of each stretch of frames."""
    found: list[tuple[int, int]] = []
    for frame in sorted(frames):
        if found and frame == found[-1][1] + 1:
            found[-1] = found[-1][0], frame
        else:
            found.append((frame, frame))
    return found


MOST_FILES = 200_000
"""Files in an archive."""


def unpacked(path: Path, limit: int) -> Path:
    """A file, or what a zip holds: its only file, or the folder that has all of it.

    Raises:
        DatasetError: it is damaged, holds too much, or names that lead elsewhere.
    """
    if not zipfile.is_zipfile(path):
        return path
    folder = path.with_name("unpacked")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > limit:
                raise DatasetError(f"{path}: holds more than is taken")
            archive.extractall(folder)  # the library keeps names inside of the folder
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be unpacked: {error}") from error
    # Whatever is beside the annotations: an export's notes, folders that other programs put around them.
    while True:
        inside = [
            one for one in sorted(folder.iterdir()) if one.name not in ("notes.txt", "__MACOSX")
        ]
        if len(inside) != 1:
            return folder
        if inside[0].is_file():
            return inside[0]
        if inside[0].name in ("Annotations", "gt"):
            return folder
        folder = inside[0]


def import_run(path: Path, folder: Path, source: str = "", kind: str | None = None) -> list[str]:
    """Makes a run of what another program wrote; gives notes for people.

    Args:
        path: file or folder in the other program's format, with one film.
        folder: for the run; new or empty.
        source: the film's video or pictures; empty: where the format says.
        kind: its format; None: as it looks.

    Raises:
        DatasetError: it cannot be read, or holds several films.
        SinkError: the run cannot be written.
    """
    collection, film, kind = read_film(path, kind)
    folder.mkdir(parents=True, exist_ok=True)
    names, notes = list(collection.classes) or ["object"], list(collection.notes)
    summary = Summary(
        input=source or str(film.movie or ""), settings={"imported": [str(path), kind]}
    )
    identities = set[int]()
    with CocoRleLines(folder / "results.jsonl", names) as sink:
        for result in _results(film, names):
            sink.write(result)
            identities.update(result.track_ids.tolist())
            summary.count(len(result.track_ids), len(identities))
            summary.duration = result.frame.timestamp
    summary.state, summary.notes = "complete", notes
    summary.write(folder)
    return notes


def _results(film: Film, names: list[str]) -> Iterator[FrameResult]:
    """Its frames; track k is the identity k - 1."""
    masks = _masks(film)
    tracks = {track.id: track for track in film.tracks}
    fps = float(film.more.get("fps", 25.0))
    for frame, name in enumerate(film.frames):
        here = masks.get(frame, {})
        shapes: list[Any] = [tracks[key].shapes[frame] for key in here]
        scores = [1.0 if shape.score is None else float(shape.score) for shape in shapes]
        order = np.argsort(-np.array(scores), kind="stable").tolist()
        keys = [list(here)[k] for k in order]
        compact = from_rles([here[key] for key in keys], film.size)
        labels = [names.index(tracks[key].category or names[0]) for key in keys]
        found = Detections(
            boxes=compact.windows.astype(np.float32),
            scores=np.array([scores[k] for k in order], np.float32),
            labels=np.array(labels, np.int64),
            masks=compact,
            embeddings=np.zeros((len(keys), 0), np.float32),
        )
        second = film.seconds[frame] if film.seconds is not None else frame / fps
        image = np.broadcast_to(np.uint8(0), (*film.size, 3))
        ids = np.array([key - 1 for key in keys], np.int64)
        shown = "" if film.movie is not None else Path(name).name
        yield FrameResult(Frame(image, frame, second, shown), found, ids, 0.0)
