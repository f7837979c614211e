"""A result that knows when its picture was captured."""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from sipvideo.sinks.results import result_record
from sipvideo.sources import SourceStatus
from sipvideo.structures import FrameResult


@dataclasses.dataclass(frozen=True)
class AgeStatistics:
    """Ages in seconds, capture to hand-over and capture to display, of the last frames; NaN while there are none.

    Attributes:
        handed_over: p50 and p95 of the age when the result was handed over.
        shown: p50 and p95 of the age when :meth:`LiveResult.shown` was called.
        frames: how many frames were handed over and shown.
    """

    handed_over: tuple[float, float]
    shown: tuple[float, float]
    frames: tuple[int, int]


class Ages:
    """The ages of the last ``length`` frames. Memory stays flat."""

    def __init__(self, length: int = 600) -> None:
        self._handed_over: deque[float] = deque(maxlen=length)
        self._shown: deque[float] = deque(maxlen=length)

    def note(self, age: float, *, shown: bool) -> None:
        """Adds an age in seconds."""
        (self._shown if shown else self._handed_over).append(age)

    def statistics(self) -> AgeStatistics:
        """Their percentiles."""
        handed_over, shown = list(self._handed_over), list(self._shown)
        return AgeStatistics(_p50_p95(handed_over), _p50_p95(shown), (len(handed_over), len(shown)))


def _p50_p95(values: list[float]) -> tuple[float, float]:
    if not values:
        return float("nan"), float("nan")
    p50, p95 = np.percentile(values, (50, 95)).tolist()
    return p50, p95


@dataclasses.dataclass(frozen=True, eq=False)
class LiveResult:
    """The result of one frame of a live source.

    Attributes:
        source: the source's key.
        result: the frame, its objects and their identities; ``result.frame.timestamp`` is ``captured``.
        captured: when the picture was captured, seconds of ``time.monotonic``.
        source_timestamp: the same moment on the source's own clock, in seconds.
        status: what the source was doing at hand-over.
    """

    source: str
    result: FrameResult
    captured: float
    source_timestamp: float
    status: SourceStatus
    _ages: Ages

    def age(self) -> float:
        """Seconds since the picture was captured."""
        return time.monotonic() - self.captured

    def shown(self) -> float:
        """To be called when the result is on screen: counts its age, in seconds, and returns it."""
        age = self.age()
        self._ages.note(age, shown=True)
        return age

    def begins_again(self, last: LiveResult | None) -> bool:
        """Whether a recording has started over since ``last``, the result before, and identities with it.

        The clock of a stream that was reopened starts over too, but its identities go on.
        """
        if last is None or self.status.reconnects != last.status.reconnects:
            return False
        return self.source_timestamp < last.source_timestamp

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """The result for JSON: the keys of a line of ``results.jsonl`` and three more.

        They are ``source`` (its key), ``captured`` (seconds since 1970, UTC) and ``age`` (seconds, now).
        """
        age = self.age()
        about = {"source": self.source, "captured": time.time() - age, "age": age}
        return {**about, **result_record(self.result, class_names)}
