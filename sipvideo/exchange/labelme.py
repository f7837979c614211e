"""LabelMe: one JSON file per picture beside it. Objects are polygons with a label; ``group_id`` joins the parts of one
object, and, where a folder is a film, the frames of one identity."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.annotations import (
    MAX_PIXELS,
    Json,
    number,
    read_json,
    read_segmentation,
    shown,
    whole,
)
from sipvideo.errors import DatasetError
from sipvideo.exchange.collection import Collection, Film, Shape, Size, Track, dense, encoded
from sipvideo.exchange.placing import Placer, file_name
from sipvideo.exchange.polygons import Polygons
from sipvideo.files import natural
from sipvideo.pictures import PictureError, decode

VERSION = "5.5.0"
"""LabelMe's, whose layout this is."""


def find(folder: Path) -> list[Path]:
    """Files in the folder and in those in it, with pictures' names, that may be LabelMe's."""
    files = (*folder.glob("*.json"), *folder.glob("*/*.json"))
    return sorted((path for path in files if _is_ours(path)), key=natural)


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read(folder: Path) -> Collection:
    """Reads a folder: its own files are pictures; those of each folder in it are the frames of a film if identities
    go through several of them, else pictures too.

    Raises:
        DatasetError: there are none, or one is damaged.
    """
    files = find(folder)
    if not files:
        raise DatasetError(f"{folder}: holds no files of LabelMe")
    found, other = Collection({}, images=folder), 0
    groups: dict[Path, list[tuple[Path, Json]]] = {}
    for path in files:
        groups.setdefault(path.parent, []).append((path, read_json(path, "annotations")))
    for parent, several in groups.items():
        inside = parent.relative_to(folder).as_posix()
        if parent != folder and _is_film(several):
            film = Film(inside, _size(several[0][1], several[0][0]), [])
            tracks: dict[tuple[str, int], Track] = {}
            for path, content in several:
                if _size(content, path) != film.size:
                    raise DatasetError(f"{path}: has another size than the first of its film")
                other += _add(film, content, path, inside, tracks, found.classes)
            found.films.append(film)
            continue
        for path, content in several:
            prefix = "" if parent == folder else inside
            film = Film(
                path.relative_to(folder).with_suffix("").as_posix(),
                _size(content, path),
                [],
                still=True,
            )
            other += _add(film, content, path, prefix, {}, found.classes)
            found.films.append(film)
    if other:
        found.notes.append(f"{other} points, lines and the like are left out")
    return found


def _is_film(several: list[tuple[Path, Json]]) -> bool:
    seen: set[Any] = set()
    for _, content in several:
        keys = {
            (s.get("label"), s["group_id"])
            for s in _shapes(content)
            if s.get("group_id") is not None
        }
        if seen & keys:
            return True
        seen |= keys
    return False


def _shapes(content: Json) -> list[Json]:
    shapes = content.get("shapes")
    return [one for one in shapes if isinstance(one, dict)] if isinstance(shapes, list) else []


def _size(content: Json, path: Path) -> Size:
    try:
        size = whole(content["imageHeight"], 1), whole(content["imageWidth"], 1)
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{path}: imageHeight, imageWidth: {error}") from error
    if size[0] * size[1] >= MAX_PIXELS:
        raise DatasetError(f"{path}: no picture has {size[1]} x {size[0]} pixels")
    return size


