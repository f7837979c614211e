"""Where the pictures of a data set are: in a folder, inside a tar or zip file, or as frames of video files."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.data.archive import Archive
from sipvideo.data.file_names import FileNames, listed
from sipvideo.errors import DatasetError
from sipvideo.pictures import Decoded, PictureError, decode

Picture = NDArray[np.uint8]
Size = tuple[int, int]
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")


class PictureFiles:
    """Pictures by the names that an annotation file has for them.

    Names are taken as they are meant (see :mod:`sipvideo.data.file_names`).

    Args:
        where: folder, uncompressed tar file or zip file.
        example: one of the names. Inside an archive it may lie deeper (``train/JPEGImages/``); the same path then
            stands before all names.
        upright: apply orientation marks also where a picture has the annotated size either way.

    Raises:
        DatasetError: there is no such folder or file, or it cannot be read.
    """

    def __init__(self, where: str | Path, example: str = "", *, upright: bool = True) -> None:
        self.where = Path(where)
        self.upright = upright
        self._archive: Archive | None = None
        if self.where.is_file():
            self._archive = Archive(self.where, example)
            self._names = FileNames(self._archive.names)
        elif self.where.is_dir():
            self._names = FileNames(partial(listed, self.where), self._exists)
        else:
            raise DatasetError(f"{self.where}: no such folder, tar or zip file of pictures")

    def _exists(self, name: str) -> bool:
        return os.path.isfile(self.where / name)

    def __contains__(self, name: str) -> bool:
        return not self.problem(name)

    def problem(self, name: str) -> str:
        """Why there is no picture of a name; empty where there is one."""
        try:
            self._names.find(name)
        except LookupError as error:
            return str(error)
        return ""

    def expect(self, names: Sequence[str], annotations: Path, what: str) -> None:
        """Makes sure that all pictures are there.

        Raises:
            DatasetError: they are not; says how many, and which is the first.
        """
        missing = [(name, problem) for name in names if (problem := self.problem(name))]
        if not missing:
            meant: dict[str, str] = {}
            for name in names:
                other = meant.setdefault(self._names.find(name), name)
                if other != name:
                    missing.append((name, f"{other} seems to mean the same file"))
        if missing:
            name, problem = missing[0]
            raise DatasetError(
                f"{annotations}: {len(missing)} of {len(names)} {what} are missing in"
                f" {self.where}, the first is {name}: {problem}"
            )

    def stored(self, name: str) -> Path | bytes:
        """One picture as its file, or as the file's content where that lies in an archive.

        Raises:
            DatasetError: it is missing, or cannot be read.
        """
        try:
            actual = self._names.find(name)
            return self.where / actual if self._archive is None else self._archive.read(actual)
        except (LookupError, OSError, ValueError) as error:
            raise DatasetError(f"{self.where / name}: {error}") from error

    def decoded(self, name: str) -> Decoded:
        """One picture as it is stored.

        Raises:
            DatasetError: it is missing or cannot be decoded.
        """
        try:
            actual = self._names.find(name)
            if self._archive is not None:
                return decode(self._archive.read(actual))
            return decode((self.where / actual).read_bytes())
        except PictureError as error:
            raise DatasetError(
                f"{self.where / name}: cannot decode the picture: {error}"
            ) from error
        except LookupError as error:
            raise DatasetError(f"{self.where / name}: {error}") from error
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self.where / name}: cannot read the picture: {error}") from error

    def read(self, name: str, size: Size | None = None) -> Picture:
        """One picture, uint8 [H, W, 3], RGB.

        An orientation mark is applied unless only the stored pixels have the annotated size; where they have it either
        way, ``upright`` decides.

        Raises:
            DatasetError: it is missing, cannot be decoded, or has another (height, width) than ``size``.
        """
        found = self.decoded(name)
        stored = found.stored.shape[:2] == size
        if stored and (found.upright_size != size or not self.upright):
            return found.stored
        _expect_size(found.upright_size, size, self.where / name)
        return found.upright


class VideoFiles:
    """Frames of video files by number. Reading them in order is fast, anywhere else each frame needs a seek."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

    def __reduce__(self) -> tuple[type[VideoFiles], tuple[()]]:
        """Another process opens its videos anew."""
        return VideoFiles, ()

    def read(self, path: Path, number: int, size: Size | None = None) -> Picture:
        """Frame ``number`` (0-based), uint8 [H, W, 3], RGB, upright.

        Raises:
            DatasetError: the file cannot be opened, ends before that frame, or has another (height, width) than
                ``size``.
        """
        with self._lock:
            if path != self._path:
                self.close()
                self._capture = cv2.VideoCapture(str(path))
                self._path, self._next = path, 0
            assert self._capture is not None
            if not self._capture.isOpened():
                raise DatasetError(f"{path}: cannot open the video")
            if number < self._next or number > self._next + 32:
                self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
                self._next = number
            while self._next < number and self._capture.grab():
                self._next += 1
            good, image = self._capture.read()
            if not good or self._next != number:
                self.close()
                raise DatasetError(f"{path}: there is no frame {number}")
            self._next = number + 1
            _expect_size(image.shape, size, path)
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def count(self, path: Path) -> int:
        """How many frames a file says that it has; 0: it does not say."""
        with self._lock:
            if path != self._path:
                self.close()
                self._capture, self._path, self._next = cv2.VideoCapture(str(path)), path, 0
            assert self._capture is not None
            return max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def close(self) -> None:
        """Closes the video that is open."""
        if self._capture is not None:
            self._capture.release()
        self._path = self._capture = None


def _expect_size(shape: tuple[int, ...], size: Size | None, where: Path) -> None:
    if size is not None and shape[:2] != size:
        raise DatasetError(
            f"{where}: expected {size[1]} x {size[0]} pixels, got {shape[1]} x {shape[0]}"
        )


def find_pictures(
    annotations: Path,
    images: str | Path | None,
    example: str,
    split: str | None = None,
    *,
    upright: bool = True,
) -> PictureFiles:
    """The pictures of an annotation file.

    Args:
        annotations: path of the json file.
        images: folder, tar or zip file; by default the usual places around the json file are tried: ``images`` and
            ``JPEGImages`` (as folders or archives), the file's own folder, and ``NAME/JPEGImages`` beside or above it,
            where NAME is the file's.
        example: name of one picture.
        split: the wanted split, which may be a folder's name too.
        upright: as for :class:`PictureFiles`.

    Raises:
        DatasetError: nothing was found.
    """
    if images is not None:
        return PictureFiles(images, example, upright=upright)
    folder, stem = annotations.parent, annotations.stem
    names = ["images", "JPEGImages", stem, f"{stem}/JPEGImages"]
    names += [split, f"{split}/JPEGImages"] if split else []
    places = [base / name for base in (folder, folder.parent) for name in names]
    places += [p.with_name(p.name + s) for p in places for s in (".tar", ".zip")]
    places.insert(1, folder)
    there = [place for place in places if os.path.exists(place)]
    for place in there:
        if place.is_dir() and not os.path.exists(place / example):
            continue
        files = PictureFiles(place, example, upright=upright)
        if place.is_dir() or example in files:
            return files
    # Nowhere as it is written: perhaps under the name that is meant.
    for place in there:
        if place.is_dir() and example in (files := PictureFiles(place, upright=upright)):
            return files
    fallback = folder / "images"
    return PictureFiles(fallback if fallback.is_dir() else folder, upright=upright)
