"""The pictures of a collection, put where a format wants them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sipvideo.data.pictures import VIDEO_SUFFIXES, PictureFiles, VideoFiles, find_pictures
from sipvideo.errors import DatasetError
from sipvideo.exchange.collection import Collection, Film
from sipvideo.sinks.video import AnnotatedVideo
from sipvideo.structures import Detections, Frame, FrameResult

JPEG_QUALITY = 95
FILM_QUALITY = 14
"""H.264's, 0 (lossless) to 51."""
RATE = 25.0
"""Frames a second of a film that does not say."""


@dataclass(frozen=True)
class PlacedFilm:
    """A film that is a video file now.

    Attributes:
        path: of the file.
        numbers: that each of the film's frames has in the file, from 0.
        size: (height, width) of the file's pictures: odd ones were padded at the right and below.
    """

    path: Path
    numbers: list[int]
    size: tuple[int, int]


class Placer:
    """Finds pictures and places them: linked where the file system allows, else copied; frames of films are decoded.

    Args:
        collection: what is written.
        annotations: the file or folder that it was read from, near which pictures are looked for.

    Attributes:
        decoded: frames that were taken out of video files.
        missing: pictures that are not there.
        encoded: films that were made of pictures.
    """

    def __init__(self, collection: Collection, annotations: Path) -> None:
        self._files: PictureFiles | None = None
        self._movies = VideoFiles()
        self.decoded, self.missing, self.encoded = 0, 0, 0
        frames = [name for film in collection.films for name in film.frames[:1]]
        with contextlib.suppress(DatasetError):
            self._files = find_pictures(annotations, collection.images, frames[0] if frames else "")

    def place(self, film: Film, frame: int, target: Path) -> Path | None:
        """Puts a frame's picture there, with the ending that it has; returns where, None where there is none.

        Raises:
            DatasetError: it is there, but damaged.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        name = film.frames[frame]
        if self._files is not None and name in self._files:
            found = self._files.stored(name)
            target = target.with_name(target.name + Path(name).suffix.lower())
            target.unlink(missing_ok=True)
            if isinstance(found, bytes):
                target.write_bytes(found)
            else:
                _link(found, target)
            return target
        movie = film.movie or self._movie(film)
        if movie is None or not Path(name).stem.isdecimal():
            self.missing += 1
            return None
        picture = self._movies.read(movie, int(Path(name).stem), film.size)
        target = target.with_name(target.name + ".jpg")
        content = cv2.imencode(
            ".jpg",
            cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
            [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
        )[1]
        target.write_bytes(content.tobytes())
        self.decoded += 1
        return target

    def place_film(self, film: Film, target: Path) -> PlacedFilm | None:
        """Puts a film there as a video: its own file, or its pictures, encoded; None: there are neither.

        Raises:
            DatasetError: a picture is there, but damaged.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        movie = film.movie or self._movie(film)
        if movie is not None and all(Path(name).stem.isdecimal() for name in film.frames):
            target = target.with_name(target.name + movie.suffix.lower())
            _link(movie, target)
            return PlacedFilm(target, [int(Path(name).stem) for name in film.frames], film.size)
        files = self._files
        if files is None or not film.frames or not all(name in files for name in film.frames):
            return None
        target = target.with_name(target.name + ".mp4")
        seconds = film.seconds or [k / RATE for k in range(len(film.frames))]
        nothing = Detections.empty(film.size)
        nobody = np.zeros(0, np.int64)
        with AnnotatedVideo(target, lambda result: result.frame.image, crf=FILM_QUALITY) as video:
            for k, name in enumerate(film.frames):
                frame = Frame(files.read(name, film.size), k, seconds[k])
                video.write(FrameResult(frame, nothing, nobody, 0.0))
        self.encoded += 1
        height, width = film.size
        return PlacedFilm(
            target, list(range(len(seconds))), (height + height % 2, width + width % 2)
        )

    def _movie(self, film: Film) -> Path | None:
        if self._files is None:
            return None
        names = (film.name, Path(film.frames[0]).parent.as_posix())
        found = (movie_file(self._files.where, name) for name in names)
        return next((path for path in found if path is not None), None)

    @property
    def notes(self) -> list[str]:
        """What became of the pictures."""
        found = []
        if self.missing:
            found.append(f"{self.missing} pictures were not found, say where they are: --images")
        if self.decoded:
            found.append(
                f"{self.decoded} frames of video files were written as JPEG, quality {JPEG_QUALITY}"
            )
        if self.encoded:
            found.append(f"{self.encoded} films were made of pictures, as H.264")
        return found


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def file_name(text: str) -> str:
    """A film's name as one that every file system takes."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._") or "film"


def movie_file(folder: Path, name: str) -> Path | None:
    """A video of that name in a folder, with or without its ending; None: there is none."""
    for suffix in ("", *VIDEO_SUFFIXES):
        path = folder / (name + suffix)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            return path
    return None


def listed_pictures(folder: Path | None, name: str) -> list[str]:
    """Names of a film's pictures relative to the folder of all pictures, in order; empty where there are none."""
    from sipvideo.files import is_picture, natural

    if folder is None or not (folder / name).is_dir():
        return []
    found = sorted((p for p in (folder / name).iterdir() if is_picture(p)), key=natural)
    return [f"{name}/{path.name}" for path in found]


def size_of(path: Path) -> tuple[int, int]:
    """(height, width) of a picture, upright.

    Raises:
        DatasetError: it cannot be decoded.
    """
    from sipvideo.pictures import PictureError, decode

    try:
        return decode(path.read_bytes()).upright_size
    except (OSError, PictureError) as error:
        raise DatasetError(f"{path}: cannot read the picture: {error}") from error
