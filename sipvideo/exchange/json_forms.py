"""The layouts of YouTube-VIS, OVIS and COCO. Films in COCO's layout have, beside the published fields, ``video`` and
``frame_index`` in their pictures and ``track_id`` in their annotations, as tracking data sets in it do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from sipvideo.annotations import Json, read_segmentation, to_rle
from sipvideo.data.instances import AnnotationFile, unique
from sipvideo.errors import DatasetError
from sipvideo.exchange.collection import Collection, Film, Shape, Track, compressed, rle

MORE = ("split", "labelled_categories", "fps")


def read_json_form(path: Path, split: str | None = None) -> Collection:
    """Reads either of the two.

    Raises:
        DatasetError: it cannot be read, or is inconsistent.
    """
    file = AnnotationFile.load(path)
    try:
        names = unique(file.content["categories"], "category")
        unique(file.content["categories"], "category", "name")
        entries = file.entries(split)
        unique(file.entries(None), "video" if file.of_videos else "picture")
        found = Collection({entry["name"]: key for key, entry in names.items()})
        classes = {key: entry["name"] for key, entry in names.items()}
        annotations = file.content.get("annotations") or []
        unique(annotations, "annotation")
        (_read_films if file.of_videos else _read_pictures)(found, entries, annotations, classes)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{path}: {what}") from error
    return found


def _read_films(
    found: Collection, entries: list[Json], annotations: list[Json], classes: dict[int, str]
) -> None:
    films: dict[int, Film] = {}
    for entry in entries:
        names = entry.get("file_names")
        if names is None:
            names = [str(k) for k in range(entry["length"])]
        name = str(entry.get("name") or Path(str(names[0])).parent.name or entry["id"])
        more = {key: entry[key] for key in MORE if key in entry}
        film = Film(name, (entry["height"], entry["width"]), [str(n) for n in names], more=more)
        film.seconds = entry.get("seconds")
        films[entry["id"]] = film
    found.films = _with_names_of_their_own(list(films.values()))
    for annotation in annotations:
        owner = films.get(annotation["video_id"])
        if owner is None:
            continue
        where = f"annotation {annotation['id']}"
        masks = annotation["segmentations"]
        if len(masks) != len(owner.frames):
            raise ValueError(f"{where}: expected {len(owner.frames)} segmentations")
        track = Track(len(owner.tracks) + 1, _category(annotation, classes, where))
        track.crowd = bool(annotation.get("iscrowd", 0))
        words = annotation.get("occlusion") or [None] * len(masks)
        for frame, mask in enumerate(masks):
            if mask:
                kept = _kept(mask, owner.size, f"{where}, frame {frame}")
                track.shapes[frame] = Shape(kept, occlusion=words[frame])
        owner.tracks.append(track)


def _read_pictures(
    found: Collection, entries: list[Json], annotations: list[Json], classes: dict[int, str]
) -> None:
    films: dict[Any, Film] = {}
    place: dict[int, tuple[Film, int]] = {}
    order = sorted(entries, key=lambda e: e.get("frame_index", 0) if "video" in e else 0)
    for entry in order:
        size, name = (entry["height"], entry["width"]), str(entry["file_name"])
        key = entry.get("video")
        film = films.get(("video", key)) if key is not None else None
        if film is None:
            more = {k: entry[k] for k in MORE if k in entry}
            shown = str(key) if key is not None else Path(name).with_suffix("").as_posix()
            film = Film(shown, size, [], still=key is None, more=more)
            films[("video", key) if key is not None else ("picture", entry["id"])] = film
        if film.size != size:
            raise ValueError(f"picture {entry['id']}: another size than others of {film.name}")
        place[entry["id"]] = film, len(film.frames)
        film.frames.append(name)
    found.films = _with_names_of_their_own(list(films.values()))
    tracks: dict[tuple[str, Any], Track] = {}
    for annotation in annotations:
        if annotation["image_id"] not in place:
            continue
        film, frame = place[annotation["image_id"]]
        where = f"annotation {annotation['id']}"
        own = annotation.get("track_id") if not film.still else None
        key = film.name, ("track", own) if own is not None else ("annotation", annotation["id"])
        if key not in tracks:
            track = Track(len(film.tracks) + 1, _category(annotation, classes, where))
            track.crowd = bool(annotation.get("iscrowd", 0))
            film.tracks.append(track)
            tracks[key] = track
        if frame in tracks[key].shapes:
            raise ValueError(f"{where}: track {own} is twice in one picture")
        mask = annotation.get("segmentation")
        box = annotation.get("bbox")
        kept = _kept(mask, film.size, where) if mask else None
        tracks[key].shapes[frame] = Shape(
            kept, tuple(box) if box else None, annotation.get("score")
        )


def _with_names_of_their_own(films: list[Film]) -> list[Film]:
    taken: set[str] = set()
    for film in films:
        name, number = film.name, 2
        while film.name.casefold() in taken:
            film.name, number = f"{name}-{number}", number + 1
        taken.add(film.name.casefold())
    return films


def _category(annotation: Json, classes: dict[int, str], where: str) -> str | None:
    key = annotation["category_id"]
    if key is not None and key not in classes:
        raise ValueError(f"{where}: there is no category {key}")
    return None if key is None else classes[key]


def _kept(mask: Any, size: tuple[int, int], where: str) -> Any:
    """Polygons as they are, everything else compressed."""
    try:
        found = read_segmentation(mask, size)
        return found if isinstance(found, list) else compressed(found, size)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _categories(collection: Collection) -> list[Json]:
    return [{"id": key, "name": name} for name, key in collection.classes.items()]


def write_youtube_vis(collection: Collection, folder: Path) -> list[str]:
    """Writes ``instances.json`` in the layout of YouTube-VIS (and OVIS); returns what is lost, one line each."""
    videos: list[Json] = []
    annotations: list[Json] = []
    boxes = 0
    for number, film in enumerate(collection.films, 1):
        height, width = film.size
        about = {"id": number, "name": film.name, "width": width, "height": height}
        about |= {"length": len(film.frames), "file_names": film.frames, **film.more}
        videos.append(about | ({"seconds": film.seconds} if film.seconds is not None else {}))
        for track in film.tracks:
            masks = [
                rle(track.shapes[k], film.size) if k in track.shapes else None
                for k in range(len(film.frames))
            ]
            boxes += sum(shape.segmentation is None for shape in track.shapes.values())
            if not any(masks):
                continue
            entry: Json = {"id": len(annotations) + 1, "video_id": number}
            entry |= {
                "category_id": collection.classes.get(track.category or ""),
                "segmentations": masks,
            }
            entry |= {"iscrowd": int(track.crowd), "width": width, "height": height}
            entry["areas"] = [m and int(coco_mask.area(to_rle(m, film.size))) for m in masks]
            entry["bboxes"] = [m and coco_mask.toBbox(to_rle(m, film.size)).tolist() for m in masks]
            if any(shape.occlusion for shape in track.shapes.values()):
                shapes = [track.shapes.get(k) for k in range(len(film.frames))]
                entry["occlusion"] = [shape and shape.occlusion for shape in shapes]
            annotations.append(entry)
    content = {"videos": videos, "categories": _categories(collection), "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    return [f"{boxes} boxes without a mask are left out"] if boxes else []


def write_coco(collection: Collection, folder: Path) -> list[str]:
    """Writes ``instances.json`` in COCO's layout; returns what is lost, one line each."""
    images: list[Json] = []
    annotations: list[Json] = []
    for film in collection.films:
        height, width = film.size
        first = len(images) + 1
        for frame, name in enumerate(film.frames):
            about: Json = {"id": first + frame, "file_name": name, "width": width, "height": height}
            images.append(
                about
                | film.more
                | ({} if film.still else {"video": film.name, "frame_index": frame})
            )
        for track in film.tracks:
            for frame, shape in track.shapes.items():
                mask = rle(shape, film.size)
                box = list(shape.box) if shape.box and mask is None else _box(mask, film.size)
                area = (
                    box[2] * box[3]
                    if mask is None
                    else int(coco_mask.area(to_rle(mask, film.size)))
                )
                entry: Json = {"id": len(annotations) + 1, "image_id": first + frame}
                entry |= {"category_id": collection.classes.get(track.category or "")}
                entry |= {"bbox": box, "area": area, "iscrowd": int(track.crowd)}
                if shape.segmentation is not None:
                    keep = isinstance(shape.segmentation, list) and not track.crowd
                    entry["segmentation"] = shape.segmentation if keep else mask
                if not film.still:
                    entry["track_id"] = track.id
                annotations.append(entry)
    content = {"images": images, "categories": _categories(collection), "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content), encoding="utf-8")
    films = sum(not film.still for film in collection.films)
    if not films:
        return []
    return [
        f"identities of {films} films are in fields of our own: video, frame_index and track_id"
    ]


def _box(mask: Json | None, size: tuple[int, int]) -> list[float]:
    return [0.0] * 4 if mask is None else coco_mask.toBbox(to_rle(mask, size)).tolist()
