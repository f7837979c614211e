"""Identities that come back: by looks alone, uniquely, never two at once, bounded, marked, and off by a switch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections
from sipvideo.tracker import Explanation, Tracker
from sipvideo.tracker.memory import likenesses, look, meet
from sipvideo.tracker.track import Track
from tests.scenes import REALISTIC, Actor, clock, crowd, film, scripted
from tests.tracker.test_tracker import BOX, FAR, NOTHING, ids_of, tracker

SIZE = 16
CORNER = (4.0, 4.0, 20.0, 24.0)


def looks(*seeds: int) -> NDArray[np.float32]:
    """One look per seed, unlike all others."""
    rows = [np.random.default_rng(seed).normal(size=SIZE) for seed in seeds]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def mixed(a: int, b: int, share: float) -> NDArray[np.float32]:
    """A look between two others."""
    return ((1 - share) * looks(a) + share * looks(b)).astype(np.float32)


def showing(
    made: Tracker, boxes: list[tuple[float, ...]], seen: NDArray[np.float32], start: float
) -> list[int]:
    """Half a second of objects that stand; their identities at its end."""
    ids: list[int] = []
    for k in range(6):
        ids = ids_of(made, scripted(boxes, embeddings=seen), start + k / 10)
    return ids


@pytest.mark.parametrize("away", [3.5, 5.0, 20.0])
def test_an_object_that_comes_back_elsewhere_is_known_by_its_looks(away: float) -> None:
    made = tracker()
    assert showing(made, [BOX, FAR], looks(1, 2), 0.0) == [0, 1]
    for k in range(1, int(2 * away) + 1):
        assert ids_of(made, scripted([FAR], embeddings=looks(2)), 0.4 + k / 2) == [1]
    back = scripted([CORNER], embeddings=looks(1))
    assert ids_of(made, back, 0.5 + away) == [0]
    ids = np.array([0, 1], np.int64)
    assert made.returned(ids).tolist() == pytest.approx([away, 0])
    assert ids_of(made, back, 0.6 + away) == [0]
    assert made.returned(ids)[0] == pytest.approx(away)
    for k in range(30):
        ids_of(made, back, 0.6 + away + k / 10)
    assert not made.returned(ids).any()  # the mark goes, the identity stays


def test_somebody_else_begins_an_identity_of_their_own_at_once() -> None:
    made = tracker()
    showing(made, [BOX], looks(1), 0.0)
    assert ids_of(made, scripted([CORNER], embeddings=looks(5)), 4.0) == [1]
    assert not made.returned(np.array([1], np.int64)).any()


@pytest.mark.parametrize("missed", [True, False])
def test_who_comes_back_where_somebody_else_was_missed_is_known_by_looks(missed: bool) -> None:
    """Place decides for a track that was seen in the frame before, and against looks that are not those of anybody."""
    told: list[Explanation] = []
    made = tracker(embedding_weight=0.1)
    made.recorder = told.append
    assert showing(made, [BOX, FAR], looks(1, 2), 0.0) == [0, 1]
    for k in range(12):  # the first one leaves
        assert ids_of(made, scripted([FAR], embeddings=looks(2)), 0.6 + k / 3) == [1]
    now = 4.6 if missed else 4.3
    if missed:
        ids_of(made, NOTHING, 4.5)
    stranger = made.match(scripted([FAR], embeddings=looks(7)))
    assert stranger.columns.tolist() == [0]
    assert ids_of(made, scripted([FAR], embeddings=looks(1)), now) == [0 if missed else 1]
    verdicts = [pair.verdict for pair in told[-1].pairs if pair.track_id == 1]
    assert verdicts == ["looks more like somebody who left" if missed else "chosen"]


def test_returns_can_be_switched_off() -> None:
    made = tracker(returns=False)
    showing(made, [BOX], looks(1), 0.0)
    assert ids_of(made, scripted([CORNER], embeddings=looks(1)), 4.0) == [1]
    assert made.memory.tracks == []


def test_a_half_alike_newcomer_waits_for_a_better_look_and_then_is_somebody_new() -> None:
    made = tracker(return_likeness=0.9, return_wait=0.25)
    showing(made, [BOX], looks(1), 0.0)
    seen = [
        ids_of(made, scripted([CORNER], embeddings=mixed(1, 7, 0.4)), 4 + k / 10) for k in range(6)
    ]
    assert seen == [[-1], [-1], [-1], [1], [1], [1]]


def test_a_newcomer_whose_looks_get_clearer_while_it_waits_gets_its_old_identity() -> None:
    made = tracker(return_likeness=0.85, return_wait=0.3)
    showing(made, [BOX], looks(1), 0.0)
    assert ids_of(made, scripted([CORNER], embeddings=mixed(1, 7, 0.4)), 4.0) == [-1]
    later = [
        ids_of(made, scripted([CORNER], embeddings=looks(1)), 4.1 + k / 20)[0] for k in range(6)
    ]
    assert later[-1] == 0
    assert set(later) <= {-1, 0}


def test_of_two_who_left_and_look_alike_neither_is_taken() -> None:
    made = tracker()
    twins = np.concatenate((looks(1), mixed(1, 3, 0.05)))
    assert showing(made, [BOX, FAR], twins, 0.0) == [0, 1]
    assert showing(made, [CORNER], looks(1), 5.0) == [2]


def test_of_two_newcomers_who_look_alike_neither_takes_the_identity() -> None:
    made = tracker()
    showing(made, [BOX], looks(1), 0.0)
    twins = np.concatenate((looks(1), mixed(1, 3, 0.05)))
    assert sorted(showing(made, [CORNER, FAR], twins, 5.0)) == [1, 2]


def test_who_is_in_sight_is_never_taken_for_one_who_comes_back() -> None:
    made = tracker()
    for k in range(40):
        boxes, seen = ([BOX], looks(1)) if k < 20 else ([BOX, CORNER], looks(1, 1))
        ids = ids_of(made, scripted(boxes, embeddings=seen), k / 10)
        assert sorted(ids) == ([0] if k < 20 else [0, 1])


def test_identities_may_cross_a_cut_by_looks() -> None:
    made = tracker()
    showing(made, [BOX, FAR], looks(1, 2), 0.0)
    made._part(list(made.tracks))  # as a cut does
    assert made.tracks == []
    assert ids_of(made, scripted([FAR, BOX], embeddings=looks(1, 2)), 0.6) == [0, 1]


def test_the_memory_is_bounded_in_number_and_in_time() -> None:
    made = tracker(return_tracks=3, return_memory=10.0, max_age=2.0)
    for k in range(8):
        showing(made, [BOX], looks(k), 3.0 * k)
    ids_of(made, NOTHING, 3 * 7 + 2.6)
    assert [track.track_id for track in made.memory.tracks] == [5, 6, 7]
    assert showing(made, [CORNER], looks(5), 24.0) == [5]
    assert showing(made, [CORNER], looks(1), 27.0) == [8]
    ids_of(made, NOTHING, 100.0)
    assert made.memory.tracks == []


def test_objects_seen_too_little_or_without_embeddings_are_not_remembered() -> None:
    made = tracker()
    for k in range(2):
        ids_of(made, scripted([BOX], embeddings=looks(1)), k / 10)
    assert ids_of(made, scripted([CORNER], embeddings=looks(1)), 5.0) == [1]
    plain = tracker()
    for k in range(5):
        ids_of(plain, scripted([BOX]), k / 10)
    assert ids_of(plain, scripted([CORNER]), 5.0) == [1]
    assert plain.memory.tracks == []


def test_the_label_and_the_votes_of_an_identity_outlast_its_absence() -> None:
    made = tracker()
    for k in range(10):
        ids_of(made, scripted([BOX], labels=2, embeddings=looks(1)), k / 10)
    found = scripted([CORNER], labels=1, embeddings=looks(1))
    ids = made.update(found, 5.0)
    assert ids.tolist() == [0]
    assert made.labels(found, ids).tolist() == [2]


def test_views_are_few_apart_in_time_and_keep_what_differs() -> None:
    track = Track.begin(scripted([BOX], embeddings=looks(0)), 0, 0.0)
    shown = [*[0] * 12, *[1] * 6, *[2] * 6]
    for k, seed in enumerate(shown):
        track.embedding = looks(seed)[0]
        look(track, 0.5 + 0.01 * k, k / 4, 4)
    seconds = [view.second for view in track.views]
    assert len(seconds) == 4
    assert min(np.diff(seconds)) >= 0.5
    for seed in (0, 1, 2):
        assert max(float(looks(seed)[0] @ view.embedding) for view in track.views) > 0.99


def test_a_likeness_is_that_of_the_nearest_and_of_the_mean_view_less_a_penalty() -> None:
    nothing = np.zeros((), np.float32)
    old = Track.begin(scripted([BOX], embeddings=looks(1)), 0, 0.0)
    new = Track.begin(scripted([BOX], embeddings=looks(1)), 0, 9.0)
    made = likenesses(looks(1, 1), np.array([0, 1]), [old], nothing, 0.2)
    np.testing.assert_allclose(made, [[1.0], [0.8]], atol=1e-6)
    empty = meet([new], [], nothing, TrackerConfig())
    assert empty.likeness.shape == (1, 0)
    assert empty.chosen == {}


def test_a_return_is_told_with_the_pairs_that_lost() -> None:
    made, told = tracker(), list[Explanation]()
    made.recorder = told.append
    showing(made, [BOX, FAR], looks(1, 2), 0.0)
    ids_of(made, scripted([CORNER], embeddings=looks(1)), 5.0)
    last = told[-1]
    assert last.verdicts == ("comes back",)
    assert [(r.track_id, r.verdict) for r in sorted(last.reunions, key=lambda r: r.track_id)] == [
        (0, "chosen"),
        (1, "not alike enough"),
    ]
    chosen = next(r for r in last.reunions if r.verdict == "chosen")
    assert chosen.away == pytest.approx(4.5)
    assert chosen.likeness > chosen.needed
    assert 1.1 - chosen.likeness < chosen.ratio * (1.1 - chosen.rival)


def test_filmed_actors_that_leave_for_seconds_come_back_as_who_they_were() -> None:
    """Three actors cross the picture, are outside for 6 s and come back elsewhere."""
    actors = [
        Actor(
            ((k, 40, 20 + 40 * k), (k + 2, 80, 20 + 40 * k), (k + 3, 200, 20 + 40 * k),
             (k + 9, 200, 100 - 40 * k), (k + 10, 80, 100 - 40 * k), (k + 12, 40, 100 - 40 * k)),
            look=k,
        )
        for k in range(3)
    ]  # fmt: skip
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    made = tracker()
    for shot in film(actors, clock(13, 8), faults=REALISTIC, seed=1):
        ids = ids_of(made, shot.detections, shot.frame.timestamp)
        for actor, track_id in zip(shot.detection_ids.tolist(), ids, strict=True):
            if actor >= 0 and track_id >= 0:
                found[actor].append(track_id)
    back = [ids[0] == ids[-1] for ids in found.values()]
    assert sum(back) >= 2
    assert len({ids[-1] for ids in found.values()}) == 3


def test_no_identity_is_ever_in_two_places_with_a_lively_memory() -> None:
    made = tracker(max_age=0.3, return_likeness=0.3, return_ratio=1.0, return_hits=1)
    back = 0
    for shot in film(crowd(8, 8, 3, twins=True), clock(8, 8), faults=REALISTIC, seed=3):
        ids = [i for i in ids_of(made, shot.detections, shot.frame.timestamp) if i >= 0]
        assert len(ids) == len(set(ids))
        known = [t.track_id for t in (*made.tracks, *made.memory.tracks) if t.track_id >= 0]
        assert len(known) == len(set(known))
        back += sum(math.isfinite(track.returned) for track in made.tracks)
    assert back > 0


def test_exact_twins_never_share_an_identity_even_if_any_lead_is_enough() -> None:
    made = tracker(return_ratio=1.0)
    assert showing(made, [BOX], looks(1), 0.0) == [0]
    assert sorted(showing(made, [CORNER, FAR], looks(1, 1), 5.0)) == [1, 2]


def test_results_carry_the_mark_through_the_pipeline() -> None:
    shots = [scripted([BOX], embeddings=looks(1))] * 5 + [Detections.empty((120, 160), SIZE)]
    shots += [scripted([CORNER], embeddings=looks(1))]
    seconds = [0.0, 0.1, 0.2, 0.3, 0.4, 3.0, 6.0]
    frames = [shot.frame for shot in film([], [(k, s) for k, s in enumerate(seconds)])]
    video = VideoSegmenter(lambda frame: shots[frame.index], tracker(), ("thing",))
    results = list(video.run(frames))
    away = [[r.seconds_away(k) for k in range(len(r.track_ids))] for r in results]
    assert away[0] == [0]
    assert away[-1] == pytest.approx([5.6])
