"""Folders of pictures, and single pictures, as videos."""

from __future__ import annotations

import contextlib
import glob
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SourceError
from sipvideo.sources.camera import quiet_opencv
from sipvideo.sources.source import Source
from sipvideo.structures import Frame

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


class ImageFolder(Source):
    """Pictures as a video: a folder, a glob pattern or a single picture, in natural order (2 before 10).

    Hidden files and files that are no pictures (by suffix) are passed over. Pictures may differ in size.

    Args:
        where: folder, pattern (``frames/*.jpg``) or file.
        fps: pictures per second; the timestamp is index / fps.

    Raises:
        SourceError: nothing there, no pictures, or a picture that cannot be read (with its name).
    """

    def __init__(self, where: str | Path, fps: float = 25.0) -> None:
        super().__init__(str(where))
        if not fps > 0:
            raise SourceError(f"{where}: expected a frame rate above 0, got {fps}")
        folder = Path(where)
        if folder.is_dir():
            found = list(folder.iterdir())
        elif folder.is_file():
            found = [folder]
        else:
            found = [Path(match) for match in glob.glob(str(where), recursive=True)]
            if not found:
                raise SourceError(f"{where}: no such file or folder")
        self.files = sorted((p for p in found if _is_picture(p)), key=_natural)
        if not self.files:
            raise SourceError(f"{where}: no pictures ({', '.join(PICTURE_SUFFIXES)})")
        self.fps = float(fps)
        self.frame_count = len(self.files)
        self.duration = self.frame_count / self.fps
        height, width = read_picture(self.files[0]).shape[:2]
        self.frame_size = (height, width)

    def _frames(self) -> Generator[Frame, None, None]:
        assert self.fps is not None
        for index, path in enumerate(self.files):
            yield Frame(read_picture(path), index, index / self.fps, path.name)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """One picture file as uint8 [H, W, 3], RGB, upright by its EXIF mark; transparent parts become white.

    Raises:
        SourceError: it cannot be read, or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    # OpenCV honours orientation marks only where it also converts to 8-bit colour; transparency and the full
    # range of 16-bit pictures need the unchanged values.
    marked = data[:2] == b"\xff\xd8" or b"eXIf" in data or b"EXIF" in data
    flags = cv2.IMREAD_COLOR if marked else cv2.IMREAD_UNCHANGED
    picture = None
    if data and not (data[:2] == b"\xff\xd8" and _jpeg_is_cut_off(data)):
        with contextlib.suppress(cv2.error), quiet_opencv():
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise SourceError(f"{path}: not a picture, or damaged")
    if picture.dtype not in (np.uint8, np.uint16):
        raise SourceError(f"{path}: expected 8 or 16 bits per channel, got {picture.dtype}")
    return _as_rgb(picture)


def _as_rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """OpenCV's picture (grey, BGR or BGRA; 8 or 16 bits) as 8-bit RGB, transparent parts over white."""
    if picture.dtype == np.uint16:
        picture = cv2.convertScaleAbs(picture, alpha=1 / 257)
    if picture.ndim == 2:
        rgb = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    elif picture.shape[2] == 3:
        rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    else:
        alpha = picture[:, :, 3:].astype(np.uint16)
        colours = cv2.cvtColor(picture, cv2.COLOR_BGRA2RGB)
        rgb = (colours * alpha + 255 * (255 - alpha) + 127) // 255
    return np.asarray(rgb, np.uint8)


def _jpeg_is_cut_off(data: bytes) -> bool:
    """Whether the end marker is missing: decoders fill the rest with grey and call it a success."""
    position = 2
    while True:
        # Inside the compressed data FF 00 and the restart marks FF D0-D7 are no segments.
        mark = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(data, position)
        if mark is None or mark.end() + 2 > len(data):
            return mark is None or mark.group() != b"\xff\xd9"
        if mark.group() == b"\xff\xd9":
            return False
        position = mark.end() + int.from_bytes(data[mark.end() : mark.end() + 2], "big")


def _is_picture(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key in which frame2 comes before frame10; the plain name decides between 01 and 1."""
    parts = re.split(r"(\d+)", str(path))
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p]
    return key, str(path)
