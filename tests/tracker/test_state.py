"""A tracker that is saved and restored goes on exactly as if nothing had been."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.errors import SipVideoError
from sipvideo.tracker import Tracker
from tests.scenes import REALISTIC, Shot, clock, crowd, film
from tests.tracker.scoring import without_embeddings
from tests.tracker.test_tracker import tracker


def through_a_file(state: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as content:
        return dict(content)


def shots_with_grey(embedded: bool) -> list[Shot]:
    """A lively crowd with exits, filmed with the small grey pictures that engines hand over."""
    shots = list(film(crowd(7, 8, 5), clock(8, 8), faults=REALISTIC, seed=5))
    shots = shots if embedded else without_embeddings(shots)
    return [
        replace(s, detections=replace(s.detections, grey=s.frame.image.mean(2).astype(np.uint8)))
        for s in shots
    ]


def run(made: Tracker, shots: list[Shot]) -> list[list[int]]:
    return [made.update(s.detections, s.frame.timestamp).tolist() for s in shots]


@pytest.mark.parametrize("embedded", [True, False])
def test_a_restored_tracker_goes_on_exactly(embedded: bool) -> None:
    shots = shots_with_grey(embedded)
    settings = {"max_age": 0.2, "return_likeness": 0.6}
    expected = run(tracker(**settings), shots)
    remembered = 0
    for stop in (0, 1, 41):
        first, second = tracker(**settings), tracker(**settings)
        head = run(first, shots[:stop])
        remembered += len(first.memory.tracks)
        second.update(shots[-1].detections, 0.0)  # what was before is forgotten
        second.restore(through_a_file(first.state()))
        assert second.returned(np.arange(50)).tolist() == first.returned(np.arange(50)).tolist()
        assert head + run(second, shots[stop:]) == expected
        ended, whole = second.state(), tracker(**settings)
        run(whole, shots)
        for name, value in whole.state().items():
            np.testing.assert_array_equal(ended[name], value, err_msg=name)
    if embedded:
        assert remembered > 0


def test_a_saved_state_does_not_change_when_its_tracker_goes_on() -> None:
    shots, made = shots_with_grey(True), tracker()
    run(made, shots[:20])
    saved = made.state()
    kept = {name: value.copy() for name, value in saved.items()}
    run(made, shots[20:])
    for name, value in kept.items():
        np.testing.assert_array_equal(saved[name], value, err_msg=name)


def test_what_is_no_state_is_refused() -> None:
    made = tracker()
    with pytest.raises(SipVideoError, match="state of a tracker: expected"):
        made.restore({})
    with pytest.raises(SipVideoError, match="expected version 3, got 7"):
        made.restore(made.state() | {"version": np.array(7)})
