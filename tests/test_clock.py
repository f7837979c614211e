"""Times that only rise."""

from __future__ import annotations

import numpy as np
import pytest

from sipvideo.clock import RisingClock


def run(times: list[float | None], restarts: bool = False) -> list[float]:
    clock = RisingClock(0.1, restarts)
    return [clock(time) for time in times]


def test_right_times_stay_as_they_are() -> None:
    times = [3.0, 3.04, 3.5, 90.0, 90.1]
    assert run([*times]) == times


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([None, None, None], [0.0, 0.1, 0.2]),
        ([5.0, None, 5.2], [5.0, 5.1, 5.2]),
        ([0.0, 0.1, 0.1, 0.2, 0.3], [0.0, 0.1, 0.15, 0.2, 0.3]),
        ([0.0, 0.1, 0.05, 0.2], [0.0, 0.1, 0.15, 0.2]),
        ([0.0, 0.0, 0.0, 0.0], [0.0, 0.05, 0.15, 0.25]),
        ([1.0, 1.1, 0.0, 0.1, 0.2], [1.0, 1.1, 1.2, 1.3, 1.4]),
        ([-0.2, -0.1, 0.0], [-0.2, -0.1, 0.0]),
    ],
)
def test_missing_repeated_and_restarting_times_go_on(
    times: list[float | None], expected: list[float]
) -> None:
    assert np.allclose(run(times), expected)


def test_a_jump_ahead_is_a_pause_or_a_restart_as_the_container_has_it() -> None:
    times: list[float | None] = [0.0, 0.1, 7200.0, 7200.1]
    assert run(times) == [0.0, 0.1, 7200.0, 7200.1]
    assert np.allclose(run(times, restarts=True), [0.0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.1, 2e16, 0.3, 0.4], [0.0, 0.1, 0.2, 0.3, 0.4]),
        ([2e16, 0.1, 0.2], [0.0, 0.1, 0.2]),
        ([-2e16, -2e16 + 8, 0.2], [0.0, 8.0, 8.1]),
        ([0.0, 3e7, 3e7 + 1], [0.0, 3e7, 3e7 + 1]),
    ],
)
def test_a_time_that_no_recording_can_mean_is_that_of_the_next_picture(
    times: list[float | None], expected: list[float]
) -> None:
    assert np.allclose(run(times), expected)


def test_any_times_rise() -> None:
    rng = np.random.default_rng(0)
    for scale in (0.01, 0.3, 30.0):
        times: list[float | None] = (rng.normal(0, scale, 300).cumsum()).tolist()
        times[::7] = [None] * len(times[::7])
        assert (np.diff(run(times)) > 0).all()
        assert (np.diff(run(times, restarts=True)) > 0).all()
