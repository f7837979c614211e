"""YOLO's segmentation labels: a text per picture, ``class x y x y ...`` between 0 and 1, ``labels/...`` beside
``images/...``, and ``data.yaml`` with the names. One polygon per object, no identities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sipvideo.annotations import number, read_segmentation, whole
from sipvideo.errors import ConfigError, DatasetError
from sipvideo.exchange.collection import Collection, Film, Shape, Track
from sipvideo.exchange.placing import Placer, file_name, size_of
from sipvideo.exchange.polygons import Polygons
from sipvideo.files import is_picture, natural
from sipvideo.yaml_files import yaml_mapping

DATA = "data.yaml"
MOST_CLASSES = 100_000


def read(path: Path) -> Collection:
    """Reads a data set by its ``data.yaml``, or by the folder that has it.

    Raises:
        DatasetError: it has none, or a picture or label is damaged.
    """
    file = path / DATA if path.is_dir() else path
    try:
        content = yaml_mapping(file, "data set", "train, val and names")
    except ConfigError as error:
        raise DatasetError(str(error)) from error
    names = content.get("names")
    if isinstance(names, dict):
        try:
            by_number = {whole(key, 0, MOST_CLASSES): str(name) for key, name in names.items()}
        except ValueError as error:
            raise DatasetError(f"{file}: names: {error}") from error
        count = max(by_number, default=-1) + 1
        names = [by_number.get(number, f"class {number}") for number in range(count)]
    if not isinstance(names, list):
        raise DatasetError(f"{file}: names: expected the classes' names")
    base = file.parent / str(content.get("path") or "")
    base = base if base.is_dir() else file.parent
    found = Collection({str(name): k for k, name in enumerate(names, 1)}, images=base)
    boxes = 0
    seen: set[Path] = set()
    for split in ("train", "val", "test"):
        for place in _listed(content.get(split)):
            folder = base / place
            if folder in seen:
                continue
            seen.add(folder)
            pictures = sorted(filter(is_picture, folder.rglob("*")), key=natural)
            for picture in pictures:
                film, count = _film(picture, base, [str(name) for name in names])
                film.more = {"split": split}
                boxes += count
                found.films.append(film)
    if not found.films:
        raise DatasetError(f"{file}: train, val, test: there are no pictures where they point to")
    if boxes:
        found.notes.append(f"{boxes} labels are boxes, without a mask")
    return found


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def _film(picture: Path, base: Path, names: list[str]) -> tuple[Film, int]:
    """A picture with its objects, and how many of them are boxes."""
    shown = picture.relative_to(base).as_posix()
    film = Film(Path(shown).with_suffix("").as_posix(), size_of(picture), [shown], still=True)
    parts = list(picture.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    label = Path(*parts).with_suffix(".txt")
    if not label.is_file():
        return film, 0
    boxes = 0
    try:
        lines = label.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{label}: cannot be read: {error}") from error
    for place, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        try:
            category = whole(fields[0], 0, len(names))
            shape = _shape([float(number(value)) for value in fields[1:]], film)
        except ValueError as error:
            raise DatasetError(f"{label}: line {place}: {error}") from error
        boxes += shape.segmentation is None
        film.tracks.append(Track(len(film.tracks) + 1, names[category], {0: shape}))
    return film, boxes


def _shape(values: list[float], film: Film) -> Shape:
    height, width = film.size
    if len(values) == 4:
        x, y, w, h = (v * side for v, side in zip(values, (width, height) * 2, strict=True))
        return Shape(None, (x - w / 2, y - h / 2, w, h))
    scaled = [v * (height if k % 2 else width) for k, v in enumerate(values)]
    return Shape(read_segmentation([scaled], film.size))


def write(
    collection: Collection, folder: Path, tolerance: float, placer: Placer | None
) -> list[str]:
    """Writes it, frames of a film as pictures of a folder of its name; returns what is lost, one line each."""
    polygons, unknown = Polygons(tolerance, single=True), 0
    splits: set[str] = set()
    for film in collection.films:
        split = str(film.more.get("split") or "train")
        split = {"validation": "val", "valid": "val"}.get(split, file_name(split))
        splits.add(split)
        height, width = film.size
        for frame in range(len(film.frames)):
            inside = Path(split, file_name(film.name))
            inside = inside if film.still else inside / f"{frame:06d}"
            if placer is not None:
                placer.place(film, frame, folder / "images" / inside)
            lines = []
            for track, shape in film.objects(frame):
                if track.category is None:
                    unknown += 1
                    continue
                for polygon in polygons.of(film, shape):
                    scaled = (v / (height if k % 2 else width) for k, v in enumerate(polygon))
                    points = " ".join(f"{min(max(v, 0.0), 1.0):.7g}" for v in scaled)
                    lines.append(f"{collection.label(track.category)} {points}\n")
            target = folder / "labels" / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_name(target.name + ".txt").write_text("".join(lines), encoding="ascii")
    places = {split: f"images/{split}" for split in sorted(splits)}
    # Trainers want both, and say nothing clear where one is missing.
    places.setdefault("train", next(iter(places.values()), "images"))
    places.setdefault("val", places["train"])
    content = {"path": ".", **places, "names": dict(enumerate(collection.classes))}
    (folder / DATA).write_text(
        yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    notes = [f"{unknown} objects of unknown class are left out"] if unknown else []
    films = sum(not film.still for film in collection.films)
    notes += [f"identities of {films} films: YOLO's labels have none"] if films else []
    crowds = sum(track.crowd for film in collection.films for track in film.tracks)
    notes += (
        [f"{crowds} crowds became objects: YOLO's labels do not tell them apart"] if crowds else []
    )
    return [*notes, *polygons.notes]
