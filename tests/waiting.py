"""Waiting for what threads and processes do, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds after which a test takes something for stuck. Nothing is asserted about how fast it comes."""


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for what another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def stays(state: Callable[[], object], seconds: float = 0.3) -> object:
    """What is the same after so many seconds, once it is: for what another thread may just be finishing."""
    known: list[object] = []

    def still() -> bool:
        before, _ = known[-1:] or [None], known.append(state())
        time.sleep(seconds)
        return bool(before) and state() is known[-1]

    until(still)
    return known[-1]
