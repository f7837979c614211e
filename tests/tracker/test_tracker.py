"""Life cycles of our tracker: birth, miss, return, age; scenes; clocks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections
from sipvideo.tracker import Tracker, build_tracker
from tests.scenes import (
    REALISTIC,
    Actor,
    Faults,
    Shot,
    clock,
    crossing,
    crowd,
    film,
    occlusion,
    reentry,
    scripted,
)
from tests.tracker.scoring import without_embeddings

NOTHING = Detections.empty((120, 160))
BOX = (40.0, 40.0, 60.0, 64.0)
FAR = (100.0, 80.0, 130.0, 110.0)


def tracker(**settings: object) -> Tracker:
    made = build_tracker(TrackerConfig.model_validate(settings))
    assert isinstance(made, Tracker)
    return made


def ids_of(made: Tracker, found: Detections, timestamp: float) -> list[int]:
    ids: list[int] = made.update(found, timestamp).tolist()
    return ids


def test_without_looks_whoever_is_in_reach_goes_on() -> None:
    """Nobody could know the object again by its looks later."""
    beside = (58.0, 40.0, 78.0, 64.0)
    made, strict = tracker(), tracker(bare_affinity=0.5)
    looks = tracker(match_affinity=0.5)
    for one in (made, strict):
        assert ids_of(one, scripted([BOX]), 0.0) == [0]
    assert ids_of(made, scripted([beside]), 0.2) == [0]
    assert ids_of(strict, scripted([beside]), 0.2) == [1]
    unlike = np.eye(2, dtype=np.float32)
    looks.update(scripted([BOX], embeddings=unlike[:1]), 0.0)
    assert looks.update(scripted([beside], embeddings=unlike[1:]), 0.2).tolist() == [1]


def actor_ids(made: Tracker, shots: list[Shot]) -> list[dict[int, int]]:
    """Per shot: actor -> identity."""
    made.reset()
    result = []
    for shot in shots:
        ids = made.update(shot.detections, shot.frame.timestamp).tolist()
        result.append(dict(zip(shot.detection_ids.tolist(), ids, strict=True)))
    return result


# Birth, miss, return, age


def test_a_confident_detection_has_an_identity_in_its_first_frame() -> None:
    ids = tracker().update(scripted([BOX, FAR]), 0.0)
    assert ids.tolist() == [0, 1]
    assert ids.dtype == np.int64


def test_a_doubtful_detection_begins_nothing_but_goes_on_with_a_track() -> None:
    made = tracker()
    assert ids_of(made, scripted([BOX], 0.2), 0.0) == [-1]
    assert ids_of(made, scripted([BOX], 0.9), 0.1) == [0]
    assert ids_of(made, scripted([BOX, FAR], [0.2, 0.2]), 0.2) == [0, -1]
    assert ids_of(made, scripted([BOX], 0.1), 0.3) == [-1]  # below keep_score
    assert made.tracks[0].hits == 2


def test_a_doubtful_detection_that_fits_badly_is_not_taken_for_a_track() -> None:
    shifted = (51.0, 46.0, 71.0, 70.0)  # overlaps by a quarter
    for score, expected in ((0.3, -1), (0.9, 0)):
        made = tracker(sure_score=0.5, doubt_penalty=2.5)
        made.update(scripted([BOX]), 0.0)
        made.update(scripted([BOX]), 0.1)
        assert ids_of(made, scripted([shifted], score), 0.2) == [expected]


def test_of_two_detections_of_a_track_the_doubtful_one_must_fit_much_better() -> None:
    near, barely = (44.0, 42.0, 64.0, 66.0), (54.0, 52.0, 74.0, 76.0)
    for other, expected in ((near, [0, -1]), (barely, [1, 0])):
        made = tracker()
        made.update(scripted([BOX]), 0.0)
        assert ids_of(made, scripted([other, BOX], [0.9, 0.3]), 0.1) == expected


def test_the_further_frames_are_apart_the_less_is_asked_of_the_doubtful() -> None:
    needed = []
    for fps in (40, 10, 2.5):
        made = tracker()
        for k in range(3):
            made.update(scripted([BOX]), k / fps)
        needed.append(made.match(scripted([BOX, FAR], [0.9, 0.2])).needed.tolist())
    sure, doubtful = zip(*needed, strict=True)
    assert len(set(sure)) == 1
    assert doubtful[0] > doubtful[1] > doubtful[2] > sure[0]
    made.update(scripted([BOX]), 1e30)
    assert np.isfinite(made.match(scripted([BOX], 0.2)).needed).all()


@pytest.mark.parametrize("fps", [2.5, 10, 40])
@pytest.mark.parametrize(("unseen", "kept"), [(1.6, True), (2.4, False)])
def test_age_is_measured_in_seconds_at_any_frame_rate(
    fps: float, unseen: float, kept: bool
) -> None:
    made = tracker(max_age=2.0)
    now = 0.0
    for _ in range(4):
        assert ids_of(made, scripted([BOX]), now) == [0]
        now += 1 / fps
    back = now - 1 / fps + unseen
    while now < back - 1e-6:
        assert ids_of(made, NOTHING, now) == []
        now += 1 / fps
    assert ids_of(made, scripted([BOX]), back) == [0 if kept else 1]


def test_an_object_seen_once_is_forgotten_sooner_than_others() -> None:
    made = tracker(max_age=2.0)
    made.update(scripted([BOX]), 0.0)
    made.update(scripted([BOX, FAR]), 0.1)
    made.update(NOTHING, 1.0)
    assert ids_of(made, scripted([BOX, FAR]), 1.1) == [0, 2]


@pytest.mark.parametrize("fps", [0.6, 1.0, 3.0])
def test_very_slow_sources_keep_identities(fps: float) -> None:
    made = tracker(max_age=2.0)
    for k in range(6):
        assert ids_of(made, scripted([BOX, FAR]), k / fps) == [0, 1]


def test_identities_are_never_used_again_in_a_video() -> None:
    made = tracker(max_age=0.2, returns=False)
    born: list[int] = []
    for shot in film(crowd(8, 8, 3), clock(8, 8), faults=REALISTIC, seed=3):
        new = set(ids_of(made, shot.detections, shot.frame.timestamp)) - set(born) - {-1}
        assert all(track_id > max(born, default=-1) for track_id in new)
        born += sorted(new)
    assert len(born) > 20


def test_reset_makes_a_used_tracker_like_a_new_one() -> None:
    shots = list(film(crowd(6, 3), clock(3, 10), faults=REALISTIC, seed=2))
    used = tracker()
    fresh = actor_ids(tracker(), shots)
    actor_ids(used, list(film(crowd(6, 2, 9), clock(2, 10))))
    assert actor_ids(used, shots) == fresh


def test_two_trackers_at_once_do_not_interact() -> None:
    first = list(film(crowd(6, 3, 1), clock(3, 10), faults=REALISTIC, seed=1))
    second = list(film(crowd(6, 3, 2), clock(3, 10), faults=REALISTIC, seed=2))
    alone = [actor_ids(tracker(), shots) for shots in (first, second)]
    a, b = tracker(), tracker()
    together: list[list[dict[int, int]]] = [[], []]
    for pair in zip(first, second, strict=True):
        for shot, made, result in zip(pair, (a, b), together, strict=True):
            ids = ids_of(made, shot.detections, shot.frame.timestamp)
            result.append(dict(zip(shot.detection_ids.tolist(), ids, strict=True)))
    assert together == alone


# Scenes


@pytest.mark.parametrize("scene", [crossing(), crossing(twins=True), crowd(5, 5, 4)])
@pytest.mark.parametrize("embedded", [True, False])
def test_halving_the_frame_rate_keeps_identities(scene: list[Actor], embedded: bool) -> None:
    shots = list(film(scene, clock(4, 24)))
    if not embedded:
        shots = without_embeddings(shots)
    every, half = actor_ids(tracker(), shots), actor_ids(tracker(), shots[::2])
    assert every[::2] == half


@pytest.mark.parametrize("seed", range(4))
def test_crossing_objects_with_embeddings_of_their_own_keep_identities(seed: int) -> None:
    shots = list(film(crossing(), clock(4, 12), faults=REALISTIC, seed=seed))
    named: dict[int, set[int]] = {0: set(), 1: set()}
    for ids in actor_ids(tracker(), shots):
        for actor in named:
            named[actor] |= {ids.get(actor, -1)} - {-1}
    assert [len(named[0]), len(named[1])] == [1, 1]
    assert named[0] != named[1]


def test_crossing_twins_keep_identities_by_motion_and_masks_alone() -> None:
    shots = film(crossing(twins=True), clock(4, 12))
    made = tracker()
    seen = set()
    for shot in without_embeddings(shots):
        ids = ids_of(made, shot.detections, shot.frame.timestamp)
        seen |= set(zip(shot.detection_ids.tolist(), ids, strict=True))
    assert seen == {(0, 0), (1, 1)} or seen == {(0, 1), (1, 0)}


@pytest.mark.parametrize(("hidden", "kept"), [(0.6, True), (1.4, True), (3.0, False)])
@pytest.mark.parametrize("fps", [8, 16])
def test_an_occluded_object_keeps_its_identity_up_to_max_age(
    hidden: float, kept: bool, fps: int
) -> None:
    shots = list(film(occlusion(hidden), clock(4 + hidden, fps)))
    found = actor_ids(tracker(max_age=2.0, returns=False), shots)
    ids = [f[0] for f in found if f.get(0, -1) >= 0]
    assert (ids[0] == ids[-1]) is kept
    assert len(set(ids)) == (1 if kept else 2)


def test_an_object_that_left_and_returned_at_the_same_edge_keeps_its_identity() -> None:
    shots = list(film(reentry(0.8), clock(4.8, 12)))
    ids = {found[0] for found in actor_ids(tracker(), shots) if 0 in found}
    assert len(ids) == 1


def test_a_return_far_from_where_the_object_can_be_is_a_new_identity() -> None:
    made = tracker(returns=False)
    same_looks = np.ones((1, 4), np.float32)
    small = (5.0, 5.0, 15.0, 15.0)
    for k in range(3):
        made.update(scripted([small], embeddings=same_looks), k / 10)
    assert ids_of(made, scripted([(140.0, 100.0, 150.0, 110.0)], embeddings=same_looks), 0.5) == [1]


def test_a_dropped_frame_is_no_miss_when_motion_is_fast() -> None:
    made = tracker()
    for k in (0, 1, 2, 3, 7, 8):  # 12 pixels a frame, boxes 20 wide
        found = scripted([(5 + 12 * k, 40, 25 + 12 * k, 60)])
        assert ids_of(made, found, k / 25) == [0]


def test_the_label_of_a_track_is_the_winner_of_the_vote() -> None:
    made = tracker()
    labels, scores = [1, 2, 2, 1, 1, 2], [0.9, 0.5, 0.5, 0.8, 0.9, 0.6]
    for k, (label, score) in enumerate(zip(labels, scores, strict=True)):
        assert ids_of(made, scripted([BOX], score, label), k / 10) == [0]
    assert made.tracks[0].label == 1
    assert made.tracks[0].votes == pytest.approx({1: 2.6, 2: 1.6})


def test_a_second_report_of_an_object_begins_no_identity() -> None:
    made = tracker()
    again = (41.0, 40.0, 60.0, 64.0)
    for k in range(3):
        ids = ids_of(made, scripted([BOX, again], [0.9, 0.8], [0, 1]), k / 10)
        assert ids == [0, -1]
    shots = film(crowd(6, 4, 5), clock(4, 10), faults=Faults(duplicates=0.5), seed=5)
    doubled = tracker()
    for shot in shots:
        ids = ids_of(doubled, shot.detections, shot.frame.timestamp)
        named = [a for a, i in zip(shot.detection_ids.tolist(), ids, strict=True) if i >= 0]
        assert len(named) == len(set(named))


# Clocks


def test_a_clock_that_stands_still_or_jumps_back_keeps_identities() -> None:
    made = tracker()
    for timestamp in (5.0, 5.1, 5.1, 5.1, 0.0, 0.1, 0.1, math.nan, 0.1, math.inf, 0.2, -1e9):
        assert ids_of(made, scripted([BOX, FAR]), timestamp) == [0, 1]
    assert made.now == pytest.approx(0.3)


def test_only_differences_of_timestamps_matter() -> None:
    shots = list(film(crowd(6, 3, 1), clock(3, 10, wobble=0.5), faults=REALISTIC, seed=1))
    plain, shifted = tracker(), tracker()
    for shot in shots:
        ids = plain.update(shot.detections, shot.frame.timestamp)
        same = shifted.update(shot.detections, shot.frame.timestamp + 1e6)
        np.testing.assert_array_equal(ids, same)


def test_a_long_gap_ends_all_tracks() -> None:
    made = tracker(max_age=2.0)
    made.update(scripted([BOX]), 0.0)
    made.update(scripted([BOX]), 0.1)
    assert ids_of(made, scripted([BOX]), 60.0) == [1]
    assert len(made.tracks) == 1
