"""Identities decided anew: joined over gaps and swaps, parted, ghosts dropped; once told, they stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from sipvideo.config import RepairConfig
from sipvideo.repair import Change, Repair, look_ahead
from sipvideo.structures import FrameResult
from tests.repair.runs import identities, run, walker

ONLY_IDENTITIES = RepairConfig(fill_seconds=0)


def whole(
    results: Sequence[FrameResult], config: RepairConfig = ONLY_IDENTITIES
) -> tuple[list[FrameResult], list[Change]]:
    changes: list[Change] = []
    repair = Repair(config, changes.append)
    for result in results:
        repair.observe(result)
    return list(repair.repaired(results, pictures=True)), changes


def ahead(
    results: Sequence[FrameResult], seconds: float = 2.0, config: RepairConfig = ONLY_IDENTITIES
) -> tuple[list[FrameResult], list[Change]]:
    changes: list[Change] = []
    return list(look_ahead(results, seconds, config, changes.append)), changes


def broken(actor: int, second: float) -> int:
    """Missed for half a second, then a new identity."""
    if 1.0 <= second < 1.5:
        return -2
    return actor if second < 1.0 else 10 + actor


@pytest.mark.parametrize("repair", [whole, ahead])
def test_an_identity_that_broke_off_goes_on_where_its_object_goes_on(repair) -> None:  # type: ignore[no-untyped-def]
    results = run([walker(40), walker(90, look=1)], broken)
    repaired, changes = repair(results)
    assert {k for ids in identities(repaired) for k in ids} == {0, 1}
    assert [(c.kind, c.was, c.track_id) for c in changes] == [("joined", 10, 0), ("joined", 11, 1)]
    assert all(c.begin == pytest.approx(1.5) and "away for 0.60 s" in c.why for c in changes)


def test_those_that_swap_places_unseen_are_told_apart_by_their_looks() -> None:
    def swapped(actor: int, second: float) -> int:
        if 1.8 <= second < 2.3:
            return -2
        return actor if second < 2 else 1 - actor

    repaired, changes = whole(run([walker(50), walker(70, look=1)], swapped))
    last = repaired[-1]
    by_place = np.argsort(last.detections.boxes[:, 1])
    assert last.track_ids[by_place].tolist() == [0, 1]
    assert Counter(c.kind for c in changes) == {"joined": 2}


def test_an_identity_that_jumps_to_another_object_is_parted_where_its_own_goes_on() -> None:
    def jumps(actor: int, second: float) -> int:
        if actor == 0:
            return 7 if second < 2 else -2 if second < 2.4 else 9
        return -2 if second < 2.4 else 7

    results = run([walker(20), walker(105, look=5, label=1)], jumps)
    repaired, changes = whole(results)
    last = repaired[-1]
    by_place = np.argsort(last.detections.boxes[:, 1])
    assert last.track_ids[by_place].tolist() == [7, 10]
    assert {(c.kind, c.was, c.track_id) for c in changes} == {("joined", 9, 7), ("parted", 7, 10)}


def test_what_the_tracker_knew_again_is_kept_where_nothing_fits_better() -> None:
    def returns(actor: int, second: float) -> int:
        return -2 if 0.5 <= second < 3 else 7

    repaired, changes = whole(run([walker()], returns))
    assert {k for ids in identities(repaired) for k in ids} == {7}
    assert changes == []


@pytest.mark.parametrize("repair", [whole, ahead])
def test_ghosts_are_dropped_and_sure_ones_kept(repair) -> None:  # type: ignore[no-untyped-def]
    def ghosts(actor: int, second: float) -> int:
        return actor if actor == 0 or 1.0 <= second < 1.25 else -2

    actors = [walker(30), walker(70, look=1, label=1), walker(100, look=2, label=2)]
    repaired, changes = repair(run(actors, ghosts, scores={1: 0.5, 2: 0.8}))
    seen = Counter(k for ids in identities(repaired) for k in ids)
    assert seen[0] == 40
    assert seen[2] == 3
    assert seen[1] == 0
    assert seen[-1] == 3  # the detections are kept, without identity
    assert [(c.kind, c.was, c.track_id) for c in changes] == [("dropped", 1, None)]
    assert "best score 0.50" in changes[0].why


@pytest.mark.parametrize(
    ("score", "until", "dropped"),
    [(0.5, 2.5, True), (0.5, 3.5, False), (0.6, 2.5, False), (0.6, 1.25, True)],
)
def test_the_shorter_an_identity_is_seen_the_surer_it_must_be(
    score: float, until: float, dropped: bool
) -> None:
    def brief(actor: int, second: float) -> int:
        return actor if actor == 0 or 1.0 <= second < until else -2

    results = run([walker(30), walker(90, look=1, label=1)], brief, scores={1: score})
    assert [c.was for c in whole(results)[1]] == [1] * dropped


def test_an_identity_that_goes_on_is_not_dropped_while_little_of_it_is_known() -> None:
    results = run([walker()], lambda actor, second: 0, seconds=1.5, scores={0: 0.5})
    assert [c.kind for c in whole(results)[1]] == ["dropped"]
    assert [c.kind for c in ahead(results, 1.0)[1]] == []


def test_a_doubtful_one_inside_another_is_dropped_as_its_copy() -> None:
    results = run([walker(60)], lambda actor, second: 0, seconds=2.0)
    doubled = []
    for k, result in enumerate(results):
        if 3 <= k < 11:
            rows = np.array([0, 0])
            found = result.detections[rows]
            found.scores[1] = 0.4
            result = FrameResult(result.frame, found, np.array([0, 5]), 1.0)
        doubled.append(result)
    _, changes = whole(doubled, RepairConfig(fill_seconds=0, ghost_seconds=0.5))
    assert [(c.kind, c.was) for c in changes] == [("dropped", 5)]
    assert "mostly inside id 0" in changes[0].why


def test_classes_are_those_of_the_whole_life() -> None:
    results = run([walker()], lambda actor, second: 3)
    for result in results[:10]:
        result.detections.labels[:] = 4
    repaired, changes = whole(results)
    assert {int(label) for r in repaired for label in r.detections.labels} == {0}
    assert changes == []


def test_good_identities_are_left_alone() -> None:
    results = run([walker(40), walker(90, look=1)], lambda actor, second: actor)
    repaired, changes = whole(results)
    assert changes == []
    for before, after in zip(results, repaired, strict=True):
        assert np.array_equal(before.track_ids, after.track_ids)
        assert np.array_equal(before.detections.boxes, after.detections.boxes)


def test_nothing_in_gives_nothing_out() -> None:
    assert whole([]) == ([], [])
    assert ahead([]) == ([], [])
    empty = run([], lambda actor, second: 0, seconds=1.0)
    assert [len(r.track_ids) for r in whole(empty)[0]] == [0] * 10


def test_one_identity_is_never_twice_in_a_frame_whatever_the_tracker_said() -> None:
    rng = np.random.default_rng(4)

    def at_random(actor: int, second: float) -> int:
        return -2 if rng.uniform() < 0.3 else actor + 3 * int(rng.integers(0, 3))

    results = run([walker(30), walker(60, look=1), walker(90, look=2)], at_random)
    for repaired, _ in (whole(results), ahead(results), ahead(results, 0.3)):
        assert len(repaired) == len(results)  # FrameResult refuses double identities itself


def test_looking_ahead_is_late_by_so_many_seconds_and_no_more() -> None:
    results = run([walker()], lambda actor, second: 0)
    taken = 0

    def counted() -> object:
        nonlocal taken
        for result in results:
            taken += 1
            yield result

    lateness = []
    for k, _ in enumerate(look_ahead(counted(), 1.0, RepairConfig())):  # type: ignore[arg-type]
        lateness.append(taken - k)
    assert max(lateness) <= 13  # ten frames, and each of the stages one
    assert len(lateness) == len(results)


def test_without_embeddings_motion_decides() -> None:
    results = run([walker(40), walker(90, look=1)], broken)
    blind = [
        FrameResult(
            r.frame,
            type(r.detections)(
                r.detections.boxes,
                r.detections.scores,
                r.detections.labels,
                r.detections.masks,
                np.zeros((len(r.detections), 0), np.float32),
            ),
            r.track_ids,
            1.0,
        )
        for r in results
    ]
    repaired, changes = whole(blind)
    assert {k for ids in identities(repaired) for k in ids} == {0, 1}
    assert all("likeness" not in c.cues for c in changes)


def test_a_clock_that_goes_back_hurts_nobody() -> None:
    once = run([walker()], lambda actor, second: 0, seconds=1.0)
    for repaired, _ in (whole([*once, *once]), ahead([*once, *once])):
        assert len(repaired) == 20


def test_the_order_of_detections_does_not_matter() -> None:
    results = run([walker(40), walker(90, look=1)], broken)
    turned = [r.selected(np.arange(len(r.track_ids))[::-1]) for r in results]
    for a, b in zip(whole(results)[0], whole(turned)[0], strict=True):
        assert np.array_equal(a.track_ids, b.track_ids[::-1])
