"""CVAT 1.1, as CVAT imports and exports it: "for video", tracks of one polygon per frame, and "for images", polygons
and masks without identity. One XML file per film; still pictures share one.

ElementTree resolves no external entities, and expat bounds what internal ones may grow to.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from sipvideo.annotations import MAX_PIXELS, number, read_segmentation, whole
from sipvideo.errors import DatasetError
from sipvideo.exchange.collection import Collection, Film, Shape, Size, Track, dense, encoded
from sipvideo.exchange.placing import file_name, listed_pictures, movie_file
from sipvideo.exchange.polygons import Polygons
from sipvideo.files import is_picture, natural

STILLS = "pictures.xml"
LONGEST = 1_000_000
"""Frames of a film, at most."""


def read(path: Path, images: Path | None) -> Collection:
    """Reads an XML file, or those of a folder.

    Raises:
        DatasetError: one cannot be read, or is not CVAT's.
    """
    files = sorted(path.glob("*.xml"), key=natural) if path.is_dir() else [path]
    if not files:
        raise DatasetError(f"{path}: holds no XML files")
    found = Collection({}, images=images)
    for file in files:
        _File(file, found).read()
    return found


class _File:
    def __init__(self, path: Path, found: Collection) -> None:
        self.path, self.found = path, found
        self.boxes = self.other = self.gaps = 0

    def read(self) -> None:
        try:
            root = ElementTree.parse(self.path).getroot()
        except (OSError, ElementTree.ParseError, ValueError, LookupError) as error:
            raise DatasetError(f"{self.path}: cannot be read: {error}") from error
        if root.tag != "annotations":
            raise DatasetError(f"{self.path}: expected CVAT's <annotations>, got <{root.tag}>")
        for name in root.iterfind(".//meta//labels/label/name"):
            self._class((name.text or "").strip())
        try:
            for image in root.iterfind("image"):
                self._image(image)
            self._tracks(root)
        except (KeyError, ValueError) as error:
            what = f"attribute {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{self.path}: {what}") from error
        notes = self.found.notes
        if self.boxes:
            notes.append(f"{self.path.name}: {self.boxes} boxes have no mask")
        if self.other:
            notes.append(f"{self.path.name}: {self.other} points, lines and the like are left out")
        if self.gaps:
            notes.append(
                f"{self.path.name}: between keyframes, {self.gaps} frames of tracks have no shape in the file:"
                " nothing is put there; export them from CVAT with all frames"
            )

    def _class(self, name: str) -> str:
        if name:
            self.found.classes.setdefault(name, len(self.found.classes) + 1)
        return name

    def _image(self, image: ElementTree.Element) -> None:
        size = _size(image.attrib["height"], image.attrib["width"])
        name = image.attrib["name"]
        film = Film(Path(name).with_suffix("").as_posix(), size, [name], still=True)
        for element in image:
            shape = self._shape(element, size, f"picture {name}")
            if shape is not None:
                label = self._class(element.attrib["label"])
                film.tracks.append(Track(len(film.tracks) + 1, label or None, {0: shape}))
        self.found.films.append(film)

    def _tracks(self, root: ElementTree.Element) -> None:
        tracks = root.findall("track")
        tasks = root.findall("meta/task") or root.findall("meta/project/tasks/task")
        if not tracks and not (tasks and (tasks[0].findtext("mode") or "") == "interpolation"):
            return
        if not tasks:
            raise ValueError(
                "meta: says nothing of a task, so the size of its pictures is not known"
            )
        films = {}
        for task in tasks:
            height, width = (task.findtext(f"original_size/{side}") for side in ("height", "width"))
            film = self._film(task, _size(height, width), len(tasks) == 1)
            films[task.findtext("id")] = film
            self.found.films.append(film)
        only = next(iter(films.values()))
        for element in tracks:
            film = films.get(element.attrib.get("task_id"), only)
            self._track(element, film)

    def _film(self, task: ElementTree.Element, size: Size, single: bool) -> Film:
        length = whole(task.findtext("size") or "", 0, LONGEST)
        name = self.path.stem if single else str(task.findtext("name") or task.findtext("id"))
        images = self.found.images
        pictures = listed_pictures(images, name)
        if not pictures and single and images is not None and movie_file(images, name) is None:
            pictures = [p.name for p in sorted(filter(is_picture, images.iterdir()), key=natural)]
        if pictures and len(pictures) != length:
            raise ValueError(
                f"{name} has {length} frames, and {len(pictures)} pictures in {images}"
            )
        return Film(name, size, pictures or [f"{name}/{k:06d}.jpg" for k in range(length)])

    def _track(self, element: ElementTree.Element, film: Film) -> None:
        label = self._class(element.attrib["label"])
        track = Track(len(film.tracks) + 1, label or None)
        last = None
        for one in element:
            where = f"track {element.attrib.get('id', '?')} of {film.name}"
            frame = whole(one.attrib["frame"], 0)
            if frame >= len(film.frames):
                raise ValueError(f"{where}: frame {frame} of {len(film.frames)}")
            if last is not None:
                self.gaps += max(frame - last - 1, 0)
            last = frame
            if one.attrib.get("outside") == "1":
                last = None
                continue
            shape = self._shape(one, film.size, f"{where}, frame {frame}")
            if shape is not None:
                track.shapes[frame] = shape
        if track.shapes:
            film.tracks.append(track)

    def _shape(self, element: ElementTree.Element, size: Size, where: str) -> Shape | None:
        try:
            if element.tag == "polygon":
                points = element.attrib["points"].replace(";", ",").split(",")
                polygon = [float(number(value)) for value in points]
                return Shape(read_segmentation([polygon], size))
            if element.tag == "mask":
                return Shape(encoded(_mask(element, size)))
            if element.tag == "box":
                x0, y0, x1, y1 = (
                    float(number(element.attrib[k])) for k in ("xtl", "ytl", "xbr", "ybr")
                )
                self.boxes += 1
                return Shape(None, (x0, y0, x1 - x0, y1 - y0))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        self.other += element.tag not in ("attribute", "tag")
        return None


def _size(height: str | None, width: str | None) -> Size:
    size = whole(height or "", 1), whole(width or "", 1)
    if size[0] * size[1] >= MAX_PIXELS:
        raise ValueError(f"no picture has {size[1]} x {size[0]} pixels")
    return size


def _mask(
    element: ElementTree.Element, size: Size
) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Runs, row by row, within a window of the picture."""
    left, top, width, height = (
        whole(str(round(number(element.attrib[k])))) for k in ("left", "top", "width", "height")
    )
    if (
        min(left, top) < 0
        or min(width, height) < 1
        or top + height > size[0]
        or left + width > size[1]
    ):
        raise ValueError("the mask lies outside of its picture")
    runs = [whole(run, 0) for run in element.attrib["rle"].split(",")]
    if sum(runs) != width * height:
        raise ValueError(f"rle: runs of {sum(runs)} pixels, expected {width * height}")
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = values
    return mask


