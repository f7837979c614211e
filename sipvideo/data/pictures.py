"""Where the pictures of a data set are: in a folder, inside a tar or zip file, or as frames of video files."""

from __future__ import annotations

import tarfile
import threading
import zipfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError

Picture = NDArray[np.uint8]
Size = tuple[int, int]
VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")


class PictureFiles:
    """Pictures by the names that an annotation file has for them.

    Args:
        where: folder, uncompressed tar file or zip file.
        example: one of the names. Inside an archive it may lie deeper (``train/JPEGImages/``); the same path then
            stands before all names.

    Raises:
        DatasetError: there is no such folder or file, or it cannot be read.
    """

    def __init__(self, where: str | Path, example: str = "") -> None:
        self.where = Path(where)
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        self._parts: dict[str, tuple[int, int]] | None = None
        if self.where.is_file():
            self._open(example)
        elif not self.where.is_dir():
            raise DatasetError(f"{self.where}: no such folder, tar or zip file of pictures")

    def _open(self, example: str) -> None:
        try:
            if zipfile.is_zipfile(self.where):
                self._zip = zipfile.ZipFile(self.where)
                names = dict.fromkeys(self._zip.namelist(), (0, 0))
            else:
                with tarfile.open(self.where, "r:") as archive:
                    names = {
                        m.name.removeprefix("./"): (m.offset_data, m.size)
                        for m in archive
                        if m.isreg()
                    }
        except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
            raise DatasetError(
                f"{self.where}: expected a folder, an uncompressed tar file or a zip file ({error})"
            ) from error
        prefix = next(
            (n.removesuffix(example) for n in names if f"/{n}".endswith(f"/{example}")), ""
        )
        self._prefix = prefix
        self._parts = {n.removeprefix(prefix): p for n, p in names.items() if n.startswith(prefix)}

    def __contains__(self, name: str) -> bool:
        if self._parts is not None:
            return name in self._parts
        return (self.where / name).is_file()

    def read(self, name: str, size: Size | None = None) -> Picture:
        """One picture, uint8 [H, W, 3], RGB, as its pixels are stored.

        Raises:
            DatasetError: it is missing, cannot be decoded, or has another (height, width) than ``size``.
        """
        try:
            data = np.frombuffer(self._bytes(name), np.uint8)
        except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise DatasetError(f"{self.where / name}: cannot read the picture: {error}") from error
        # Annotations belong to the stored pixels, whatever orientation the metadata asks for.
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        image = None
        if len(data):
            try:
                image = cv2.imdecode(data, flags)
            except cv2.error:
                image = None
        if image is None:
            raise DatasetError(f"{self.where / name}: cannot decode the picture")
        _expect_size(image.shape, size, self.where / name)
        return np.asarray(image, np.uint8)

    def _bytes(self, name: str) -> bytes:
        if self._parts is None:
            return (self.where / name).read_bytes()
        if name not in self._parts:
            raise KeyError(f"not in {self.where.name}")
        if self._zip is not None:
            with self._lock:
                return self._zip.read(self._prefix + name)
        start, length = self._parts[name]
        with open(self.where, "rb") as file:
            file.seek(start)
            return file.read(length)


class VideoFiles:
    """Frames of video files by number. Reading them in order is fast, anywhere else each frame needs a seek."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._capture: cv2.VideoCapture | None = None
        self._next = 0

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
    annotations: Path, images: str | Path | None, example: str, split: str | None = None
) -> PictureFiles:
    """The pictures of an annotation file.

    Args:
        annotations: path of the json file.
        images: folder, tar or zip file; by default the usual places around the json file are tried: ``images`` and
            ``JPEGImages`` (as folders or archives), the file's own folder, and ``NAME/JPEGImages`` beside or above it,
            where NAME is the file's.
        example: name of one picture.
        split: the wanted split, which may be a folder's name too.

    Raises:
        DatasetError: nothing was found.
    """
    if images is not None:
        return PictureFiles(images, example)
    folder, stem = annotations.parent, annotations.stem
    names = ["images", "JPEGImages", stem, f"{stem}/JPEGImages"]
    names += [split, f"{split}/JPEGImages"] if split else []
    places = [base / name for base in (folder, folder.parent) for name in names]
    places += [p.with_name(p.name + s) for p in places for s in (".tar", ".zip")]
    places.insert(1, folder)
    there = [place for place in places if place.exists()]
    for place in there:
        if place.is_dir() and not (place / example).exists():
            continue
        files = PictureFiles(place, example)
        if place.is_dir() or example in files:
            return files
    fallback = folder / "images"
    return PictureFiles(fallback if fallback.is_dir() else folder)
