"""Invariants of our tracker under any input, its bounds, and how it fails."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, FrameResult
from sipvideo.tracker import Tracker
from tests.scenes import REALISTIC, clock, crowd, film, scripted
from tests.tracker.test_tracker import BOX, FAR, NOTHING, actor_ids, ids_of, tracker


@st.composite
def arbitrary_detections(draw: st.DrawFn) -> Detections:
    """Up to 6 detections, some of them with boxes, scores or embeddings that make no sense."""
    n = draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    corner = rng.integers(0, 60, (n, 2))
    boxes = np.concatenate((corner, corner + rng.integers(0, 50, (n, 2))), 1).astype(np.float32)
    odd = draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -5.0, 0.0]), max_size=3))
    for value in odd:
        if n:
            boxes[rng.integers(n), rng.integers(4)] = value
    embeddings = rng.normal(size=(n, 4)).astype(np.float32)
    if n and draw(st.booleans()):
        embeddings[rng.integers(n)] = draw(st.sampled_from([0.0, np.nan, np.inf, 1e38]))
    scores = np.sort(rng.uniform(0, 1, n))[::-1].astype(np.float32)
    if n and draw(st.booleans()):
        scores[rng.integers(n)] = np.nan
    labels = rng.integers(0, 3, n).tolist()
    return scripted(boxes.tolist(), scores.tolist(), labels, embeddings)


@given(st.lists(st.tuples(arbitrary_detections(), st.floats(allow_nan=True)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_input_gives_identities_that_are_unique_in_the_frame(
    frames: list[tuple[Detections, float]],
) -> None:
    made = tracker(max_tracks=5)
    for found, timestamp in frames:
        ids = made.update(found, timestamp)
        assert ids.shape == (len(found),)
        assert ids.dtype == np.int64
        named = ids[ids >= 0].tolist()
        assert len(named) == len(set(named))
        with np.errstate(invalid="ignore", over="ignore"):
            sides = found.boxes[:, 2:] - found.boxes[:, :2]
        senseless = ~(np.isfinite(found.boxes).all(1) & (sides > 0).all(1) & (found.scores > 0))
        assert (ids[senseless] == -1).all()
        assert len(made.tracks) <= 5
        for track in made.tracks:
            assert np.isfinite(track.box).all()
            assert np.isfinite(track.embedding).all()
            assert np.isfinite(track.velocity).all()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_permuted_detections_get_permuted_identities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    straight, shuffled = tracker(), tracker()
    for shot in film(crowd(7, 1.5, seed), clock(1.5, 8), faults=REALISTIC, seed=seed):
        order = rng.permutation(len(shot.detections))
        ids = straight.update(shot.detections, shot.frame.timestamp)
        other = shuffled.update(shot.detections[order], shot.frame.timestamp)
        np.testing.assert_array_equal(other, ids[order])


def state(made: Tracker) -> list[tuple[object, ...]]:
    return [
        (
            t.track_id,
            t.box.tolist(),
            t.velocity,
            t.size,
            t.embedding.tolist(),
            dict(t.votes),
            t.hits,
        )
        for t in made.tracks
    ]


def test_match_changes_nothing() -> None:
    made = tracker()
    for shot in film(crowd(6, 2), clock(2, 10), faults=REALISTIC):
        before, now = copy.deepcopy(state(made)), made.now
        made.match(shot.detections)
        assert (state(made), made.now) == (before, now)
        made.update(shot.detections, shot.frame.timestamp)
    assert len(made.tracks) > 2


def test_results_depend_on_nothing_but_the_input() -> None:
    shots = list(film(crowd(8, 4, 7), clock(4, 12), faults=REALISTIC, seed=7))
    assert actor_ids(tracker(), shots) == actor_ids(tracker(), shots)


def test_input_arrays_are_neither_changed_nor_kept() -> None:
    made = tracker()
    embeddings = np.full((1, 4), 3, np.float32)
    found = scripted([BOX], embeddings=embeddings)
    made.update(found, 0.0)
    assert found.embeddings.tolist() == [[3, 3, 3, 3]]
    found.boxes[:] = 0
    embeddings[:] = 0
    assert made.tracks[0].box.tolist() == list(BOX)
    assert made.tracks[0].embedding.tolist() == [0.5] * 4


def test_memory_stays_bounded_over_thousands_of_frames_of_new_objects() -> None:
    made = tracker(max_tracks=8, max_age=0.8, probation=0.25)
    template = scripted([BOX], frame_size=(1, 1))
    places = np.random.default_rng(0).uniform(0, 1e5, (4_000, 2)).astype(np.float32)
    largest = newest = 0
    for k, place in enumerate(places):
        found = replace(template, boxes=np.concatenate((place, place + 20))[None])
        timestamp = 0.0 if k < 2_000 else k / 25  # a source without a clock, then one with
        newest = int(made.update(found, timestamp)[0])
        largest = max(largest, len(made.tracks))
    assert newest == 3_999
    assert largest == 8
    assert len(made.tracks) in (5, 6)  # a fifth of a second at 25 frames per second


def test_the_longest_unseen_tracks_are_dropped_first() -> None:
    made = tracker(max_tracks=2)
    third = (140.0, 0.0, 150.0, 10.0)
    made.update(scripted([BOX, FAR]), 0.0)
    made.update(scripted([FAR]), 0.1)
    made.update(scripted([third]), 0.2)
    assert [track.track_id for track in made.tracks] == [1, 2]


def test_more_detections_than_max_tracks_still_get_identities() -> None:
    made = tracker(max_tracks=1)
    assert ids_of(made, scripted([BOX, FAR]), 0.0) == [0, 1]
    assert len(made.tracks) == 1


# N = 0, E = 0, failures, the pipeline


def test_empty_frames_give_empty_identities_at_any_time() -> None:
    made = tracker()
    assert made.update(NOTHING, 0.0).shape == (0,)
    made.update(scripted([BOX], embeddings=np.ones((1, 8), np.float32)), 0.1)
    assert made.update(NOTHING, 0.2).dtype == np.int64
    found = scripted([BOX], embeddings=np.ones((1, 8), np.float32))
    assert ids_of(made, found, 0.3) == [0]


def test_embeddings_tell_objects_apart_that_swap_places_unseen() -> None:
    looks: NDArray[np.float32] = np.eye(2, dtype=np.float32)
    near = (56.0, 42.0, 76.0, 66.0)
    for embeddings, expected in ((looks, [1, 0]), (None, [0, 1])):
        made = tracker()
        for k in range(3):
            made.update(scripted([BOX, near], embeddings=embeddings), k / 10)
        swapped = looks[::-1].copy() if embeddings is not None else None
        assert ids_of(made, scripted([BOX, near], embeddings=swapped), 0.9) == expected


def test_the_length_of_embeddings_does_not_matter() -> None:
    shots = list(film(crowd(6, 3, 2), clock(3, 10), faults=REALISTIC, seed=2))
    rng = np.random.default_rng(0)
    plain, scaled = tracker(), tracker()
    for shot in shots:
        d = shot.detections
        factors = rng.choice([0.25, 1, 32], (len(d), 1)).astype(np.float32)
        other = Detections(d.boxes, d.scores, d.labels, d.masks, d.embeddings * factors)
        ids = plain.update(d, shot.frame.timestamp)
        np.testing.assert_array_equal(ids, scaled.update(other, shot.frame.timestamp))


def test_another_embedding_size_is_refused() -> None:
    made = tracker()
    made.update(scripted([BOX], embeddings=np.ones((1, 8), np.float32)), 0.0)
    with pytest.raises(ValueError, match=r"embeddings: expected \[\*, 8\].*got \[1, 3\]"):
        made.update(scripted([BOX], embeddings=np.ones((1, 3), np.float32)), 0.1)
    with pytest.raises(ValueError, match="expected"):  # also when no track is left
        made.update(scripted([BOX], embeddings=np.ones((1, 3), np.float32)), 99.0)
    made.reset()
    assert ids_of(made, scripted([BOX], embeddings=np.ones((1, 3), np.float32)), 0.0) == [0]


def test_the_pipeline_accepts_its_identities() -> None:
    shots = list(film(crowd(6, 2), clock(2, 10), faults=REALISTIC))
    found = {shot.frame.index: shot.detections for shot in shots}
    video = VideoSegmenter(lambda frame: found[frame.index], tracker(), ("a", "b", "c"))
    results: list[FrameResult] = list(video.run(shot.frame for shot in shots))
    assert len(results) == len(shots)
    assert max(int(result.track_ids.max(initial=-1)) for result in results) >= 3
