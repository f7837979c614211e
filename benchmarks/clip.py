"""What the peers' scripts share: one clip, read and written by OpenCV as their users do, and one line of JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


class Annotated:
    """An annotated mp4 as the peers' own guides write it: OpenCV's MPEG-4 writer."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps = path, fps
        self.writer: cv2.VideoWriter | None = None

    def write(self, picture: np.ndarray) -> None:
        """Adds a BGR picture uint8 [H, W, 3]."""
        if self.writer is None:
            size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter.fourcc(*"mp4v")
            self.writer = cv2.VideoWriter(str(self.path), code, self.fps, size)
        self.writer.write(picture)

    def close(self) -> None:
        """Ends the file."""
        if self.writer is not None:
            self.writer.release()


class Watch:
    """Wall time, processor time and objects of a run over a clip."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()
        self.objects: list[int] = []

    def tell(self, name: str, includes: str, about: str) -> None:
        """Prints the figures as one line of JSON."""
        wall = time.perf_counter() - self.wall
        frames = len(self.objects)
        figures = {
            "name": name,
            "fps": round(frames / wall, 2),
            "frames": frames,
            "seconds": round(wall, 2),
            "cores_busy": round((time.process_time() - self.processor) / wall, 2),
            "objects_per_frame": round(float(np.mean(self.objects)), 2),
            "includes": includes,
            "about": about,
        }
        print(json.dumps(figures), flush=True)


def rate(path: Path) -> float:
    """Frames per second of a clip."""
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
    capture.release()
    return fps


def pictures(path: Path, most: int | None = None) -> Iterator[np.ndarray]:
    """The clip's first pictures, BGR uint8 [H, W, 3]."""
    capture = cv2.VideoCapture(str(path))
    try:
        while most is None or most > 0:
            read, picture = capture.read()
            if not read:
                return
            yield picture
            most = most and most - 1
    finally:
        capture.release()
