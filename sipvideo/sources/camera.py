"""Local cameras, by OpenCV."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SourceError
from sipvideo.sources.source import Capture, Source, converted
from sipvideo.structures import Frame


class Camera(Source):
    """A local camera. Timestamps are seconds of ``time.monotonic`` right after the picture was grabbed.

    Args:
        device: index (0 is the first camera) or device path.
        frame_size: (height, width) to ask for; the camera may choose another one.
        timeout: seconds to wait for the device and for each picture, where the driver supports it.

    Raises:
        SourceError: no such camera, no permission, in use by another program, or it stops delivering.
    """

    is_live = True
    start = None

    def __init__(
        self,
        device: int | str = 0,
        frame_size: tuple[int, int] | None = None,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(f"camera {device}" if isinstance(device, int) else device)
        _check_access(self.name, device)
        with quiet_opencv():
            self._capture = cv2.VideoCapture(device)
            self._opened.callback(self._capture.release)
            if not self._capture.isOpened():
                raise SourceError(f"{self.name}: {_REFUSED}")
            self._capture.set(cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout * 1000)
            if frame_size is not None:
                self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, frame_size[0])
                self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, frame_size[1])
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.frame_size = (height, width) if height and width else None
        self.fps = self._capture.get(cv2.CAP_PROP_FPS) or None

    def _captures(self) -> Generator[Capture, None, None]:
        index = 0
        while True:
            grabbed = self._capture.grab()
            timestamp = time.monotonic()
            decoded, picture = self._capture.retrieve() if grabbed else (False, None)
            if not decoded or picture is None:
                raise SourceError(f"{self.name}: no more pictures after {index} frames")
            yield Capture(index, timestamp, partial(_rgb, picture), arrived=timestamp)
            index += 1

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._captures())


def _rgb(picture: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


_REFUSED = "cannot be opened: another program is using it, or it is no camera"


def _check_access(name: str, device: int | str) -> None:
    """Tells a camera that is not there from one that may not be used; OpenCV says neither."""
    if not sys.platform.startswith("linux"):
        return
    path = f"/dev/video{device}" if isinstance(device, int) else device
    if not os.path.exists(path):
        others = sorted(entry for entry in os.listdir("/dev") if entry.startswith("video"))
        hint = f"; there are {', '.join(others)}" if others else ": there is none at all"
        raise SourceError(f"{name}: no such camera ({path}){hint}")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(
            f"{name}: no permission for {path}: it usually takes membership of the group 'video'"
        )


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keeps off stderr what the caller gets as an error anyway."""
    log: Any = getattr(cv2.utils, "logging", cv2)  # its place in OpenCV 5, and in 4
    level = log.getLogLevel()
    log.setLogLevel(0)
    try:
        yield
    finally:
        log.setLogLevel(level)
