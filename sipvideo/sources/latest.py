"""The newest frame of a source that goes on whether or not anybody looks, and what became of the others."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sipvideo.errors import SipVideoError, SourceError, failure
from sipvideo.sources.pace import Backlog, Pace
from sipvideo.sources.source import Capture, Source
from sipvideo.sources.status import OVER, SILENCE, Rate, SourceStatus, State
from sipvideo.structures import Frame

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before the first attempt to reopen a source, and between attempts at most."""


@dataclass(frozen=True, eq=False)
class TimedFrame:
    """A frame taken from a live source.

    Attributes:
        frame: index counts every picture that came; the timestamp is when it was captured, in seconds of
            ``time.monotonic``, whatever the source's own clock says, so it goes on across reconnections.
        source_timestamp: seconds on the source's own clock.
        part: rises when a recording starts over: what follows is a new video.
    """

    frame: Frame
    source_timestamp: float
    part: int


@dataclass(eq=False)
class _Waiting:
    """The one slot's content."""

    capture: Capture
    index: int
    captured: float
    part: int
    ready_at: float


class LatestFrame:
    """Reads a source in a thread of its own and keeps its newest frame; older ones are dropped and counted.

    A live source that dies is reopened, with growing pauses; a recording keeps its own clock, as if it were
    live, and ends. Pictures are never repeated or invented. Until the first picture has come, an error is final:
    :meth:`wait_open` raises it.

    Args:
        opener: opens the source, for instance ``lambda: open_source("rtsp://...")``; called again to reopen it.
        loop: a recording starts over at its end.
        changed: notified when a frame or a new state is there; shared by whoever waits for several sources.
    """

    def __init__(
        self,
        opener: Callable[[], Source],
        *,
        loop: bool = False,
        changed: threading.Condition | None = None,
    ) -> None:
        self._opener = opener
        self._loop = loop
        self._changed = changed or threading.Condition()
        self._closing = threading.Event()
        self._started = time.monotonic()
        self._name = ""
        self._state: State = "connecting"
        self._error: SipVideoError | None = None
        self._problem = ""
        self._retry_at = 0.0
        self._slot: _Waiting | None = None
        self._part = 0
        self._next_index = self._delivered = 0
        self._dropped: Counter[str] = Counter()
        self._last_captured: float | None = None
        self._is_live = self._interrupted = False
        self._reconnects = 0
        self._last_recovery: float | None = None
        self._came, self._taken = Rate(), Rate()
        self._frame_size: tuple[int, int] | None = None
        # A daemon: FFmpeg and OpenCV cannot be woken from a blocked read, and must not hold up the process.
        self._thread = threading.Thread(target=self._run, name="sipvideo source", daemon=True)
        self._thread.start()

    def wait_open(self) -> None:
        """Waits for the first picture.

        Raises:
            SourceError: the source cannot be opened, or ends before its first picture.
        """
        with self._changed:
            while self._last_captured is None and not self._is_over():
                self._changed.wait(1.0)
            if self._last_captured is None:
                self.raise_failure()

    def raise_failure(self) -> None:
        """Raises the SourceError of a source that failed for good; otherwise nothing."""
        if self._error is not None:
            raise self._error

    @property
    def ready_in(self) -> float | None:
        """Seconds until there is a frame to take (0: now) if no newer one comes; None while there is none."""
        slot = self._slot
        return max(slot.ready_at - time.monotonic(), 0.0) if slot else None

    def take(self, timeout: float = 0.0, max_age: float | None = None) -> TimedFrame | None:
        """The newest frame that was not taken before.

        Args:
            timeout: seconds to wait for one.
            max_age: a picture captured longer ago (seconds) is dropped as stale instead.

        Returns:
            None if there is none.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            while (slot := self._fresh(max_age)) is None or self.ready_in:
                left = deadline - time.monotonic()
                if left <= 0 or (slot is None and self._is_over()):
                    return None
                self._changed.wait(min(left, self.ready_in or left))
            self._slot = None
            self._delivered += 1
        frame = Frame(slot.capture.rgb(), slot.index, slot.captured, slot.capture.name)
        with self._changed:
            self._taken.note(time.monotonic())
            self._frame_size = frame.size
        return TimedFrame(frame, slot.capture.timestamp, slot.part)

    def status(self) -> SourceStatus:
        """What the source does right now."""
        with self._changed:
            now = time.monotonic()
            return SourceStatus(
                name=self._name,
                state=self._state,
                problem=self._problem,
                retry_in=max(self._retry_at - now, 0.0) if self._state == "waiting" else 0.0,
                silent=now - (self._last_captured or self._started),
                captured=self._next_index,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                pending=int(self._slot is not None),
                reconnects=self._reconnects,
                last_recovery=self._last_recovery,
                fps=self._taken.per_second(now),
                source_fps=self._came.per_second(now),
                frame_size=self._frame_size,
            )

    def fail(self, error: SipVideoError) -> None:
        """Ends the reading because nothing can be made of the frames; from any thread."""
        with self._changed:
            self._end("failed", error)
            self._closing.set()
            self._drop_waiting("stale")

    def close(self, wait: float = 1.0) -> None:
        """Ends the reading, from any thread; may be called twice.

        A read that is blocked is waited for no longer than ``wait`` seconds: it frees everything at its own timeout.
        """
        self._closing.set()
        with self._changed:
            if not self._is_over():
                self._state, self._problem = "closed", ""
            self._drop_waiting("stale")
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(wait)

    def __enter__(self) -> LatestFrame:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Below: the reading thread; what it shares is changed under the condition's lock.

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._closing.is_set():
            before = self._next_index
            self._connecting()
            try:
                if self._read_to_end():
                    if self._loop:
                        self._part += 1
                        continue
                    return self._end("ended")
                problem: SourceError = SourceError(f"{self._name}: the stream ended")
            except (SourceError, OSError) as error:
                problem = error if isinstance(error, SourceError) else SourceError(str(error))
            except Exception as error:
                # A defect, not the outside world: trying again would hide it.
                return self._end("failed", failure(error, self._name))
            if self._last_captured is None or not self._is_live:
                return self._end("failed", problem)  # a damaged file does not get better
            delay = FIRST_DELAY if self._next_index > before else min(delay * 2, LONGEST_DELAY)
            self._pause(problem, delay * random.uniform(0.8, 1.2))

    def _connecting(self) -> None:
        with self._changed:
            if self._state == "waiting":
                self._state = "connecting"
                self._changed.notify_all()

    def _read_to_end(self) -> bool:
        """Reads until the source ends; whether that is the end for good."""
        with self._opener() as source:
            self._name, self._is_live = source.name, source.is_live
            pace = None if source.is_live else Pace(self._last_captured, source.fps)
            backlog = Backlog(source)
            index = 0
            for capture in source.captures():
                if self._closing.is_set():
                    break
                self._count_missing(capture.index - index, capture.skipped)
                index = capture.index + 1
                hold = backlog.hold()
                if pace is not None:
                    captured = pace.wait(capture.timestamp, self._closing)
                else:
                    captured = capture.arrived or time.monotonic()
                self._put(capture, captured, hold)
            return not source.is_live

    def _count_missing(self, missing: int, skipped: int) -> None:
        with self._changed:
            self._next_index += missing
            for cause, count in (("skipped", skipped), ("undecodable", missing - skipped)):
                if count > 0:
                    self._dropped[cause] += count

    def _put(self, capture: Capture, captured: float, hold: float) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            now = time.monotonic()
            if self._last_captured is not None:
                captured = max(captured, self._last_captured + 1e-6)  # time never stands still
            self._count_recovery(captured)
            self._drop_waiting("replaced")
            self._slot = _Waiting(capture, self._next_index, captured, self._part, now + hold)
            self._next_index += 1
            self._last_captured = captured
            self._came.note(now)
            self._state, self._problem = "live", ""
            self._changed.notify_all()

    def _count_recovery(self, captured: float) -> None:
        """A stream without connection (UDP) falls silent and comes back without being reopened."""
        gap = captured - (self._last_captured or captured)
        if self._interrupted or (gap > SILENCE and self._is_live):
            self._interrupted = False
            self._reconnects += 1
            self._last_recovery = gap

    def _pause(self, error: SourceError, delay: float) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self._interrupted = True
            self._state = "waiting"
            self._problem = self._without_name(error)
            self._retry_at = time.monotonic() + delay
            self._changed.notify_all()
        self._closing.wait(delay)

    def _end(self, state: State, error: SipVideoError | None = None) -> None:
        with self._changed:
            if error is not None:
                self._error, self._problem = error, self._without_name(error)
            if not self._closing.is_set():
                self._state = state
            self._changed.notify_all()

    def _without_name(self, error: SipVideoError) -> str:
        return str(error).removeprefix(f"{self._name}: ")

    def _drop_waiting(self, cause: str) -> None:
        if self._slot is not None:
            self._slot = None
            self._dropped[cause] += 1

    def _fresh(self, max_age: float | None) -> _Waiting | None:
        slot = self._slot
        if slot and max_age is not None and time.monotonic() - slot.captured > max_age:
            self._drop_waiting("stale")
        return self._slot

    def _is_over(self) -> bool:
        return self._state in OVER