def write(collection: Collection, folder: Path, tolerance: float) -> list[str]:
    """Writes it; returns what is lost, one line each."""
    polygons = Polygons(tolerance, single=True)
    for film in collection.films:
        if not film.still:
            _save(_video(collection, film, polygons), folder / f"{file_name(film.name)}.xml")
    stills = [film for film in collection.films if film.still]
    if stills:
        _save(_images(collection, stills, polygons), folder / STILLS)
    films = len(collection.films) - len(stills)
    return [
        *([f"names of pictures of {films} films: CVAT counts frames"] if films else []),
        *polygons.notes,
    ]


def _save(root: ElementTree.Element, path: Path) -> None:
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _root(collection: Collection, films: list[Film], mode: str) -> ElementTree.Element:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    count = sum(len(film.frames) for film in films)
    about = {
        "name": films[0].name,
        "size": count,
        "mode": mode,
        "start_frame": 0,
        "stop_frame": count - 1,
    }
    for key, value in about.items():
        ElementTree.SubElement(task, key).text = str(value)
    labels = ElementTree.SubElement(task, "labels")
    for name in collection.classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "attributes")
    if mode == "interpolation":
        size = ElementTree.SubElement(task, "original_size")
        ElementTree.SubElement(size, "width").text = str(films[0].size[1])
        ElementTree.SubElement(size, "height").text = str(films[0].size[0])
    return root


def _video(collection: Collection, film: Film, polygons: Polygons) -> ElementTree.Element:
    root = _root(collection, [film], "interpolation")
    for track in film.tracks:
        kept = {
            k: found[0] for k, s in sorted(track.shapes.items()) if (found := polygons.of(film, s))
        }
        if not kept:
            continue
        about = {"id": str(track.id), "label": track.category or "unknown", "source": "manual"}
        element = ElementTree.SubElement(root, "track", about)
        for frame, polygon in kept.items():
            _polygon(element, polygon, frame=str(frame), keyframe="1", outside="0", occluded="0")
            if frame + 1 not in kept and frame + 1 < len(film.frames):
                _polygon(
                    element, polygon, frame=str(frame + 1), keyframe="1", outside="1", occluded="0"
                )
    return root


def _polygon(parent: ElementTree.Element, polygon: list[float], **about: str) -> None:
    pairs = zip(polygon[::2], polygon[1::2], strict=True)
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in pairs)
    ElementTree.SubElement(parent, "polygon", {**about, "points": points, "z_order": "0"})


def _images(collection: Collection, stills: list[Film], polygons: Polygons) -> ElementTree.Element:
    root = _root(collection, stills, "annotation")
    for number_, film in enumerate(stills):
        height, width = film.size
        about = {"id": number_, "name": film.frames[0], "width": width, "height": height}
        image = ElementTree.SubElement(root, "image", {k: str(v) for k, v in about.items()})
        for track, shape in film.objects(0):
            label = track.category or "unknown"
            if isinstance(shape.segmentation, list) and len(shape.segmentation) == 1:
                _polygon(image, shape.segmentation[0], label=label, source="manual", occluded="0")
            elif shape.segmentation is not None:
                _add_mask(image, dense(shape.segmentation, film.size), label)
            elif shape.box is not None:
                x, y, w, h = shape.box
                corners = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
                box = {k: f"{v:.2f}" for k, v in corners.items()}
                ElementTree.SubElement(image, "box", {"label": label, "occluded": "0", **box})
    return root


def _add_mask(
    parent: ElementTree.Element, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], label: str
) -> None:
    if not mask.any():
        return
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = int(rows[0]), int(columns[0])
    window = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    about = {"left": left, "top": top, "width": window.shape[1], "height": window.shape[0]}
    runs = ", ".join(map(str, _runs(window.reshape(-1))))
    fields = {k: str(v) for k, v in about.items()}
    ElementTree.SubElement(
        parent, "mask", {"label": label, "source": "manual", "occluded": "0", "rle": runs, **fields}
    )


def _runs(values: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Iterator[int]:
    """Lengths of runs, of zeros first."""
    changes = np.flatnonzero(np.diff(values.astype(np.int8))) + 1
    bounds = [0, *changes.tolist(), len(values)]
    if values[0]:
        yield 0
    yield from (b - a for a, b in itertools.pairwise(bounds))
