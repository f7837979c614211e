"""A part of a source: from here to there, every third frame, so many at most."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Iterator

from sipvideo.errors import SourceError
from sipvideo.sources.source import Capture, Place, Source, converted
from sipvideo.structures import Frame

ROUNDING = 1e-6
"""Seconds that a sum of times may lack."""


class Excerpt(Source):
    """Some frames of another source, which is closed with it. Their numbers and times stay the source's.

    Args:
        source: where the frames come from.
        start: second of the source's playing time from which frames are taken.
        end: second before which they are taken; None: up to the end.
        every: of so many frames one is taken, the first of ``start`` on among them.
        most: number of frames at most.
    """

    def __init__(
        self,
        source: Source,
        start: float = 0.0,
        end: float | None = None,
        *,
        every: int = 1,
        most: int | None = None,
    ) -> None:
        super().__init__(source.name)
        self._source = source
        self._from, self._to = start, math.inf if end is None else end
        self._every, self._most = every, math.inf if most is None else most
        # One list: what is told while reading belongs to both.
        self.notes, self.note = source.notes, source.note
        self.frame_size, self.path = source.frame_size, source.path
        self.time_base, self.pixel_aspect = source.time_base, source.pixel_aspect
        self.stream, self.clock_start = source.stream, source.clock_start
        self.is_live, self.buffers = source.is_live, source.buffers
        self.repeatable, self.hardware = source.repeatable, source.hardware
        self.start = None if source.start is None else source.start + start
        self.fps = None if source.fps is None else source.fps / every
        if end is None and most is None and source.duration is not None:
            self.duration = max(source.duration - start, 0.0)  # else sound would go on to the end
        self._opened.callback(source.close)

    @property
    def expected_frames(self) -> int | None:
        """About how many frames will come, for people."""
        whole = self._source.expected_frames
        fps = self._source.fps
        left = None if whole is None else float(whole)
        if fps is not None:
            span = self._to - self._from
            left = min(
                math.inf if left is None else left - self._from * fps,
                span * fps,
            )
        limit = min(math.inf if left is None else left / self._every, self._most)
        return None if math.isinf(limit) else max(math.ceil(limit), 0)

    def _captures(self) -> Generator[Capture, None, None]:
        with contextlib.closing(self._source.captures()) as captures:  # type: ignore[type-var]
            yield from self._chosen(captures)

    def _captures_from(self, place: Place) -> Generator[Capture, None, None]:
        with contextlib.closing(self._source._captures_from(place)) as captures:
            yield from self._chosen(captures, place.count - 1)

    def _chosen(
        self, captures: Iterator[Capture], taken: int = 0
    ) -> Generator[Capture, None, None]:
        """Those that are wanted, once so many were taken; the next one that could be is wanted."""
        second_0 = self._source.start
        seen = taken * self._every
        passed = 0.0
        for capture in captures:
            if second_0 is None:
                second_0 = capture.timestamp
            passed = capture.timestamp - second_0 + ROUNDING
            if passed >= self._to or taken >= self._most:
                return
            if passed < self._from:
                continue
            if seen % self._every == 0:
                taken += 1
                yield capture
            seen += 1
        if not taken:
            raise SourceError(
                f"{self.name}: there is no frame from {self._from:g} s on, the last one is at {passed:g} s"
            )

    def _frames(self) -> Generator[Frame, None, None]:
        return converted(self._captures())


def seconds(text: str) -> float:
    """Seconds of ``90``, ``1:30``, ``1:02:03.5`` or ``250ms``, ``90s``, ``2min``, ``1h``.

    Raises:
        ValueError: another text.
    """
    units = {"ms": 0.001, "min": 60.0, "s": 1.0, "m": 60.0, "h": 3600.0}
    given = text.strip().lower()
    for unit, factor in units.items():
        if given.endswith(unit) and ":" not in given:
            return _number(given[: -len(unit)], text) * factor
    parts = given.split(":")
    if len(parts) > 3:
        raise ValueError(f"expected a time such as 90, 1:30 or 250ms, got {text!r}")
    total = 0.0
    for place, part in enumerate(parts):
        value = _number(part, text)
        if place and value >= 60:
            raise ValueError(f"expected less than 60 after a colon, got {text!r}")
        total = total * 60 + value
    return total


def _number(part: str, text: str) -> float:
    digits = part.strip()
    if not digits.replace(".", "", 1).isdecimal():
        raise ValueError(f"expected a time such as 90, 1:30 or 250ms, got {text!r}")
    return float(digits)
