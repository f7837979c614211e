"""What can be said of a live source at a moment."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

State = Literal["connecting", "live", "failing", "waiting", "ended", "failed", "closed"]
OVER: tuple[State, ...] = ("ended", "failed", "closed")

SILENCE = 2.0
"""Seconds without a picture after which a live source counts as interrupted, and its status says so."""


@dataclass(frozen=True)
class SourceStatus:
    """What a live source does at a moment.

    Attributes:
        name: of the source, for people.
        state: connecting (for the first time, or again), live, failing (frames come, but cannot be processed), waiting
            (to be reopened), ended (a recording), failed, closed.
        problem: why it is failing, waits, connects again or failed; empty while all is well.
        retry_in: seconds until the next attempt; 0 except while waiting.
        silent: seconds since the last picture came (since the start before the first one).
        captured: pictures that came; always delivered + sum of dropped + pending.
        delivered: pictures that were taken.
        dropped: count by cause: "replaced" by a newer one, "undecodable", "stale" (nobody took it for long), "unwanted"
            (others' turn, or nobody's: not shown, and not decoded unless a later one needed it), "skipped" (the same
            because decoding is slower than the stream).
        pending: 1 while a picture waits to be taken, else 0.
        reconnects: how often it came back.
        last_recovery: seconds between the pictures before and after the last interruption; None before any.
        fps: pictures taken per second, over the last seconds.
        source_fps: pictures that came per second, over the last seconds.
        frame_size: (height, width) of the last picture taken, None before the first.
    """

    name: str
    state: State
    problem: str
    retry_in: float
    silent: float
    captured: int
    delivered: int
    dropped: dict[str, int]
    pending: int
    reconnects: int
    last_recovery: float | None
    fps: float
    source_fps: float
    frame_size: tuple[int, int] | None

    @property
    def text(self) -> str:
        """One line for people: ``live``, ``waiting 3.2 s: cannot be opened: Connection refused``."""
        if self.state == "waiting":
            return f"waiting {self.retry_in:.1f} s: {self.problem}"
        if self.state == "live" and self.silent > SILENCE:
            return f"live, but no picture for {self.silent:.0f} s"
        return f"{self.state}: {self.problem}" if self.problem else self.state

    @property
    def is_over(self) -> bool:
        """Nothing will come any more."""
        return self.state in OVER


@dataclass(eq=False)
class Rate:
    """Events per second over a short window."""

    window: float = 3.0
    times: deque[float] = field(default_factory=lambda: deque(maxlen=1024))

    def note(self, now: float) -> None:
        """Counts an event."""
        self.times.append(now)

    def per_second(self, now: float) -> float:
        """Their rate; 0 after a window without any."""
        while self.times and now - self.times[0] > self.window:
            self.times.popleft()
        return (len(self.times) - 1) / (now - self.times[0]) if len(self.times) > 1 else 0.0
