"""The states of a live source, row by row."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from sipvideo.errors import SourceError
from sipvideo.sources import course
from sipvideo.sources.course import TRANSITIONS, Course, Happening, Phase

LOST = SourceError("door: unplugged")
WAYS: dict[Phase, tuple[Happening, ...]] = {
    "opening": (),
    "live": ("picture",),
    "waiting": ("picture", "lost"),
    "reopening": ("picture", "lost", "retry"),
    "ended": ("frame", "ended"),
    "failed": ("lost",),
    "closed": ("closed",),
}
"""What has to happen for a source to be there, a second apart, from second 100 on."""

FAILS = ("damaged", "lost", "defect")


def at(phase: Phase) -> Course:
    """A source that is there."""
    reached = Course()
    for second, happening in enumerate(WAYS[phase]):
        reached.happens(happening, 100.0 + second, LOST if happening in FAILS else None)
    assert reached.phase == phase
    return reached


@pytest.fixture(autouse=True)
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course.random, "uniform", lambda low, high: 1.0)


EXPECTED = """
opening    picture    live
opening    frame      live
opening    ended      ended
opening    damaged    failed
opening    lost       failed
opening    defect     failed
opening    closed     closed
live       picture    live
live       frame      live
live       ended      ended
live       damaged    failed
live       lost       waiting
live       defect     failed
live       closed     closed
waiting    retry      reopening
waiting    defect     failed
waiting    closed     closed
reopening  picture    live
reopening  frame      live
reopening  ended      ended
reopening  damaged    failed
reopening  lost       waiting
reopening  defect     failed
reopening  closed     closed
"""


@pytest.mark.parametrize(
    ("phase", "happening"), [*itertools.product(get_args(Phase), get_args(Happening))]
)
def test_each_state_and_happening_lead_where_the_table_of_the_test_says(
    phase: Phase, happening: Happening
) -> None:
    rows = {tuple(row[:2]): row[2] for row in map(str.split, EXPECTED.strip().splitlines())}
    source = at(phase)
    before = dict(vars(source))
    after = source.happens(happening, 110.0, LOST if happening in FAILS else None)
    assert after == source.phase == rows.get((phase, happening), phase)
    if (phase, happening) not in rows:
        assert vars(source) == before, "what is not in the table changes nothing at all"
    assert ((phase, happening) in TRANSITIONS) == ((phase, happening) in rows)
    if after in ("ended", "closed", "live"):
        assert source.error is None
    elif phase not in ("ended", "failed", "closed"):
        assert source.error is (LOST if after != "opening" else None)


def test_only_a_source_that_was_lost_or_silent_counts_as_back() -> None:
    source = at("live")
    source.happens("picture", 100.1)
    assert (source.reconnects, source.last_recovery) == (0, None)
    source.happens("picture", 103.0)
    assert (source.reconnects, source.last_recovery) == (1, pytest.approx(2.9))
    source.happens("lost", 103.1, LOST)
    source.happens("retry", 103.6)
    source.happens("picture", 104.0)
    assert (source.reconnects, source.last_recovery) == (2, pytest.approx(1.0))


def test_a_recording_that_pauses_was_not_lost() -> None:
    source = Course()
    source.happens("frame", 100.0)
    source.happens("frame", 105.0)
    assert source.reconnects == 0


def test_attempts_become_rarer_until_a_picture_comes() -> None:
    source = at("live")
    pauses = []
    for _ in range(7):
        source.happens("lost", 200.0, LOST)
        pauses.append(source.retry_at - 200.0)
        source.happens("retry", 300.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    source.happens("picture", 301.0)
    source.happens("lost", 400.0, LOST)
    assert source.retry_at == 400.5
