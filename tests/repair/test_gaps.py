"""Short gaps filled: where the object really is, marked, and not where it is hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sipvideo.masks import CompactMasks
from sipvideo.repair import Change
from sipvideo.repair.gaps import Gaps
from sipvideo.structures import FrameResult
from tests.repair.runs import run, walker
from tests.scenes import Actor, clock, film


def missed(actor: int, second: float) -> int:
    return -2 if 1.0 <= second < 1.4 else 5


def filled(
    results: list[FrameResult], *, pictures: bool, seconds: float = 1.0
) -> tuple[list[FrameResult], list[Change]]:
    changes: list[Change] = []
    gaps = Gaps(seconds, changes.append, pictures=pictures)
    return list(gaps.filled(results)), changes


@pytest.mark.parametrize("pictures", [True, False])
def test_a_missed_object_is_put_where_it_is_and_marked(pictures: bool) -> None:
    actors = [walker()]
    truth = list(film(actors, clock(4.0, 10.0)))
    results, changes = filled(run(actors, missed), pictures=pictures)
    for shot, result in zip(truth, results, strict=True):
        assert result.track_ids.tolist() == [5]
        assert result.detections.masks.iou(shot.truth.masks)[0, 0] > 0.8
        here = 1.0 <= result.frame.timestamp < 1.4
        assert (result.filled is not None and result.filled.tolist() == [True]) == here
    assert [(c.kind, c.track_id) for c in changes] == [("filled", 5)]
    assert changes[0].begin == pytest.approx(1.0)
    assert changes[0].end == pytest.approx(1.3)
    assert ("carried" if pictures else "interpolated") in changes[0].why


@pytest.mark.parametrize("pictures", [True, False])
def test_long_gaps_stay(pictures: bool) -> None:
    given = run([walker()], lambda actor, second: -2 if 1.0 <= second < 2.2 else 5)
    results, changes = filled(given, pictures=pictures)
    assert changes == []
    assert sum(len(r.track_ids) for r in results) == 28


@pytest.mark.parametrize("pictures", [True, False])
def test_an_object_behind_another_is_not_made_up(pictures: bool) -> None:
    wall = Actor(((0, 80, 60), (4, 80, 60)), size=(80, 40), shape="rectangle", depth=0, look=1)
    given = run([walker(), wall], lambda actor, second: actor)
    hidden = [r for r in given if r.track_ids.tolist() == [1]]
    assert len(hidden) >= 2
    results, _ = filled(given, pictures=pictures)
    for result in results:
        if result.filled is not None:
            row = result.filled.nonzero()[0]
            shared = result.detections.masks[row].iou(result.detections.masks)
            assert shared.min() == 0  # what others cover is left out


def test_what_is_filled_has_its_place_among_the_scores() -> None:
    sure = run([walker(40), walker(90, look=1)], lambda a, s: -2 if a and 1 <= s < 1.3 else a)
    results, _ = filled([replace(r) for r in sure], pictures=True)
    for result in results:
        assert (np.diff(result.detections.scores) <= 0).all()
        assert len(result.track_ids) == 2


def test_gaps_across_frames_of_another_size_or_without_neighbours_stay() -> None:
    results = run([walker()], missed)
    other = [r for r in results if r.frame.timestamp < 1.3]
    assert filled(other, pictures=True)[1] == []
    assert filled([], pictures=True) == ([], [])


def in_another_size(result: FrameResult, size: tuple[int, int]) -> FrameResult:
    """The frame as it comes from a stream that has changed its size, without objects."""
    picture = np.zeros((*size, 3), np.uint8)
    none = result.selected(np.zeros(0, np.int64))
    found = replace(none.detections, masks=CompactMasks.empty(size))
    return replace(none, frame=replace(result.frame, image=picture), detections=found)


@pytest.mark.parametrize("pictures", [True, False])
def test_a_gap_with_frames_of_another_size_inside_stays(pictures: bool) -> None:
    given = run([walker()], missed)
    changed = [in_another_size(r, (30, 40)) if 1.1 <= r.frame.timestamp < 1.3 else r for r in given]
    results, changes = filled(changed, pictures=pictures)
    assert changes == []
    for result in results:
        assert all(rle["size"] == list(result.frame.size) for rle in rles(result))


def rles(result: FrameResult) -> list[dict[str, Any]]:
    return [result.detections.masks.rle(k) for k in range(len(result.track_ids))]
