"""Times that only rise, made of times that do not always."""

from __future__ import annotations

from typing import Any

GAP = 10.0
"""Seconds: a longer jump forward is a clock that starts anew, where the container's clocks may do so."""

YEAR = 366 * 86400.0
"""Seconds: no recording pauses for longer, nor begins that late; such a time is wrong, whatever the container."""

TIMESTAMPS_RESTART = 0x200
"""FFmpeg's mark of such containers, AVFMT_TS_DISCONT."""

BACK = 0.5
"""Seconds: a longer jump back is a clock that starts anew; a shorter one, or none, is a time that is wrong."""


def restarts(container: Any) -> bool:
    """Whether an open PyAV container is of a kind whose clock may start anew on the way (transport streams)."""
    return bool(container.format.flags & TIMESTAMPS_RESTART)


class RisingClock:
    """Continues a stream's clock over missing and repeated times, and over a new start (recordings joined end to end).

    Args:
        step: seconds from one piece to the next where nothing else tells.
        restarts: whether the container's clock may jump ahead without meaning a pause (transport streams).
    """

    def __init__(self, step: float, restarts: bool = False) -> None:
        self._step = step
        self._ahead = GAP if restarts else YEAR
        self._shift = 0.0
        self._last: float | None = None
        self._guessed = False

    def __call__(self, seconds: float | None, step: float | None = None) -> float:
        """The time of the next piece, later than all before.

        Args:
            seconds: its own time, None where it has none.
            step: how long the piece before it lasted, None: as the others.
        """
        step = step or self._step
        last = self._last
        if last is None:
            first = seconds or 0.0
            self._last = first if abs(first) < YEAR else 0.0
            self._shift = self._last - first
            return self._last
        guessed = False
        if seconds is None:
            time = last + step
        else:
            time = seconds + self._shift
            if time < last - BACK or time > last + step + self._ahead:
                self._shift, time = last + step - seconds, last + step
            elif time <= last:
                # Half a step lets the next right time be later; where none is right, whole steps.
                time, guessed = last + step / (1 if self._guessed else 2), True
        self._last, self._guessed = time, guessed
        return time
