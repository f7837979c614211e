"""DAVIS: one picture of object numbers per frame, ``Annotations/480p/FILM/00000.png``, pictures beside them in
``JPEGImages/480p/FILM/``. It knows no classes, and a pixel is of one object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sipvideo.errors import DatasetError
from sipvideo.evaluation.mot import numbers_of
from sipvideo.exchange.collection import Collection, Film, Shape, Track, encoded
from sipvideo.exchange.exclusive import Exclusive
from sipvideo.exchange.placing import Placer, file_name, listed_pictures
from sipvideo.files import natural

RESOLUTION = "480p"
"""Name of the folder, whatever size the pictures have: tools for DAVIS look for it."""
CLASS = "object"
VOID = 255
"""Pixels where nothing is scored."""


def palette() -> list[int]:
    """256 colours, red green blue each: bits of the number spread over the channels, as PASCAL VOC and DAVIS do."""
    colours = []
    for number in range(256):
        for channel in range(3):
            bits = ((number >> (3 * k + channel) & 1) << (7 - k) for k in range(8))
            colours.append(sum(bits))
    return colours


def find(folder: Path) -> list[Path]:
    """The folders of films of such a data set; empty where it is none."""
    base = folder / "Annotations"
    if not base.is_dir():
        return []
    places = [base, *(one for one in sorted(base.iterdir()) if one.is_dir())]
    for place in places:
        films = [one for one in place.iterdir() if one.is_dir() and any(one.glob("*.png"))]
        if films:
            return sorted(films, key=natural)
    return []


def read(folder: Path) -> Collection:
    """Reads it; a number of one film is one object.

    Raises:
        DatasetError: there are no such pictures, or one is damaged.
    """
    films = find(folder)
    if not films:
        raise DatasetError(f"{folder}: expected Annotations/480p/FILM/00000.png and the like")
    place = films[0].parent
    images = folder / "JPEGImages" / place.relative_to(folder / "Annotations")
    found = Collection({CLASS: 1}, images=images if images.is_dir() else None)
    void = 0
    for path in films:
        maps = sorted(path.glob("*.png"), key=natural)
        pictures = {Path(name).stem: name for name in listed_pictures(found.images, path.name)}
        names = [pictures.get(one.stem, f"{path.name}/{one.stem}.jpg") for one in maps]
        film = Film(path.name, (0, 0), names)
        tracks: dict[int, Track] = {}
        for frame, one in enumerate(maps):
            values = numbers_of(one)
            if frame == 0:
                film.size = values.shape
            if values.shape != film.size:
                raise DatasetError(f"{one}: has another size than the first of its film")
            for number in np.unique(values[values > 0]).tolist():
                if number == VOID:
                    void += 1
                    continue
                track = tracks.setdefault(number, Track(number, CLASS))
                track.shapes[frame] = Shape(encoded(values == number))
        film.tracks = [tracks[number] for number in sorted(tracks)]
        found.films.append(film)
    if void:
        found.notes.append(
            f"pixels marked as not to be scored ({VOID}) in {void} frames are left out"
        )
    return found


def write(collection: Collection, folder: Path, placer: Placer | None) -> list[str]:
    """Writes it; returns what is lost, one line each.

    Raises:
        DatasetError: a film has more than 254 objects.
    """
    exclusive, colours = Exclusive(), palette()
    for film in collection.films:
        if len(film.tracks) >= VOID:
            raise DatasetError(f"{film.name}: has {len(film.tracks)} objects, DAVIS takes 254")
        name = file_name(film.name)
        place = folder / "Annotations" / RESOLUTION / name
        place.mkdir(parents=True, exist_ok=True)
        number = {id(track): k for k, track in enumerate(film.tracks, 1)}
        for frame in range(len(film.frames)):
            values = np.zeros(film.size, np.uint8)
            for track, mask in exclusive.masks(film, frame):
                values[mask] = number[id(track)]
            picture = Image.fromarray(values)
            picture.putpalette(colours)
            picture.save(place / f"{frame:05d}.png")
            if placer is not None:
                placer.place(
                    film, frame, folder / "JPEGImages" / RESOLUTION / name / f"{frame:05d}"
                )
    sets = folder / "ImageSets" / "2017"
    sets.mkdir(parents=True, exist_ok=True)
    names = "".join(f"{file_name(film.name)}\n" for film in collection.films)
    (sets / "val.txt").write_text(names, encoding="utf-8")
    lost = [] if set(collection.classes) <= {CLASS} else ["classes: DAVIS knows none"]
    return [*lost, *exclusive.notes]
