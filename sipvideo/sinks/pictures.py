"""Sinks that write pictures: annotated ones for people, label maps for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SinkError
from sipvideo.sinks.layers import owners
from sipvideo.sinks.sink import Sink
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
        self._partial.write_bytes(_encoded(self._draw(result)[:, :, ::-1], self.path))

    def _finish(self) -> None:
        if not self.frames_written:
            raise SinkError(f"{self.path}: there was no frame to write")


class AnnotatedPictures(Sink):
    """A folder with one annotated picture per frame, named like the source's picture or by frame number.

    Args:
        folder: new or empty.
        draw: result -> uint8 [H, W, 3], RGB.
    """

    def __init__(self, folder: str | Path, draw: Draw) -> None:
        super().__init__(folder, folder=True)
        self._draw = draw

    def _write(self, result: FrameResult) -> None:
        suffix = Path(result.frame.name).suffix.lower()
        target = _target(self._partial, result, suffix if suffix in SUFFIXES else ".png")
        target.write_bytes(_encoded(self._draw(result)[:, :, ::-1], target))

    def _finish(self) -> None:
        pass


class LabelMapPngs(Sink):
    """A folder with one lossless 16-bit PNG per frame: pixel = track id + 1, 0 where there is nobody.

    Where masks overlap the higher score is on top. Untracked objects are left out. Files are named like the
    source's pictures, or by frame number (``000000.png``).

    Args:
        folder: new or empty.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, folder=True)

    def _write(self, result: FrameResult) -> None:
        result = result.tracked()
        values = np.concatenate(([0], result.track_ids + 1))
        if values.max() > 65535:
            raise SinkError(
                f"{self.path}: track id {values.max() - 1} does not fit into 16 bits (up to 65534)"
            )
        picture = values.astype(np.uint16)[owners(result.detections)]
        target = _target(self._partial, result, ".png")
        target.write_bytes(_encoded(picture, target))

    def _finish(self) -> None:
        pass


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
