"""The formats in one table, and the conversion between any two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sipvideo.annotations import read_json
from sipvideo.errors import DatasetError
from sipvideo.exchange import cvat, fiftyone, json_forms, label_maps, labelme, mots, runs, yolo
from sipvideo.exchange.collection import Collection
from sipvideo.exchange.placing import Placer
from sipvideo.summary import SUMMARY


@dataclass(frozen=True)
class Request:
    """What a reader is told.

    Attributes:
        path: file or folder.
        images: where the pictures are; None: where the format has them.
        split: only this one; None: all.
    """

    path: Path
    images: Path | None = None
    split: str | None = None


@dataclass(frozen=True)
class Target:
    """What a writer is told.

    Attributes:
        folder: empty, to be filled.
        tolerance: pixels that polygons may leave their masks.
        placer: of pictures; None: they stay where they are.
    """

    folder: Path
    tolerance: float
    placer: Placer | None


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        about: for people.
        read: makes a collection; None: it is only written.
        write: makes files, tells what is lost; None: it is only read.
        pictures: has them in places of its own, so they come along.
    """

    about: str
    read: Callable[[Request], Collection] | None
    write: Callable[[Collection, Target], list[str]] | None
    pictures: bool = False


def _json(request: Request) -> Collection:
    return json_forms.read_json_form(request.path, request.split)


FORMATS = {
    "ytvis": Format(
        "YouTube-VIS 2019 to 2022 and OVIS: instances.json",
        _json,
        lambda c, t: json_forms.write_youtube_vis(c, t.folder),
    ),
    "coco": Format(
        "COCO: instances.json; films with video, frame_index and track_id",
        _json,
        lambda c, t: json_forms.write_coco(c, t.folder),
    ),
    "davis": Format(
        "DAVIS: PNGs of object numbers, no classes",
        lambda r: label_maps.read(r.path),
        lambda c, t: label_maps.write(c, t.folder, t.placer),
        pictures=True,
    ),
    "mots": Format(
        "MOTS: text of masks, a file per film",
        lambda r: mots.read(r.path, r.images),
        lambda c, t: mots.write(c, t.folder),
    ),
    "cvat": Format(
        "CVAT 1.1: XML, tracks of polygons for films, masks for pictures",
        lambda r: cvat.read(r.path, r.images),
        lambda c, t: cvat.write(c, t.folder, t.tolerance),
    ),
    "labelme": Format(
        "LabelMe: JSON beside each picture, group_id is the identity",
        lambda r: labelme.read(r.path),
        lambda c, t: labelme.write(c, t.folder, t.tolerance, t.placer),
        pictures=True,
    ),
    "yolo": Format(
        "YOLO segmentation: text beside each picture, no identities",
        lambda r: yolo.read(r.path),
        lambda c, t: yolo.write(c, t.folder, t.tolerance, t.placer),
        pictures=True,
    ),
    "fiftyone": Format(
        "FiftyOne: films with labels (FiftyOneVideoLabelsDataset)",
        lambda r: fiftyone.read(r.path),
        lambda c, t: fiftyone.write(c, t.folder, t.placer),
        pictures=True,
    ),
    "run": Format("the folder of a run's results", lambda r: runs.read(r.path), None),
}
"""By the name under which people ask for them."""


def recognised(path: Path) -> str:
    """The format of a file or folder.

    Raises:
        DatasetError: it looks like none of them.
    """
    if not path.exists():
        raise DatasetError(f"{path}: no such file or folder")
    kind = _of_folder(path) if path.is_dir() else _of_file(path)
    if kind is None:
        raise DatasetError(f"{path}: of what format? Say it: --from {', '.join(FORMATS)}")
    return kind


def _of_file(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        content = read_json(path, "annotations")
        if not isinstance(content, dict):
            return None
        if "index" in content:
            return "fiftyone"
        return "ytvis" if content.get("videos") else "coco" if "images" in content else None
    return {".xml": "cvat", ".txt": "mots", ".yaml": "yolo", ".yml": "yolo"}.get(suffix)


def _of_folder(path: Path) -> str | None:
    if (path / SUMMARY).is_file() or (path / "results.jsonl").is_file():
        return "run"
    if (path / yolo.DATA).is_file():
        return "yolo"
    if (path / fiftyone.MANIFEST).is_file():
        return "fiftyone"
    if label_maps.find(path):
        return "davis"
    for pattern, kind in (("*.xml", "cvat"), ("*.txt", "mots"), ("*/gt/gt.txt", "mots")):
        if any(path.glob(pattern)):
            return kind
    if (path / "instances.json").is_file():
        return _of_file(path / "instances.json")
    return "labelme" if labelme.find(path) else None


def read(request: Request, kind: str) -> Collection:
    """Reads a file or folder in one of the formats.

    Raises:
        DatasetError: it cannot be read; or the format has no splits, and one is asked for.
    """
    reader = FORMATS[kind].read
    assert reader is not None
    if request.split is not None and kind not in ("ytvis", "coco"):
        raise DatasetError(f"{request.path}: {kind} has no splits, got {request.split}")
    path = request.path
    if kind in ("ytvis", "coco") and path.is_dir():
        path = path / "instances.json"
    found = reader(Request(path, request.images, request.split))
    if request.images is not None:
        found.images = request.images
    return found
