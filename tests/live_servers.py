"""Live sources for tests: scripted ones, cameras on the network, and a segmenter that sees what they film."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.apps.reports.cameras import Kind, NetworkCamera
from sipvideo.config import TrackerConfig
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sources import Source
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.waiting import PATIENCE

SIZE = (144, 192)
CLASSES = ("red", "blue")
COLOURS = ((210, 40, 40), (40, 40, 210))


def squares(moment: float) -> NDArray[np.uint8]:
    """A red and a blue square that sway to and fro, as seen at a moment."""
    image = np.full((*SIZE, 3), 110, np.uint8)
    for row, colour in zip((40, 90), COLOURS, strict=True):
        x = round(76 + 12 * np.sin(2 * moment + row))
        image[row : row + 40, x : x + 40] = colour
    return image


def find_squares(frame: Frame) -> Detections:
    """What of :func:`squares` is really in the picture."""
    boxes, labels, crops = [], [], []
    for label, colour in enumerate(COLOURS):
        mask = (np.abs(frame.image.astype(int) - colour) < 60).all(2)
        mask = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((9, 9))) > 0
        if not mask.any():
            continue
        (y0, x0), (y1, x1) = np.argwhere(mask).min(0), np.argwhere(mask).max(0) + 1
        boxes.append((x0, y0, x1, y1))
        labels.append(label)
        crops.append(mask[y0:y1, x0:x1])
    origins = [(int(box[0]), int(box[1])) for box in boxes]
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, np.float32),
        labels=np.array(labels, np.int64),
        masks=CompactMasks.from_crops(crops, origins, frame.size),
        embeddings=np.zeros((len(boxes), 0), np.float32),
    )


def segmenter(delay: float = 0.0) -> VideoSegmenter:
    """Finds the squares, in ``delay`` seconds at least; the tracker is the real one."""

    def segment(frame: Frame) -> Detections:
        time.sleep(delay)
        return find_squares(frame)

    return VideoSegmenter(segment, build_tracker(TrackerConfig()), CLASSES)


class Scripted(Source):
    """A live source that gives what a script says: frames as they are, errors raised, functions called."""

    is_live = True
    start = None

    def __init__(
        self, script: Iterable[Frame | Exception | Callable[[], object]], live: bool = True
    ) -> None:
        super().__init__("scripted")
        self.is_live = live
        self._script = script

    def _frames(self) -> Generator[Frame, None, None]:
        for item in self._script:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Frame):
                yield item
            else:
                item()


def frame(index: int, size: tuple[int, int] = (4, 6)) -> Frame:
    """A frame of one colour, its number, at 25 per second."""
    return Frame(np.full((*size, 3), index % 256, np.uint8), index, index / 25)


class Steps:
    """Lets a test say when a scripted source goes on."""

    def __init__(self) -> None:
        self._semaphore = threading.Semaphore(0)

    def wait(self) -> None:
        assert self._semaphore.acquire(timeout=PATIENCE), "the test never went on"

    def go_on(self, steps: int = 1) -> None:
        self._semaphore.release(steps)


def filming(fps: float = 30.0, film: Callable[[float], NDArray[np.uint8]] = squares) -> Scripted:
    """A camera without a network: films for as long as it is open."""

    def script() -> Iterator[Frame]:
        begun = time.monotonic()
        for index in range(100_000):
            time.sleep(max(begun + index / fps - time.monotonic(), 0.0))
            yield Frame(film(time.monotonic()), index, index / fps)

    return Scripted(script())


def camera(kind: Kind, fps: float = 30.0) -> NetworkCamera:
    """A camera on the network that films the squares."""
    return NetworkCamera(kind, squares, fps)
