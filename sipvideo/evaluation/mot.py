"""Tracks in the forms of the MOT and MOTS challenges, read so that any benchmark in them can be scored.

Boxes are text, ``frame,id,x,y,width,height,confidence,class,visibility`` (the last three may be missing); masks are
text, ``frame id class height width rle``, or one 16-bit picture per frame in which a pixel is 1000 * class + instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco_mask

from sipvideo.annotations import Json, number, to_rle, whole
from sipvideo.errors import DatasetError
from sipvideo.evaluation.tracking import TrackingReport, evaluate_tracking
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.masks import CompactMasks

IGNORED = 10000
"""Pixels and objects of this id are no objects but where nothing is scored, in MOTS."""
IGNORED_CLASS = 10
MOST_FRAMES = 1_000_000
LABELS = "labels.txt"
"""Names of classes beside texts of sequences, one per line."""


@dataclass(eq=False)
class MotTrack:
    """One object of a sequence.

    Attributes:
        category: its class; 0: not told.
        shapes: by frame number, a compressed RLE, or a box x, y, width, height in pixels.
        scores: of the frames, where they are told.
    """

    category: int
    shapes: dict[int, Any] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)


@dataclass(eq=False)
class MotSequence:
    """One video.

    Attributes:
        name: of the sequence.
        kind: "segm" or "bbox".
        tracks: by id.
        ignored: rows or pixels that are marked as not to be scored, which were left out.
    """

    name: str
    kind: str
    tracks: dict[int, MotTrack] = field(default_factory=dict)
    ignored: int = 0

    def add(self, track_id: int, category: int, frame: int, shape: Any) -> MotTrack:
        """One object in one frame.

        Raises:
            ValueError: it is there already.
        """
        track = self.tracks.setdefault(track_id, MotTrack(category))
        if frame in track.shapes:
            raise ValueError(f"id {track_id} is twice in frame {frame}")
        track.shapes[frame] = shape
        return track


def read_sequences(path: str | Path) -> dict[str, MotSequence]:
    """The sequences of a text file, or of a folder: ``SEQUENCE/gt/gt.txt``, ``SEQUENCE.txt``, or PNGs per sequence.

    Raises:
        DatasetError: there are none, or one is damaged.
    """
    path = Path(path)
    if path.is_file():
        nested_in = path.parts[-2:] == ("gt", "gt.txt")
        name = path.parent.parent.name if nested_in else path.stem
        return {name: _read_text(path, name)}
    if not path.is_dir():
        raise DatasetError(f"{path}: no such file or folder")
    nested = sorted(path.glob("*/gt/gt.txt"))
    if nested:
        return {text.parts[-3]: _read_text(text, text.parts[-3]) for text in nested}
    texts = sorted(one for one in path.glob("*.txt") if one.name != LABELS)
    if texts:
        return {text.stem: _read_text(text, text.stem) for text in texts}
    if any(path.glob("*.png")):
        return {path.name: _read_pictures(path)}
    folders = [one for one in sorted(path.iterdir()) if one.is_dir() and any(one.glob("*.png"))]
    if not folders:
        raise DatasetError(f"{path}: holds neither text files nor PNGs of tracks")
    return {one.name: _read_pictures(one) for one in folders}


def score_sequences(
    truth: Mapping[str, MotSequence],
    found: Mapping[str, MotSequence],
    score_threshold: float = 0.0,
) -> TrackingReport:
    """HOTA and its relatives of tracks against the truth; classes count only where both sides tell them.

    Args:
        truth: by name.
        found: the same; a single sequence is compared with a single one whatever their names.
        score_threshold: least mean score of a track that counts; tracks without scores always do.

    Raises:
        DatasetError: a sequence has no results, or one side has boxes and the other masks.
    """
    if len(truth) == len(found) == 1:
        found = dict(zip(truth, found.values(), strict=True))
    missing = sorted(truth.keys() - found.keys())
    if missing:
        raise DatasetError(f"there are no results of sequence {missing[0]}")
    kinds = {one.kind for one in (*truth.values(), *(found[name] for name in truth))}
    if len(kinds) > 1:
        raise DatasetError("one side has boxes and the other has masks")
    sides = [
        [one for name in truth for one in side[name].tracks.values()] for side in (truth, found)
    ]
    classes = all(track.category for side in sides for track in side)
    content: Json = {"videos": [], "categories": [], "annotations": []}
    results: list[Json] = []
    used = {1} if not classes else {track.category for side in sides for track in side}
    content["categories"] = [{"id": c, "name": f"class {c}"} for c in sorted(used)]
    for number_, name in enumerate(truth, 1):
        length = _length(truth[name], found[name])
        content["videos"].append({"id": number_, "length": length, "file_names": [name] * length})
        for entry in _entries(truth[name], number_, length, classes):
            about = {"id": len(content["annotations"]) + 1, "iscrowd": 0}
            content["annotations"].append(entry | about)
        results += _entries(found[name], number_, length, classes)
    real = YTVOS(content)
    return evaluate_tracking(real, real.loadRes(results), score_threshold, min(kinds))


def _length(*sequences: MotSequence) -> int:
    frames = [max(t.shapes) for one in sequences for t in one.tracks.values()]
    return max(frames, default=0) + 1


def _entries(sequence: MotSequence, video: int, length: int, classes: bool) -> Iterator[Json]:
    """The tracks as YouTube-VIS has them."""
    key = "segmentations" if sequence.kind == "segm" else "bboxes"
    for track in sequence.tracks.values():
        shapes = [track.shapes.get(frame) for frame in range(length)]
        score = float(np.mean(track.scores)) if track.scores else 1.0
        about = {"video_id": video, "category_id": track.category if classes else 1}
        yield {**about, "score": score, key: shapes, "areas": _areas(shapes, sequence.kind)}


def _areas(shapes: list[Any], kind: str) -> list[float | None]:
    if kind == "bbox":
        return [box[2] * box[3] if box else None for box in shapes]
    return [float(coco_mask.area(rle)) if rle else None for rle in shapes]


def _read_text(path: Path, name: str) -> MotSequence:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    first = next((line for line in lines if line.strip()), "")
    boxes = "," in first
    sequence = MotSequence(name, "bbox" if boxes or not first else "segm")
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            _add_box(sequence, line.split(",")) if boxes else _add_mask(sequence, line.split())
        except ValueError as error:
            raise DatasetError(f"{path}: line {place}: {error}") from error
    return sequence


def _add_box(sequence: MotSequence, fields: list[str]) -> None:
    if len(fields) < 6:
        raise ValueError(f"expected frame,id,x,y,width,height and more, got {len(fields)} fields")
    frame, track_id = whole(fields[0], 0, MOST_FRAMES), whole(fields[1])
    box = [float(number(value)) for value in fields[2:6]]
    confidence = float(number(fields[6])) if len(fields) > 6 else -1.0
    category = max(whole(fields[7]), 0) if len(fields) > 7 else 0
    if len(fields) == 9 and confidence == 0:  # only annotations have nine fields
        sequence.ignored += 1
        return
    if min(box[2:]) < 0:
        raise ValueError(f"expected a width and height of at least 0, got {box[2]:g} x {box[3]:g}")
    track = sequence.add(track_id, category, frame, box)
    if len(fields) != 9 and confidence >= 0:
        track.scores.append(confidence)


def _add_mask(sequence: MotSequence, fields: list[str]) -> None:
    if len(fields) != 6:
        raise ValueError(f"expected frame id class height width rle, got {len(fields)} fields")
    frame, track_id, category = (
        whole(fields[0], 0, MOST_FRAMES),
        whole(fields[1], 0),
        whole(fields[2], 0),
    )
    size = whole(fields[3], 1), whole(fields[4], 1)
    rle = to_rle({"size": list(size), "counts": fields[5]}, size)
    if category == IGNORED_CLASS or track_id == IGNORED:
        sequence.ignored += 1
    else:
        sequence.add(track_id, category, frame, rle)


def _read_pictures(folder: Path) -> MotSequence:
    """Frames are numbered by the names of their files, else by their order."""
    sequence = MotSequence(folder.name, "segm")
    paths = sorted(folder.glob("*.png"))
    numbered = all(path.stem.isdecimal() and int(path.stem) < MOST_FRAMES for path in paths)
    for place, path in enumerate(paths):
        values = numbers_of(path)
        frame = int(path.stem) if numbered else place
        for value in np.unique(values).tolist():
            if value == IGNORED:
                sequence.ignored += 1
            elif value:
                mask = CompactMasks.from_dense((values == value)[None])
                sequence.add(int(value), int(value) // 1000, frame, mask.rle(0))
    return sequence


def numbers_of(path: Path) -> NDArray[np.int64]:
    """The picture of a frame in which a pixel is the number of its object, int64 [H, W].

    Raises:
        DatasetError: it cannot be read, or has colours.
    """
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    if values.ndim != 2:
        raise DatasetError(f"{path}: expected one number per pixel, got a coloured picture")
    return values.astype(np.int64)
