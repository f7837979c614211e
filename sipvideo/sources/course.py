"""The states of a live source, and what leads from one to another."""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from sipvideo.errors import SipVideoError
from sipvideo.sources.status import OVER, SILENCE, State

Phase = Literal["opening", "live", "waiting", "reopening", "ended", "failed", "closed"]
"""The states of :data:`~sipvideo.sources.status.State`, where opening tells whether it is for the first time."""

Happening = Literal["picture", "frame", "ended", "damaged", "lost", "retry", "defect", "closed"]
"""A picture of a live source came; a recording's next frame is due; a recording came to its end, or broke off; a live
source ended, or broke off; it is to be opened again; it cannot be processed; somebody closed it."""

Action = Literal["", "note", "look for a gap", "count return", "wait", "wait longer"]

TRANSITIONS: Mapping[tuple[Phase, Happening], tuple[Phase, Action]] = MappingProxyType(
    {
        ("opening", "picture"): ("live", "note"),
        ("opening", "frame"): ("live", "note"),
        ("opening", "ended"): ("ended", ""),
        ("opening", "damaged"): ("failed", ""),
        ("opening", "lost"): ("failed", ""),
        ("opening", "defect"): ("failed", ""),
        ("opening", "closed"): ("closed", ""),
        ("live", "picture"): ("live", "look for a gap"),
        ("live", "frame"): ("live", "note"),
        ("live", "ended"): ("ended", ""),
        ("live", "damaged"): ("failed", ""),
        ("live", "lost"): ("waiting", "wait"),
        ("live", "defect"): ("failed", ""),
        ("live", "closed"): ("closed", ""),
        ("waiting", "retry"): ("reopening", ""),
        ("waiting", "defect"): ("failed", ""),
        ("waiting", "closed"): ("closed", ""),
        ("reopening", "picture"): ("live", "count return"),
        ("reopening", "frame"): ("live", "count return"),
        ("reopening", "ended"): ("ended", ""),
        ("reopening", "damaged"): ("failed", ""),
        ("reopening", "lost"): ("waiting", "wait longer"),
        ("reopening", "defect"): ("failed", ""),
        ("reopening", "closed"): ("closed", ""),
    }
)
"""Where a source is and what happens: where it is then, and what is done. What is not here changes nothing: nothing
leads back from the end."""

FIRST_DELAY, LONGEST_DELAY = 0.5, 10.0
"""Seconds before the first attempt to reopen a source, and between attempts at most."""


class Course:
    """What a live source went through.

    Attributes:
        phase: where it is.
        error: what it failed by, or was lost by until it is back.
        retry_at: when a waiting one is to be opened again, ``time.monotonic``.
        last_picture: when its last picture was captured; None before the first.
        reconnects: how often it came back.
        last_recovery: seconds between the pictures before and after the last interruption.
    """

    def __init__(self) -> None:
        self.phase: Phase = "opening"
        self.error: SipVideoError | None = None
        self.retry_at = 0.0
        self.last_picture: float | None = None
        self.reconnects = 0
        self.last_recovery: float | None = None
        self._delay = 0.0

    @property
    def state(self) -> State:
        """For whoever looks from outside."""
        phase = self.phase
        return "connecting" if phase == "opening" or phase == "reopening" else phase

    @property
    def is_over(self) -> bool:
        """Nothing will come any more."""
        return self.state in OVER

    def happens(
        self, happening: Happening, now: float, error: SipVideoError | None = None
    ) -> Phase:
        """Goes on in the table.

        Args:
            happening: what.
            now: ``time.monotonic``; for pictures when they were captured.
            error: what a source failed or was lost by.

        Returns:
            The new phase.
        """
        if (step := TRANSITIONS.get((self.phase, happening))) is None:
            return self.phase
        self.phase, action = step
        if happening != "retry":
            self.error = error
        if action in ("wait", "wait longer"):
            longer = min(2 * self._delay, LONGEST_DELAY)
            self._delay = FIRST_DELAY if action == "wait" else longer
            # Cameras behind one switch are not all asked at the same moment.
            self.retry_at = now + self._delay * random.uniform(0.8, 1.2)
        elif action:
            gap = now - (self.last_picture or now)
            # A stream without connection (UDP) falls silent and comes back without being reopened.
            if action == "count return" or (action == "look for a gap" and gap > SILENCE):
                self.reconnects += 1
                self.last_recovery = gap
            self.last_picture = max(now, self.last_picture or now)
        return self.phase
