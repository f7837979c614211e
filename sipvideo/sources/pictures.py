"""Folders of pictures, single pictures and animations, as videos."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sipvideo import pictures
from sipvideo.errors import SourceError
from sipvideo.files import PICTURE_SUFFIXES, is_pattern, is_picture, matches, natural
from sipvideo.pictures import Decoded, PictureError
from sipvideo.remote import RemoteError, RemoteFile, StoredFile, is_remote, listed, shown
from sipvideo.sources.source import Capture, Place, Source
from sipvideo.structures import Frame

NAMED = 5
"""Pictures that a note names."""


class ImageFolder(Source):
    """Pictures as a video: a folder, a glob pattern or a single picture, in natural order (2 before 10).

    Hidden files and files that are no pictures (by suffix) are passed over. Pictures may differ in size. Those of a
    folder or pattern that cannot be read are left out with a note; the others keep their numbers and times. Animations
    give their first frame, with a note.

    Args:
        where: folder, pattern (``frames/*.jpg``) or file; on the disk or in a bucket.
        fps: pictures per second; the timestamp is index / fps.

    Raises:
        SourceError: nothing there, no pictures, or none that can be read.
    """

    repeatable = True

    def __init__(self, where: str | StoredFile, fps: float = 25.0) -> None:
        super().__init__(shown(str(where)))
        if not fps > 0:
            raise SourceError(f"{where}: expected a frame rate above 0, got {fps}")
        if isinstance(where, str) and not is_remote(where):
            where = Path(where)
        self._single = isinstance(where, RemoteFile) or os.path.isfile(where)
        self.files: Sequence[StoredFile] = (
            _pictures_there(where) if isinstance(where, str) else _pictures(where)
        )
        self.fps = float(fps)
        self.frame_count = len(self.files)
        self.duration = self.frame_count / self.fps
        self.frame_size = self._first_size()

    def _first_size(self) -> tuple[int, int]:
        problem = ""
        for path in self.files:
            try:
                return _read(path).upright_size
            except SourceError as error:  # noqa: PERF203 - most often the first one is good
                problem = problem or str(error)
        if len(self.files) == 1:
            raise SourceError(problem)
        raise SourceError(f"{self.name}: none of {len(self.files)} pictures can be read: {problem}")

    def _frames(self) -> Generator[Frame, None, None]:
        return self._frames_since(0)

    def _captures_at(self, place: Place) -> Generator[Capture, None, None]:
        for frame in self._frames_since(place.index):
            rgb = partial(np.asarray, frame.image)
            yield Capture(frame.index, frame.timestamp, rgb, frame.name)

    def _frames_since(self, first: int) -> Generator[Frame, None, None]:
        assert self.fps is not None
        damaged: list[str] = []
        animated: list[str] = []
        pages: list[str] = []
        try:
            for index, path in enumerate(self.files[first:], first):
                try:
                    found = _read(path)
                except SourceError as error:
                    if self._single:
                        raise
                    damaged.append(f"{path.name} ({str(error).removeprefix(f'{path}: ')})")
                    continue
                animated += [path.name] if found.frames > 1 else []
                pages += [path.name] if found.pages > 1 else []
                yield Frame(found.upright, index, index / self.fps, path.name)
                del found  # it would stay while the next one is decoded
        finally:
            count = len(self.files)
            self._tell(damaged, f"of {count} pictures cannot be read and are left out")
            self._tell(
                animated, f"of {count} pictures are animated: only their first frames are taken"
            )
            self._tell(pages, f"of {count} pictures have several pages: only the first are taken")

    def _tell(self, names: Sequence[str], what: str) -> None:
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            self.note(f"{len(names)} {what}: {', '.join(names[:NAMED])}{more}")


class Animation(Source):
    """An animated picture (GIF, WebP, PNG, AVIF), played once, with its own times.

    Frames that are to be shown for no time are shown for a tenth of a second, as browsers do.

    Args:
        path: of the file.

    Raises:
        SourceError: it cannot be read; what is cut off gives its frames first.
    """

    repeatable = True

    def __init__(self, path: str | StoredFile) -> None:
        super().__init__(str(path))
        self._file: StoredFile = Path(path) if isinstance(path, str) else path
        first = _read(self._file)
        self.frame_size = first.upright_size
        self.frame_count = first.frames
        self.time_base = Fraction(1, 1000)

    def _frames(self) -> Generator[Frame, None, None]:
        index, milliseconds = 0, 0
        try:
            for image, seconds in pictures.frames(_bytes(self._file)):
                yield Frame(image, index, milliseconds / 1000, self._file.name)
                index, milliseconds = index + 1, milliseconds + max(1, round(seconds * 1000))
        except PictureError as error:
            raise SourceError(f"{self._file}: {error} after {index} frames") from error


def open_picture(path: StoredFile, fps: float = 25.0) -> Source:
    """A picture file as a source: an animation with its frames, any other picture as one frame.

    Raises:
        SourceError: it cannot be read.
    """
    animated = pictures.file_kind(path) in pictures.ANIMATED and _read(path).frames > 1
    return Animation(path) if animated else ImageFolder(path, fps)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """One picture file as uint8 [H, W, 3], RGB, upright by its EXIF mark; transparent parts become white.

    Raises:
        SourceError: it cannot be read, or is damaged.
    """
    return _read(path).upright


def _read(path: StoredFile) -> Decoded:
    try:
        return pictures.decode(_bytes(path))
    except PictureError as error:
        raise SourceError(f"{path}: {error}") from error


def _bytes(path: StoredFile) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path}: cannot be read: {reason}") from error


def _pictures(where: StoredFile) -> Sequence[StoredFile]:
    """The pictures of a folder or a pattern, in order, or the one that is named."""
    if isinstance(where, RemoteFile) or where.is_file():
        return [where]
    text = str(where)
    if os.path.isdir(text):
        try:
            found = sorted(Path(text).iterdir(), key=natural)
        except OSError as error:
            raise SourceError(f"{where}: cannot be read: {error.strerror}") from error
    elif is_pattern(text):
        found = matches(text)
        if not found:
            raise SourceError(f"{where}: no such file or folder: nothing matches the pattern")
    else:
        raise SourceError(f"{where}: no such file or folder")
    chosen = [path for path in found if is_picture(path)]
    if not chosen:
        raise SourceError(f"{where}: no pictures ({', '.join(PICTURE_SUFFIXES)})")
    return chosen


def _pictures_there(where: str) -> list[RemoteFile]:
    """The pictures of a folder or a pattern in a bucket, in order."""
    try:
        found = [one.address for one in listed(where)]
    except RemoteError as error:
        raise SourceError(f"{shown(where)}: {error}") from error
    chosen = [address for address in found if Path(address).suffix.lower() in PICTURE_SUFFIXES]
    if not chosen:
        raise SourceError(f"{shown(where)}: no pictures ({', '.join(PICTURE_SUFFIXES)})")
    return sorted(map(RemoteFile, chosen), key=natural)
