"""Sinks that write pictures: annotated ones for people, label maps for programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SinkError
from sipvideo.sinks.layers import owners
from sipvideo.sinks.sink import Kept, Sink, hidden, replacing
from sipvideo.structures import FrameResult

Draw = Callable[[FrameResult], NDArray[np.uint8]]
SUFFIXES = (".jpg", ".jpeg", ".png")


class AnnotatedPicture(Sink):
    """One annotated picture, for sources of a single picture.

    Args:
        path: a ``.jpg`` or ``.png`` file.
        draw: result -> uint8 [H, W, 3], RGB.
    """

    def __init__(self, path: str | Path, draw: Draw) -> None:
        if Path(path).suffix.lower() not in SUFFIXES:
            raise SinkError(f"{path}: expected a name ending in {', '.join(SUFFIXES)}")
        super().__init__(path)
        self._draw = draw

    def _write(self, result: FrameResult) -> None:
        if self.frames_written:
            raise SinkError(f"{self.path}: holds a single picture, the source has more")
        content = _encoded(self._draw(result)[:, :, ::-1], self.path)
        with replacing(self._partial) as new:
            new.write_bytes(content)

    def _finish(self) -> None:
        if not self.frames_written:
            raise SinkError(f"{self.path}: there was no frame to write")

    @classmethod
    def assemble(cls, partial: Path, path: Path) -> Kept:
        """See :meth:`Sink.assemble`."""
        if not partial.stat().st_size:
            partial.unlink()
            return Kept(0)
        super().assemble(partial, path)
        return Kept(1)


class _Folder(Sink):
    """A folder with one file per frame, each of them whole."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, folder=True)

    def _add(self, target: Path, content: bytes) -> None:
        growing = hidden(target)
        growing.write_bytes(content)
        os.replace(growing, target)

    def _finish(self) -> None:
        pass

    @classmethod
    def assemble(cls, partial: Path, path: Path) -> Kept:
        """See :meth:`Sink.assemble`."""
        for unfinished in partial.glob(".*.partial"):
            unfinished.unlink()
        super().assemble(partial, path)
        return Kept(sum(1 for _ in path.iterdir()))


class AnnotatedPictures(_Folder):
    """A folder with one annotated picture per frame, named like the source's picture or by frame number.

    Args:
        folder: new or empty.
        draw: result -> uint8 [H, W, 3], RGB.
    """

    def __init__(self, folder: str | Path, draw: Draw) -> None:
        super().__init__(folder)
        self._draw = draw

    def _write(self, result: FrameResult) -> None:
        suffix = Path(result.frame.name).suffix.lower()
        target = _target(self._partial, result, suffix if suffix in SUFFIXES else ".png")
        self._add(target, _encoded(self._draw(result)[:, :, ::-1], target))


class LabelMapPngs(_Folder):
    """A folder with one lossless 16-bit PNG per frame: pixel = track id + 1, 0 where there is nobody.

    Where masks overlap the higher score is on top. Untracked objects are left out. Files are named like the
    source's pictures, or by frame number (``000000.png``).

    Args:
        folder: new or empty.
    """

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        values = np.concatenate(([0], result.track_ids + 1))
        if values.max() > 65535:
            raise SinkError(
                f"{self.path}: track id {values.max() - 1} does not fit into 16 bits (up to 65534)"
            )
        picture = values.astype(np.uint16)[owners(result.detections)]
        target = _target(self._partial, result, ".png")
        self._add(target, _encoded(picture, target))


def _target(folder: Path, result: FrameResult, suffix: str) -> Path:
    """The file of a frame; pictures that differ only in their ending or folder do not overwrite each other."""
    number = f"{result.frame.index:06d}"
    stem = Path(result.frame.name).stem or number
    path = folder / f"{stem}{suffix}"
    return folder / f"{stem}_{number}{suffix}" if path.exists() else path


def _encoded(picture: NDArray[Any], path: Path) -> bytes:
    """File content in the format of the path's ending; OpenCV's own writing does not say why it failed."""
    suffix = path.suffix.lower()
    quality = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    height, width = picture.shape[:2]
    if suffix != ".png" and max(height, width) > 65500:
        raise SinkError(f"{path.name}: {width} x {height} pixels are too many for JPEG, use PNG")
    return cv2.imencode(suffix, np.ascontiguousarray(picture), quality)[1].tobytes()
