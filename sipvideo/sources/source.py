"""What every source of frames promises."""

from __future__ import annotations

import contextlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

from sipvideo.errors import SourceError
from sipvideo.structures import Frame


class Source(ABC):
    """Something that gives frames, described by what is known before the first one.

    Attributes:
        name: for people; addresses without their password.
        frame_size: (height, width) of the upright frames; the first picture's for image folders.
        frame_count: number of frames as declared, None when unknown.
        fps: average frames per second, None when unknown.
        duration: seconds, None when unknown or endless.
        start: timestamp of second 0 of a recording; None: that of whichever frame comes first (live sources).
        time_base: unit of the timestamps, None when they have none.
        pixel_aspect: width of a pixel divided by its height.
        is_live: frames come when they happen, not when they are asked for.
        path: the video file (for its audio track), None for other sources.
    """

    frame_size: tuple[int, int] | None = None
    frame_count: int | None = None
    fps: float | None = None
    duration: float | None = None
    start: float | None = 0.0
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    is_live: bool = False
    path: Path | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self._closed = False
        self._opened = contextlib.ExitStack()  # what a source holds from before its first frame
        self._running: weakref.WeakSet[Generator[Frame, None, None]] = weakref.WeakSet()

    @abstractmethod
    def _frames(self) -> Generator[Frame, None, None]:
        """Decodes from the first frame on."""

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; files and folders start anew at every call. Raises SourceError."""
        if self._closed:
            raise SourceError(f"{self.name}: the source is closed")
        frames = self._until_closed()
        self._running.add(frames)
        return frames

    def _until_closed(self) -> Generator[Frame, None, None]:
        try:
            with contextlib.closing(self._frames()) as frames:
                for frame in frames:
                    if self._closed:
                        return
                    yield frame
        finally:
            if self._closed:
                self._opened.close()

    def close(self) -> None:
        """Ends every running iteration and frees the device or file. May be called twice, and from any thread."""
        self._closed = True
        try:
            for frames in list(self._running):
                frames.close()
        except ValueError:
            return  # another thread is inside the iteration: it sees the mark and frees everything itself
        self._opened.close()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