def _add(
    film: Film,
    content: Json,
    path: Path,
    prefix: str,
    tracks: dict[tuple[str, int], Track],
    classes: dict[str, int],
) -> int:
    """One more frame; returns how many shapes enclose nothing."""
    frame, other = len(film.frames), 0
    picture = str(content["imagePath"]).replace("\\", "/")
    film.frames.append(f"{prefix}/{picture}" if prefix else picture)
    parts: dict[Any, list[Any]] = {}
    for place, shape in enumerate(_shapes(content)):
        try:
            label, group = str(shape["label"]), shape.get("group_id")
            found = _segmentation(shape, film.size)
        except (KeyError, TypeError, ValueError) as error:
            what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{path}: shapes[{place}]: {what}") from error
        if found is None:
            other += 1
            continue
        classes.setdefault(label, len(classes) + 1)
        key = (label, "alone", place) if group is None else (label, "group", whole(group))
        parts.setdefault(key, []).append(found)
    for key, several in parts.items():
        label, kind, group = key
        track = tracks.get((label, group)) if kind == "group" and not film.still else None
        if track is None:
            track = Track(len(film.tracks) + 1, label)
            film.tracks.append(track)
            if kind == "group":
                tracks[label, group] = track
        track.shapes[frame] = Shape(_joined(several, film.size))
    return other


def _segmentation(shape: Json, size: Size) -> Any:
    """Polygons, a dense mask, or None for what encloses nothing."""
    kind, points = shape.get("shape_type", "polygon"), shape["points"]
    corners = [[float(number(v)) for v in point] for point in points]
    if kind == "polygon":
        return read_segmentation([[v for point in corners for v in point]], size)
    if kind in ("rectangle", "mask"):
        (x0, y0), (x1, y1) = corners
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        if kind == "rectangle":
            return read_segmentation([[x0, y0, x1, y0, x1, y1, x0, y1]], size)
        return _picture(shape, round(y0), round(x0), size)
    if kind == "circle":
        (x, y), edge = corners
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        ring = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1)
        return read_segmentation([ring.reshape(-1).tolist()], size)
    return None


def _picture(shape: Json, top: int, left: int, size: Size) -> Any:
    """A mask that is stored as a picture of its window."""
    try:
        window = decode(base64.b64decode(shape["mask"])).upright[..., 0] > 0
    except (binascii.Error, PictureError, TypeError) as error:
        raise ValueError(f"mask: {error}") from error
    bottom, right = top + window.shape[0], left + window.shape[1]
    if top < 0 or left < 0 or bottom > size[0] or right > size[1]:
        raise ValueError(
            f"mask: lies outside of its picture, got {shown([left, top, right, bottom])}"
        )
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = window
    return mask


def _joined(several: list[Any], size: Size) -> Any:
    if all(isinstance(one, list) for one in several):
        return [polygon for one in several for polygon in one]
    whole_mask = np.zeros(size, bool)
    for one in several:
        whole_mask |= dense(one, size) if isinstance(one, list) else one
    return encoded(whole_mask)


def write(
    collection: Collection, folder: Path, tolerance: float, placer: Placer | None
) -> list[str]:
    """Writes it, a folder per film; returns what is lost, one line each."""
    polygons = Polygons(tolerance, single=False)
    for film in collection.films:
        place = folder if film.still else folder / file_name(film.name)
        for frame, name in enumerate(film.frames):
            stem = file_name(film.name) if film.still else f"{frame:06d}"
            target = place / stem
            found = placer.place(film, frame, target) if placer is not None else None
            place.mkdir(parents=True, exist_ok=True)
            shapes = [
                _shape(polygon, track)
                for track, shape in film.objects(frame)
                for polygon in polygons.of(film, shape)
            ]
            content: Json = {"version": VERSION, "flags": {}, "shapes": shapes}
            content["imagePath"] = found.name if found is not None else name
            content |= {"imageData": None, "imageHeight": film.size[0], "imageWidth": film.size[1]}
            target.with_name(target.name + ".json").write_text(
                json.dumps(content, indent=1), encoding="utf-8"
            )
    return polygons.notes


def _shape(polygon: list[float], track: Track) -> Json:
    points = [[x, y] for x, y in zip(polygon[::2], polygon[1::2], strict=True)]
    about: Json = {"label": track.category or "unknown", "points": points, "group_id": track.id}
    return about | {"description": "", "shape_type": "polygon", "flags": {}, "mask": None}
