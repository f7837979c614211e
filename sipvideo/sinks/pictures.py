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
from sipvideo.sinks.sink import Kept, Mark, Sink, hidden, replacing
from sipvideo.structures import FrameResult

Draw = Callable[[FrameResult], NDArray[np.uint8]]
SUFFIXES = (".jpg", ".jpeg", ".png")


class AnnotatedPicture(Sink):
    """One annotated picture, for sources of a single picture.

    Args:
        path: a ``.jpg`` or ``.png`` file.
        draw: result -> uint8 [H, W, 3], RGB, or [H, W, 4] with opacity.
    """

    def __init__(self, path: str | Path, draw: Draw, *, mark: Mark | None = None) -> None:
        if Path(path).suffix.lower() not in SUFFIXES:
            raise SinkError(f"{path}: expected a name ending in {', '.join(SUFFIXES)}")
        super().__init__(path, mark=mark)
        self._draw = draw

    def _write(self, result: FrameResult) -> None:
        if self.frames_written:
            raise SinkError(f"{self.path}: holds a single picture, the source has more")
        content = _encoded(_in_order(self._draw(result)), self.path)
        with replacing(self._partial) as new:
            new.write_bytes(content)

    def _finish(self) -> None:
        if not self.frames_written:
            raise SinkError(f"{self.path}: there was no frame to write")

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        if not partial.stat().st_size:
            partial.unlink()
            return Kept(0)
        super().assemble(partial, path, keep=keep)
        return Kept(1)


class _Folder(Sink):
    """A folder with one file per frame, each of them whole: named like the source's picture, or by frame number."""

    def __init__(self, folder: str | Path, *, mark: Mark | None = None) -> None:
        self._names: set[str] = set()
        self._last = -1
        super().__init__(folder, folder=True, mark=mark)

    def _add(self, target: Path, content: bytes) -> None:
        growing = hidden(target)
        growing.write_bytes(content)
        os.replace(growing, target)

    def _target(self, result: FrameResult, suffix: str) -> Path:
        """The file of a frame; pictures that differ only in their ending or folder do not overwrite each other."""
        self._last = result.frame.index
        number = f"{result.frame.index:06d}"
        stem = Path(result.frame.name).stem
        if not stem:
            return self._partial / f"{number}{suffix}"
        name = f"{stem}{suffix}"
        name = f"{stem}_{number}{suffix}" if name in self._names else name
        self._names.add(name)
        return self._partial / name

    def _memory(self) -> dict[str, Any]:
        return {"last": self._last, "names": sorted(self._names)}

    def _take_up(self, mark: Mark, *, folder: bool) -> None:
        super()._take_up(mark, folder=folder)
        self._last, self._names = mark["memory"]["last"], set(mark["memory"]["names"])
        for file in self._partial.iterdir():
            if self._is_later(file):
                file.unlink()

    def _is_later(self, file: Path) -> bool:
        """Whether a file was written after the last frame that counts."""
        if self._names or not file.stem.isdecimal():
            return file.name not in self._names
        return int(file.stem) > self._last

    def _finish(self) -> None:
        pass

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        for unfinished in partial.glob(".*.partial"):
            unfinished.unlink()
        super().assemble(partial, path, keep=keep)
        return Kept(sum(1 for _ in path.iterdir()))


class AnnotatedPictures(_Folder):
    """A folder with one annotated picture per frame, named like the source's picture or by frame number.

    Args:
        folder: new or empty.
        draw: result -> uint8 [H, W, 3], RGB, or [H, W, 4] with opacity.
    """

    def __init__(self, folder: str | Path, draw: Draw, *, mark: Mark | None = None) -> None:
        super().__init__(folder, mark=mark)
        self._draw = draw

    def _write(self, result: FrameResult) -> None:
        picture = self._draw(result)
        suffix = Path(result.frame.name).suffix.lower()
        fits = suffix in SUFFIXES and picture.shape[2] == 3  # JPEG has no transparency
        target = self._target(result, suffix if fits else ".png")
        self._add(target, _encoded(_in_order(picture), target))


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
        target = self._target(result, ".png")
        self._add(target, _encoded(picture, target))


def _in_order(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Channels in OpenCV's order."""
    how = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(picture, how), np.uint8)


def _encoded(picture: NDArray[Any], path: Path) -> bytes:
    """File content in the format of the path's ending; OpenCV's own writing does not say why it failed."""
    suffix = path.suffix.lower()
    quality = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, 95]
    height, width = picture.shape[:2]
    if suffix != ".png" and max(height, width) > 65500:
        raise SinkError(f"{path.name}: {width} x {height} pixels are too many for JPEG, use PNG")
    return cv2.imencode(suffix, np.ascontiguousarray(picture), quality)[1].tobytes()
