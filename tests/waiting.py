"""Waiting for what threads and processes do, however busy the machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds after which a test takes something for stuck. Nothing is asserted about how fast it comes."""


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for what another thread or process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def stays(state: Callable[[], T], seconds: float = 0.3) -> T:
    """A state once it has been the same for so many seconds: another thread may just be finishing something."""
    known = [state()]

    def still() -> bool:
        time.sleep(seconds)
        known.append(state())
        return known[-1] is known[-2]

    until(still)
    return known[-1]
