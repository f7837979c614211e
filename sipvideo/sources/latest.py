"""The newest frame of a source that goes on whether or not anybody looks, and what became of the others."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sipvideo.errors import SipVideoError, SourceError, failure
from sipvideo.sources.course import Course, Happening
from sipvideo.sources.pace import Backlog, Pace
from sipvideo.sources.source import Capture, Passed, Source
from sipvideo.sources.status import SILENCE, Rate, SourceStatus
from sipvideo.structures import Frame

LATE = 3.0
"""Usual times between pictures after which the next one is not reckoned with any more."""


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


@dataclass(eq=False)
class _Tally:
    """Pictures counted: those that came, were taken, and were not shown by cause."""

    captured: int = 0
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    came: Rate = field(default_factory=Rate)
    taken: Rate = field(default_factory=Rate)

    def leave_out(self, missing: int, causes: Mapping[str, int]) -> None:
        """Pictures that came and will not be shown; those without a cause are damaged."""
        self.captured += missing
        self.dropped.update({cause: count for cause, count in causes.items() if count})
        if (damaged := missing - sum(causes.values())) > 0:
            self.dropped["undecodable"] += damaged


class LatestFrame:
    """Reads a source in a thread of its own and keeps its newest frame; older ones are dropped and counted.

    A live source that dies is reopened, with growing pauses (:mod:`sipvideo.sources.course`); a recording keeps its own
    clock, as if it were live, and ends. Pictures are never repeated or invented. Until the first picture has come, an
    error is final: :meth:`wait_open` raises it.

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
        self._is_live = False
        self._course = Course()
        self._tally = _Tally()
        self._slot: _Waiting | None = None
        self._part = 0
        self._last_captured: float | None = None
        self._wanted_until = float("inf")
        self._decoding = False
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
            while self._last_captured is None and not self._course.is_over:
                self._changed.wait(1.0)
            if self._last_captured is None:
                self.raise_failure()

    def raise_failure(self) -> None:
        """Raises the SourceError of a source that failed for good; otherwise nothing."""
        if self._course.phase == "failed" and self._course.error is not None:
            raise self._course.error

    def want(self, until: float) -> None:
        """Says until when pictures are wanted (``time.monotonic``): others need not be decoded. At first: always."""
        self._wanted_until = until

    @property
    def is_coming(self) -> bool:
        """Whether a picture is there, being decoded, or to be expected as pictures have followed each other so far."""
        with self._changed:
            now = time.monotonic()
            rate = self._tally.came.per_second(now)
            silent = now - (self._course.last_picture or self._started)
            is_due = self._course.phase == "live" and silent < (LATE / rate if rate else SILENCE)
            return self._slot is not None or self._decoding or is_due

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
                if left <= 0 or (slot is None and self._course.is_over):
                    return None
                self._changed.wait(min(left, self.ready_in or left))
            self._slot = None
            self._tally.delivered += 1
        frame = Frame.of(slot.capture.rgb(), slot.index, slot.captured, slot.capture.name)
        with self._changed:
            self._tally.taken.note(time.monotonic())
            self._frame_size = frame.size
        return TimedFrame(frame, slot.capture.timestamp, slot.part)

    def status(self) -> SourceStatus:
        """What the source does right now."""
        with self._changed:
            now = time.monotonic()
            course, tally = self._course, self._tally
            error = str(course.error or "")
            return SourceStatus(
                name=self._name,
                state=course.state,
                problem=error.removeprefix(f"{self._name}: "),
                retry_in=max(course.retry_at - now, 0.0) if course.phase == "waiting" else 0.0,
                silent=now - (course.last_picture or self._started),
                captured=tally.captured,
                delivered=tally.delivered,
                dropped=dict(tally.dropped),
                pending=int(self._slot is not None),
                reconnects=course.reconnects,
                last_recovery=course.last_recovery,
                fps=tally.taken.per_second(now),
                source_fps=tally.came.per_second(now),
                frame_size=self._frame_size,
            )

    def fail(self, error: SipVideoError) -> None:
        """Ends the reading because nothing can be made of the frames; from any thread."""
        self._happens("defect", error)
        self._closing.set()
        with self._changed:
            self._drop_waiting("stale")

    def close(self, wait: float = 1.0) -> None:
        """Ends the reading, from any thread; may be called twice.

        A read that is blocked is waited for no longer than ``wait`` seconds: it frees everything at its own timeout.
        """
        self._closing.set()
        with self._changed:
            self._happens("closed")
            self._drop_waiting("stale")
        if threading.current_thread() is not self._thread:
            self._thread.join(wait)

    def __enter__(self) -> LatestFrame:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # Below: the reading thread; what it shares is changed under the condition's lock.

    def _run(self) -> None:
        while not self._closing.is_set():
            self._happens("retry")
            try:
                self._read()
                if not self._is_live:
                    if self._loop:
                        self._part += 1
                        continue
                    return self._happens("ended")
                problem = SourceError(f"{self._name}: the stream ended")
            except (SourceError, OSError) as error:
                problem = error if isinstance(error, SourceError) else SourceError(str(error))
            except Exception as error:
                # A defect, not the outside world: trying again would hide it.
                return self._happens("defect", failure(error, self._name))
            # A damaged file does not get better.
            self._happens("lost" if self._is_live else "damaged", problem)
            if self._course.is_over:
                return None
            self._closing.wait(self._course.retry_at - time.monotonic())
        return None

    def _read(self) -> None:
        """Opens the source and reads to its end."""
        with self._opener() as source:
            self._name, self._is_live = source.name, source.is_live
            pace = None if source.is_live else Pace(self._last_captured, source.fps)
            backlog = Backlog(source)
            index = 0
            for one in source.newest(self._is_wanted):
                if self._closing.is_set():
                    break
                hold, missing = backlog.hold(), one.index - index
                index = one.index + isinstance(one, Capture)
                self._decoding = False
                if isinstance(one, Passed):
                    self._pass(one, missing)
                elif pace is not None:
                    due = pace.wait(one.timestamp, self._closing)
                    self._put(one, missing, due, hold)
                else:
                    self._put(one, missing, one.arrived or time.monotonic(), hold)

    def _is_wanted(self) -> bool:
        # The first picture shows that a source is there.
        wanted = self._course.phase != "live" or time.monotonic() < self._wanted_until
        self._decoding = wanted
        return wanted

    def _pass(self, passed: Passed, missing: int) -> None:
        with self._changed:
            now = time.monotonic()
            self._tally.leave_out(missing, passed.missing)
            self._tally.came.note(now)
            if self._course.phase == "live":
                self._course.happens("picture", passed.arrived)
            if now >= self._wanted_until:
                self._drop_waiting("replaced")  # by one that is not decoded

    def _put(self, capture: Capture, missing: int, captured: float, hold: float) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            now = time.monotonic()
            if self._last_captured is not None:
                captured = max(captured, self._last_captured + 1e-6)  # time never stands still
            self._drop_waiting("replaced")
            tally = self._tally
            tally.leave_out(missing, capture.missing)
            self._slot = _Waiting(capture, tally.captured, captured, self._part, now + hold)
            tally.captured += 1
            tally.came.note(now)
            self._last_captured = captured
            self._course.happens("picture" if self._is_live else "frame", captured)
            self._changed.notify_all()

    def _happens(self, happening: Happening, error: SipVideoError | None = None) -> None:
        with self._changed:
            self._course.happens(happening, time.monotonic(), error)
            self._changed.notify_all()

    def _drop_waiting(self, cause: str) -> None:
        if self._slot is not None:
            self._slot = None
            self._tally.dropped[cause] += 1

    def _fresh(self, max_age: float | None) -> _Waiting | None:
        slot = self._slot
        if slot and max_age is not None and time.monotonic() - slot.captured > max_age:
            self._drop_waiting("stale")
        return self._slot
