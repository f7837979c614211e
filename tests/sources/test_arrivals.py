"""When packets came in, and whether whoever reads them keeps up, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from sipvideo.sources import arrivals
from sipvideo.sources.arrivals import Arrivals

STEP = 0.04
Packet = tuple[float, float, float]
"""The stream's clock, when it comes in, and seconds for which whoever reads is busy with it."""


def read(
    monkeypatch: pytest.MonkeyPatch, packets: list[Packet], hesitation: float = 0.0
) -> tuple[list[float], list[bool]]:
    """Seconds between true and reckoned arrival of each packet, and whether it was late.

    Args:
        monkeypatch: for the clock.
        packets: of a stream.
        hesitation: seconds that reading takes although the packet is there, as on a busy machine.
    """
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(arrivals, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def stream() -> Iterator[Any]:
        for seconds, comes, _ in packets:
            clock.now = max(clock.now + hesitation, comes)
            yield SimpleNamespace(
                pts=round(seconds * 90_000), dts=None, time_base=Fraction(1, 90_000)
            )

    watched, errors, late = Arrivals(STEP), [], []
    for packet, (_, comes, busy) in zip(watched.watch(stream()), packets, strict=True):
        errors.append(watched.of(packet.pts) - comes)
        late.append(watched.are_late)
        clock.now += busy
    return errors, late


def even(count: int, start: float = 100.0) -> list[Packet]:
    return [(start + k * STEP, k * STEP, 0.003) for k in range(count)]


def busy_at(packets: list[Packet], number: int, seconds: float) -> list[Packet]:
    packets[number] = (*packets[number][:2], seconds)
    return packets


@pytest.mark.parametrize("hesitation", [0.001, 0.02])
def test_what_came_while_the_decoder_was_busy_is_as_old_as_it_is(
    monkeypatch: pytest.MonkeyPatch, hesitation: float
) -> None:
    errors, late = read(monkeypatch, busy_at(even(180), 20, 1.5), hesitation)
    assert max(map(abs, errors)) < 0.03
    assert not any(late[:21])
    assert all(late[21:40])
    assert not any(late[-10:])


def test_a_stream_whose_clock_jumps_or_pauses_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    for jump in (-50.0, 50.0):
        jumping = [(t + jump * (k >= 10), c, b) for k, (t, c, b) in enumerate(even(60))]
        errors, late = read(monkeypatch, jumping)
        assert not any(late)
        assert max(map(abs, errors)) < 0.05
    pausing = [(t, c + 2.0 * (k >= 10), b) for k, (t, c, b) in enumerate(even(60))]
    errors, late = read(monkeypatch, pausing)
    assert not any(late)
    assert max(map(abs, errors)) < 0.05


def test_a_decoder_slower_than_its_stream_falls_behind_and_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = [(t, c, 0.06) for t, c, _ in even(100)]
    errors, late = read(monkeypatch, slow)
    assert max(map(abs, errors)) < 0.01
    assert late.index(True) == pytest.approx(arrivals.BEHIND / 0.02, abs=2)
    assert all(late[late.index(True) :])
