"""FiftyOne's films with labels (its type ``FiftyOneVideoLabelsDataset``).

``manifest.json`` lists them, ``data/`` has the videos, ``labels/`` a JSON per video. Frames count from 1; boxes are
parts of the frame; a mask is a window of its box, packed as numpy stores it; ``index`` is the identity.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.annotations import MAX_PIXELS, Json, number, read_json, whole
from sipvideo.data.pictures import VideoFiles
from sipvideo.errors import DatasetError
from sipvideo.exchange.collection import Collection, Film, Shape, Size, Track, dense, encoded
from sipvideo.exchange.placing import PlacedFilm, Placer, file_name

MANIFEST = "manifest.json"
MOST_FRAMES = 10_000_000
_KIND = "eta.core.datasets.labeled_datasets.LabeledVideoDataset"
_OBJECT = "eta.core.objects.DetectedObject"
_CROWD = {"type": "eta.core.data.BooleanAttribute", "name": "iscrowd", "value": True}
_HEAD = 4096
"""Bytes that a mask may have beside its pixels."""


def read(folder: Path) -> Collection:
    """Reads a folder.

    Raises:
        DatasetError: it holds no such films, or one is damaged.
    """
    path = folder / MANIFEST if folder.is_dir() else folder
    content = read_json(path, "list of films")
    index = content.get("index") if isinstance(content, dict) else None
    if not isinstance(index, list) or content.get("type", _KIND) != _KIND:
        raise DatasetError(f"{path}: expected a list of FiftyOne's films with labels (index)")
    found, other = Collection({}, images=path.parent), 0
    for place, record in enumerate(index):
        movie, labels = (_inside(path, record, place, key) for key in ("data", "labels"))
        film, more = _film(movie, labels, found.classes)
        found.films.append(film)
        other += more
    if other:
        found.notes.append(f"{other} polylines, keypoints and the like are left out")
    return found


def _inside(manifest: Path, record: Any, place: int, key: str) -> Path:
    """A file of the folder that the manifest names."""
    name = record.get(key) if isinstance(record, dict) else None
    path = manifest.parent / str(name)
    if not isinstance(name, str) or not path.resolve().is_relative_to(manifest.parent.resolve()):
        raise DatasetError(f"{manifest}: index[{place}]: {key}: expected a file of this folder")
    return path


def _film(movie: Path, labels: Path, classes: dict[str, int]) -> tuple[Film, int]:
    """A film, and how much of it encloses nothing."""
    content = read_json(labels, "labels")
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, dict):
        raise DatasetError(f"{labels}: expected labels by frame (frames)")
    try:
        numbers = [whole(key, 1, MOST_FRAMES) for key in frames]
        size, count = _extent(content.get("metadata"), movie)
    except ValueError as error:
        raise DatasetError(f"{labels}: {error}") from error
    names = [str(k) for k in range(max([count, *numbers]))]
    film = Film(labels.stem, size, names, movie=movie if movie.is_file() else None)
    tracks: dict[tuple[str, int], Track] = {}
    other = 0
    for key, one in frames.items():
        other += sum(len(_items(one, kind)) for kind in ("polylines", "keypoints"))
        for place, item in enumerate(_items(one, "objects")):
            with _told(f"{labels}: frame {key}, object {place}"):
                _add(film, int(key) - 1, item, tracks, classes)
    return film, other


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{where}: {what}") from error


def _items(frame: Any, kind: str) -> list[Any]:
    inside = frame.get(kind) if isinstance(frame, dict) else None
    items = inside.get(kind) if isinstance(inside, dict) else None
    return items if isinstance(items, list) else []


def _extent(metadata: Any, movie: Path) -> tuple[Size, int]:
    """Size and number of frames, as the labels tell or the video shows."""
    if isinstance(metadata, dict) and metadata.get("frame_size"):
        width, height = (whole(side, 1, MAX_PIXELS) for side in metadata["frame_size"])
        if width * height >= MAX_PIXELS:
            raise ValueError(f"no video has {width} x {height} pixels")
        return (height, width), whole(metadata.get("total_frame_count") or 0, 0, MOST_FRAMES)
    videos = VideoFiles()
    height, width = videos.read(movie, 0).shape[:2]
    count = videos.count(movie)
    videos.close()
    return (height, width), count


def _add(
    film: Film,
    frame: int,
    item: Json,
    tracks: dict[tuple[str, int], Track],
    classes: dict[str, int],
) -> None:
    label = str(item["label"])
    classes.setdefault(label, len(classes) + 1)
    key = (label, whole(item["index"])) if item.get("index") is not None else None
    track = tracks.get(key) if key else None
    if track is None:
        track = Track(len(film.tracks) + 1, label)
        film.tracks.append(track)
        if key:
            tracks[key] = track
    attributes = item.get("attrs")
    if isinstance(attributes, dict):
        track.crowd |= any(one == _CROWD for one in attributes.get("attrs") or ())
    score = item.get("confidence")
    track.shapes[frame] = _shape(item, film.size, None if score is None else number(score))


def _shape(item: Json, size: Size, score: float | None) -> Shape:
    corners = item["bounding_box"]
    (x0, y0), (x1, y1) = (
        (number(corners[corner]["x"]) * size[1], number(corners[corner]["y"]) * size[0])
        for corner in ("top_left", "bottom_right")
    )
    if not (0 <= x0 < x1 <= size[1] + 0.5 and 0 <= y0 < y1 <= size[0] + 0.5):
        raise ValueError("bounding_box: expected corners from 0 to 1, the first above and left")
    if item.get("mask") is None:
        return Shape(None, (x0, y0, x1 - x0, y1 - y0), score)
    left, top, right, bottom = (round(v) for v in (x0, y0, x1, y1))
    shape = max(bottom - top, 1), max(right - left, 1)
    window = _unpacked(item["mask"])
    if window.shape != shape:
        window = np.asarray(
            cv2.resize(window, shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
        )
    mask = np.zeros(size, bool)
    inside = mask[top : top + shape[0], left : left + shape[1]]
    inside[:] = window[: inside.shape[0], : inside.shape[1]] > 0
    return Shape(encoded(mask), score=score)


def _unpacked(stored: Any) -> NDArray[np.uint8]:
    """The window of a mask, uint8 [h, w]: packed, or rows of booleans, as some versions of FiftyOne write it."""
    try:
        if isinstance(stored, list):
            window = np.asarray(stored)
        else:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(base64.b64decode(stored), MAX_PIXELS + _HEAD)
            window = np.load(io.BytesIO(content), allow_pickle=False)
        if window.ndim != 2 or not window.size or window.dtype.kind not in "bui":
            raise ValueError("it is no picture of numbers")
        return np.asarray(window > 0, np.uint8)
    except (binascii.Error, zlib.error, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"mask: cannot be unpacked: {error}") from error


def write(collection: Collection, folder: Path, placer: Placer | None) -> list[str]:
    """Writes it; returns what is lost, one line each.

    Raises:
        DatasetError: there are only still pictures.
    """
    films = [film for film in collection.films if not film.still]
    stills = len(collection.films) - len(films)
    if not films:
        raise DatasetError(
            "FiftyOne: these are still pictures: --to coco, which it reads as COCODetectionDataset"
        )
    (folder / "labels").mkdir()
    index, without = [], 0
    for film in films:
        name = file_name(film.name)
        video = folder / "data" / name
        placed = placer.place_film(film, video) if placer is not None else None
        if placed is None:
            without += 1
            numbers = list(range(len(film.frames)))
            placed = PlacedFilm(video.with_name(f"{name}.mp4"), numbers, film.size)
        labels = json.dumps(_labels(film, placed))
        (folder / "labels" / f"{name}.json").write_text(labels, encoding="utf-8")
        index.append({"data": f"data/{placed.path.name}", "labels": f"labels/{name}.json"})
    content = {"type": _KIND, "description": "", "index": index}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
    notes = []
    if without:
        notes.append(f"{without} films have no video here, which FiftyOne wants in data/")
    if stills:
        notes.append(f"{stills} still pictures are left out: --to coco, which FiftyOne reads, too")
    return notes


def _labels(film: Film, placed: PlacedFilm) -> Json:
    frames: Json = {}
    for frame, shown in enumerate(np.add(placed.numbers, 1).tolist()):
        found = [
            one for t, s in film.objects(frame) for one in _objects(t, s, film.size, placed.size)
        ]
        frames[str(shown)] = {"frame_number": shown}
        if found:
            frames[str(shown)]["objects"] = {"objects": found}
    height, width = placed.size
    about = {"frame_size": [width, height], "total_frame_count": max(placed.numbers) + 1}
    return {"metadata": about, "frames": frames}


def _objects(track: Track, shape: Shape, size: Size, shown: Size) -> Iterator[Json]:
    """An object of a film as FiftyOne has it, in pictures of the size ``shown``; none where its mask is empty."""
    about: Json = {"type": _OBJECT, "label": track.category or "object", "name": "detections"}
    about["index"] = track.id
    if shape.score is not None:
        about["confidence"] = shape.score
    if track.crowd:
        about["attrs"] = {"attrs": [_CROWD]}
    if shape.segmentation is None:
        if shape.box is None:
            return
        x, y, w, h = shape.box
        yield about | {"bounding_box": _box(x, y, x + w, y + h, shown)}
        return
    mask = dense(shape.segmentation, size)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    packed = io.BytesIO()
    np.save(packed, mask[top:bottom, left:right], allow_pickle=False)
    text = base64.b64encode(zlib.compress(packed.getvalue())).decode("ascii")
    yield about | {"bounding_box": _box(left, top, right, bottom, shown), "mask": text}


def _box(x0: float, y0: float, x1: float, y1: float, size: Size) -> Json:
    height, width = size
    return {
        "top_left": {"x": x0 / width, "y": y0 / height},
        "bottom_right": {"x": x1 / width, "y": y1 / height},
    }
