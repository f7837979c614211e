"""What every source of frames promises."""

from __future__ import annotations

import contextlib
import itertools
import weakref
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import SourceError
from sipvideo.remote import StoredFile
from sipvideo.structures import DevicePicture, Frame

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Capture:
    """A decoded picture that is not yet RGB: who drops it need not pay for the conversion.

    Attributes:
        index: frame number in the source; a gap: pictures that were not decoded.
        timestamp: seconds on the source's clock.
        rgb: makes the upright picture, uint8 [H, W, 3], or one on a device; from any thread.
        name: the picture's file name for image folders, else empty.
        arrived: ``time.monotonic`` when a live source's picture had come in, None for recordings.
        missing: how many of the gap before it were left out, by cause; others were damaged.
    """

    index: int
    timestamp: float
    rgb: Callable[[], NDArray[np.uint8] | DevicePicture]
    name: str = ""
    arrived: float | None = None
    missing: Mapping[str, int] = field(default_factory=dict)

    def frame(self) -> Frame:
        """The frame, converted now."""
        return Frame.of(self.rgb(), self.index, self.timestamp, self.name)


@dataclass(frozen=True)
class Passed:
    """A picture of a live source has come, and nothing was decoded.

    Attributes:
        index: of the next picture in the source; a gap: pictures that will not be shown.
        missing: how many they are, by cause.
        arrived: ``time.monotonic`` when the picture had come in.
    """

    index: int
    missing: Mapping[str, int]
    arrived: float


@dataclass(frozen=True)
class Place:
    """A frame that a source gave, to go on from there when it is read again.

    Attributes:
        index, timestamp: of the frame.
        picture: :func:`picture_sum` of it.
        count: frames that were given up to and with it.
    """

    index: int
    timestamp: float
    picture: int
    count: int

    def is_at(self, frame: Frame) -> bool:
        """Whether a frame is the one."""
        same = (frame.index, frame.timestamp) == (self.index, self.timestamp)
        return same and picture_sum(frame.image) == self.picture


def picture_sum(image: NDArray[np.uint8]) -> int:
    """A number that tells whether two pictures are the same."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def _add(notes: list[str], text: str) -> None:
    """Adds a line, unless it is there: reading may start anew."""
    if text not in notes:
        notes.append(text)


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
        repeatable: reading it again gives the same frames, as long as nobody changes it.
        buffers: a live source whose first frames may be older: they were collected while it was opened.
        path: the video file (for its audio track), on the disk or in a bucket; None for other sources.
        stream: number of the video in that file, None for other sources.
        clock_start: second 0 of the timestamps on that file's own clock.
        hardware: what decodes it, one of :data:`sipvideo.sources.hardware.KINDS`; empty: software.
        notes: lines for people about what was chosen, changed or lost on the way from the file to the frames, each
            once and without the source's name; filled while it is opened and read, complete when iterating ended.
    """

    frame_size: tuple[int, int] | None = None
    frame_count: int | None = None
    fps: float | None = None
    duration: float | None = None
    start: float | None = 0.0
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    is_live: bool = False
    repeatable: bool = False
    buffers: bool = False
    path: StoredFile | None = None
    stream: int | None = None
    clock_start: float = 0.0
    hardware: str = ""

    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []
        # Knows the list, not the source: a decoder that has it would keep source and itself alive, with its threads.
        self.note: Callable[[str], None] = partial(_add, self.notes)
        self._closed = False
        self._opened = contextlib.ExitStack()  # what a source holds from before its first frame
        self._running: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()

    @property
    def expected_frames(self) -> int | None:
        """About how many frames will come, as far as that is known or can be reckoned, for people."""
        if self.frame_count is None and self.duration and self.fps:
            return round(self.duration * self.fps)
        return self.frame_count

    @abstractmethod
    def _frames(self) -> Generator[Frame, None, None]:
        """Decodes from the first frame on."""

    def _captures(self) -> Generator[Capture, None, None]:
        """As ``_frames``, for sources that can put the conversion off."""
        for frame in self._frames():
            yield Capture(
                frame.index, frame.timestamp, partial(np.asarray, frame.image), frame.name
            )

    def _newest(self, wanted: Callable[[], bool]) -> Generator[Capture | Passed, None, None]:
        """As ``_captures``, for sources that can put the decoding off."""
        yield from self._captures()

    def _captures_from(self, place: Place) -> Generator[Capture, None, None]:
        """As ``_captures``, from a frame on: what comes before is read and dropped."""
        with contextlib.closing(self._captures()) as captures:
            for capture in captures:
                if capture.index >= place.index:
                    yield capture

    def frames_from(self, place: Place) -> Iterator[Frame]:
        """The frames from a place on, that of the place first: exactly those that iterating gives.

        Raises:
            SourceError: the frame there is another one now, and what iterating raises.
        """
        frames = self._until_closed(lambda: converted(self._captures_from(place)))
        first = next(frames, None)
        if first is None or not place.is_at(first):
            raise SourceError(f"{self.name}: frame {place.index} is not the one that was there")
        return itertools.chain((first,), frames)

    def __iter__(self) -> Iterator[Frame]:
        """Frames in order; files and folders start anew at every call. Raises SourceError."""
        return self._until_closed(self._frames)

    def captures(self) -> Iterator[Capture]:
        """As iterating, for whoever will drop most of the frames: they become RGB when asked to."""
        return self._until_closed(self._captures)

    def newest(self, wanted: Callable[[], bool]) -> Iterator[Capture | Passed]:
        """As :meth:`captures`, for whoever wants but some of a live source's pictures, the newest then.

        Args:
            wanted: whether pictures are wanted now; asked whenever one comes.
        """
        return self._until_closed(lambda: self._newest(wanted))

    def captures_at(self, index: int, timestamp: float) -> Iterator[Capture]:
        """As :meth:`captures` from a frame on, for whoever wants single ones soon. Raises SourceError.

        Args:
            index, timestamp: of a frame that iterating gives. Where it does not, what comes next is given.
        """
        place = Place(index, timestamp, 0, 0)
        return self._until_closed(lambda: self._captures_at(place))

    def _captures_at(self, place: Place) -> Generator[Capture, None, None]:
        """As ``_captures_from``, whatever the picture is that is there now."""
        return Source._captures_from(self, place)

    def _until_closed(self, begin: Callable[[], Generator[T, None, None]]) -> Iterator[T]:
        if self._closed:
            raise SourceError(f"{self.name}: the source is closed")
        items = self._guarded(begin)
        self._running.add(items)
        return items

    def _guarded(self, begin: Callable[[], Generator[T, None, None]]) -> Generator[T, None, None]:
        try:
            with contextlib.closing(begin()) as items:
                for item in items:
                    if self._closed:
                        return
                    yield item
                    del item  # a frame would stay while the next one is decoded
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


def converted(captures: Generator[Capture, None, None]) -> Generator[Frame, None, None]:
    """The frames of captures, each converted as it comes."""
    with contextlib.closing(captures):
        for capture in captures:
            yield capture.frame()
