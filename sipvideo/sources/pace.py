"""When the pictures of a live source are due."""

from __future__ import annotations

import threading
import time

from sipvideo.sources.source import Source

CATCH_UP = 2.0
"""Seconds within which a network source has given what it collected while it was opened."""

BEHIND = 1.0
"""Seconds by which the decoding of a file may be late before the file's clock stands still for it."""


class Backlog:
    """The pictures that a network source collected while it was opened: they come all at once, and are old.

    So each is held back until it is clear that no newer one is at its heels.
    """

    def __init__(self, source: Source) -> None:
        self._there = source.buffers
        self._shortest_wait = 0.3 / (source.fps or 25.0)
        self._began = self._asked = time.monotonic()

    def hold(self) -> float:
        """Seconds to hold the picture that just came; 0 from the first one on that had to be waited for."""
        now = time.monotonic()
        waited, self._asked = now - self._asked, now
        self._there &= waited < self._shortest_wait and now - self._began < CATCH_UP
        return self._shortest_wait if self._there else 0.0


class Pace:
    """A recording's own clock: its frames become due one after the other."""

    def __init__(self, last_captured: float | None, fps: float | None) -> None:
        # A loop's first frame follows the last one by one frame.
        self._begin = time.monotonic()
        if last_captured is not None:
            self._begin = max(self._begin, last_captured + 1 / (fps or 25.0))
        self._first: float | None = None

    def wait(self, timestamp: float, closing: threading.Event) -> float:
        """Waits until a frame is due and returns that moment (``time.monotonic``)."""
        if self._first is None:
            self._first = timestamp
        due = self._begin + timestamp - self._first
        now = time.monotonic()
        if now - due > BEHIND:
            self._begin += now - due
            due = now
        closing.wait(max(due - now, 0.0))
        return due
