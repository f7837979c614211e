"""Cues, motion and assignment, against slow and obvious definitions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.config import TrackerConfig
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections
from sipvideo.tracker import Track, motion, similarity
from sipvideo.tracker.assignment import assign
from sipvideo.tracker.track import observe
from tests.scenes import clock, crossing, film, scripted

seeds = st.integers(0, 10_000)


def random_boxes(rng: np.random.Generator, n: int) -> NDArray[np.float32]:
    corner = rng.uniform(0, 80, (n, 2))
    return np.concatenate((corner, corner + rng.uniform(1, 40, (n, 2))), 1).astype(np.float32)


# Assignment


@given(seeds, st.integers(0, 4), st.integers(0, 4))
def test_assignment_is_the_best_of_all_one_to_one_choices(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    affinity = rng.uniform(-1, 1, (n, m)).astype(np.float32)
    affinity[rng.uniform(size=(n, m)) < 0.3] = -np.inf
    needed = rng.uniform(-0.2, 0.4, n).astype(np.float32)
    pairs = list(zip(*assign(affinity, needed), strict=True))
    assert all(affinity[i, j] > needed[i] for i, j in pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    best = 0.0
    for count in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), count):
            for columns in itertools.permutations(range(m), count):
                gains = [affinity[i, j] - needed[i] for i, j in zip(rows, columns, strict=True)]
                best = max(best, float(sum(gains)) if min(gains, default=0) > 0 else 0.0)
    assert sum(affinity[i, j] - needed[i] for i, j in pairs) == pytest.approx(best, abs=1e-5)


def test_nothing_is_assigned_that_needs_more_affinity() -> None:
    needed = np.full(3, 0.2, np.float32)
    for affinity in (0.2, -np.inf):
        rows, columns = assign(np.full((3, 2), affinity, np.float32), needed)
        assert len(rows) == len(columns) == 0


# Overlap


@given(seeds)
def test_boxes_widened_by_nothing_overlap_as_ever(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 4), random_boxes(rng, 5)
    widened = similarity.widened_iou(a, b, np.zeros(5, np.float32))
    np.testing.assert_allclose(widened, boxes.iou(a, b), atol=1e-5)


@given(seeds)
def test_a_margin_widens_both_boxes_of_its_column(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 4), random_boxes(rng, 5)
    margins = rng.uniform(0, 30, 5).astype(np.float32)
    widened = similarity.widened_iou(a, b, margins)
    for j, margin in enumerate(margins):
        grow = np.array((-margin, -margin, margin, margin), np.float32)
        expected = boxes.iou(a + grow, b[j : j + 1] + grow)[:, 0]
        np.testing.assert_allclose(widened[:, j], expected, atol=1e-4)


def test_widened_overlap_of_nothing_is_empty() -> None:
    none, some = np.zeros((0, 4), np.float32), random_boxes(np.random.default_rng(0), 3)
    assert similarity.widened_iou(none, some, np.ones(3, np.float32)).shape == (0, 3)
    assert similarity.widened_iou(some, none, np.ones(0, np.float32)).shape == (3, 0)


# Embeddings and rivals


def test_unit_embeddings_have_length_one_and_broken_ones_are_zero() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1], [1e38, 1e38]], np.float32)
    made = similarity.unit(rows)
    np.testing.assert_allclose(made[0], [0.6, 0.8], rtol=1e-6)
    assert not made[1:].any()
    assert similarity.unit(np.zeros((3, 0), np.float32)).shape == (3, 0)


@given(seeds)
def test_a_pair_is_contested_if_it_shares_a_row_or_column_with_another(seed: int) -> None:
    candidates = np.random.default_rng(seed).uniform(size=(4, 5)) < 0.3
    made = np.zeros((4, 5), bool)
    made[similarity.contested(candidates)] = True
    for i, j in np.ndindex(4, 5):
        others = candidates[i].sum() + candidates[:, j].sum() - 2 * candidates[i, j]
        assert made[i, j] == (candidates[i, j] and others > 0)


def test_masks_of_tracks_move_with_the_prediction() -> None:
    here, there = scripted([(20, 20, 40, 40)]), scripted([(33, 25, 53, 45)])
    track = Track.begin(here, 0, 0.0)
    pair = np.array([0]), np.array([0])
    shift = np.array([[13.2, 4.9]], np.float32)
    assert similarity.mask_iou(*pair, there, [track], shift).tolist() == [1.0]
    still = similarity.mask_iou(*pair, there, [track], np.zeros((1, 2), np.float32))
    np.testing.assert_array_equal(still, there.masks.iou(here.masks)[0])


def repeated(found: Detections) -> list[bool]:
    """Which detections, in their order, report an object again."""
    result: list[bool] = similarity.repeated(found, np.arange(len(found)), 0.7, 0.8).tolist()
    return result


def test_only_the_given_rows_are_compared() -> None:
    found = scripted([(0, 0, 90, 90), (20, 20, 60, 60), (90, 90, 99, 99), (20, 20, 60, 61)])
    rows = np.array([3, 2, 1])
    assert similarity.repeated(found, rows, 0.7, 0.8).tolist() == [False, False, True]


def test_later_reports_of_the_same_pixels_are_repeated() -> None:
    box, near, other = (20, 20, 60, 60), (21, 20, 60, 60), (40, 20, 80, 60)
    found = scripted([box, other, near, box], labels=[0, 1, 2, 3])
    assert repeated(found) == [False, False, True, True]
    assert repeated(found[[]]) == []


def test_a_part_of_a_better_report_is_repeated_unless_its_label_differs() -> None:
    whole, head, overlapping = [10, 10, 60, 60], [40, 12, 58, 30], [50, 30, 80, 50]
    same = scripted([whole, head, overlapping])
    assert repeated(same) == [False, True, False]
    rider = scripted([whole, head, overlapping], labels=[0, 1, 0])
    assert repeated(rider) == [False, False, False]
    smaller_first = scripted([head, whole])
    assert repeated(smaller_first) == [False, False]


def test_objects_whose_boxes_but_not_masks_coincide_are_not_repeated() -> None:
    ring = np.ones((40, 40), bool)
    ring[10:30, 10:30] = False
    both = np.zeros((2, 120, 160), bool)
    both[0, 20:60, 20:60], both[1, 20:60, 20:60] = ring, ~ring
    plain = scripted([(20, 20, 60, 60)] * 2)
    found = replace(plain, masks=CompactMasks.from_dense(both))
    assert repeated(found) == [False, False]


@given(seeds)
@settings(max_examples=40)
def test_repetitions_equal_the_obvious_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 12, (8, 2))
    where = np.concatenate((corners, corners + rng.integers(8, 40, (8, 2))), 1)
    found = scripted(where.tolist(), labels=rng.integers(0, 2, 8).tolist())
    full = [found.masks.dense(k) for k in range(8)]
    expected: list[bool] = []
    for j, mask in enumerate(full):
        for i in range(j):
            common = np.count_nonzero(full[i] & mask)
            inside = found.labels[i] == found.labels[j] and common > 0.8 * mask.sum()
            if not expected[i] and (common > 0.7 * np.count_nonzero(full[i] | mask) or inside):
                expected.append(True)
                break
        else:
            expected.append(False)
    assert repeated(found) == expected


# Affinity


def one_track(found: Detections, now: float = 0.0) -> list[Track]:
    return [Track.begin(found, 0, now)]


BOX = (40, 40, 60, 64)
DEFAULTS = TrackerConfig()


def compared(found: Detections, tracks: list[Track], now: float = 0.0) -> NDArray[np.float32]:
    nothing = np.zeros((), np.float32)
    return similarity.compare(found, tracks, now, nothing, DEFAULTS).affinity


def test_affinity_of_the_same_object_is_one_and_falls_with_each_cue() -> None:
    looks = np.array([[1, 0]], np.float32)
    tracks = one_track(scripted([BOX], labels=1, embeddings=looks))
    share = TrackerConfig().embedding_weight

    def fit(found: Detections) -> float:
        return float(compared(found, tracks)[0, 0])

    assert fit(scripted([BOX], labels=1, embeddings=looks)) == pytest.approx(1)
    assert fit(scripted([BOX], labels=2, embeddings=looks)) == pytest.approx(0.8)
    assert fit(scripted([BOX], labels=1, embeddings=looks[:, ::-1])) == pytest.approx(1 - share)
    assert fit(scripted([BOX], labels=1, embeddings=-looks)) == pytest.approx(1 - 2 * share)
    moved = fit(scripted([(44, 40, 64, 64)], labels=1, embeddings=looks))
    assert 0.7 < moved < 1
    assert fit(scripted([(120, 100, 140, 118)], labels=1, embeddings=looks)) == -np.inf


def test_an_object_can_be_found_farther_away_the_longer_it_was_unseen() -> None:
    tracks = one_track(scripted([BOX]))
    away = scripted([(75, 40, 95, 64)])
    fits = [float(compared(away, tracks, now)[0, 0]) for now in (0.0, 0.5, 1.0, 1.5)]
    assert fits[0] == -np.inf
    assert fits == sorted(fits)
    assert fits[-1] > 0.2


def test_masks_tell_rivals_apart_whose_boxes_fit_equally() -> None:
    whole = scripted([(20, 20, 60, 60)] * 2)
    halves = np.zeros((2, 120, 160), bool)
    halves[0, 20:60, 20:40], halves[1, 20:60, 40:60] = True, True
    found = replace(whole, masks=CompactMasks.from_dense(halves))
    tracks = [Track.begin(found, k, 0.0) for k in range(2)]
    fits = compared(found, tracks)
    np.testing.assert_allclose(fits, [[1, 0.7], [0.7, 1]], atol=1e-6)
    alone = compared(whole[[0]], tracks[:1])
    np.testing.assert_allclose(alone, [[1]], atol=1e-6)  # nothing to decide


def test_one_usual_side_is_enough_and_none_costs_the_weight() -> None:
    """What goes behind a post is narrower, what leaves below is lower; another object is mostly both."""
    seen = np.array([[0, 0, 40, 80], [0, 0, 10, 80], [0, 0, 40, 20], [0, 0, 80, 160]], np.float32)
    usual = np.array([[40, 80]], np.float32)
    made = similarity.shape_likeness(seen, usual, 0.3)
    np.testing.assert_allclose(made[:, 0], [1, 1, 1, 0.7], atol=1e-6)
    nearly = similarity.shape_likeness(seen[:1] * np.float32(1.2), usual, 0.3)
    np.testing.assert_allclose(nearly, 1 - 0.3 * np.log(1.2) / similarity.UNLIKE, rtol=1e-5)


def test_of_two_tracks_in_one_place_the_one_of_these_sides_goes_on() -> None:
    """After a crossing place does not tell a tall one from a small one behind it, their sides do."""
    both = scripted([(40, 20, 64, 92), (42, 32, 58, 80)])
    tracks = [Track.begin(both, k, 0.0) for k in range(2)]
    for k, track in enumerate(tracks):  # both were half hidden when they were seen last
        track.box, track.sides = np.array([44, 28, 56, 80], np.float32), [(24, 72), (16, 48)][k]
    fits = compared(scripted([(40, 20, 64, 92)]), tracks)[0]
    assert fits[0] > fits[1]
    fits = compared(scripted([(42, 32, 58, 80)]), tracks)[0]
    assert fits[0] < fits[1]


# Motion


def test_constant_motion_is_learnt_at_once_and_stays_exact() -> None:
    step, seconds, velocity = (6.0, -2.0), 0.04, (0.0, 0.0)
    for k in range(1, 30):
        velocity = motion.averaged(velocity, step, seconds, k * seconds, 0.3)
        assert velocity == pytest.approx((150, -50))


@given(st.floats(1, 60), st.floats(1, 60))
def test_learnt_velocity_depends_on_time_not_on_frames(slow: float, fast: float) -> None:
    """A turn at second 1: half a second later both rates know about the same velocity."""

    def after_turn(fps: float) -> float:
        velocity, seconds = (10.0, 0.0), 0.5 / max(round(0.5 * fps), 1)
        for k in range(max(round(0.5 * fps), 1)):
            velocity = motion.averaged(
                velocity, (30 * seconds, 0), seconds, 1 + (k + 1) * seconds, 0.3
            )
        return velocity[0]

    assert after_turn(slow) == pytest.approx(after_turn(fast), abs=1e-6)


def test_two_pictures_of_one_moment_leave_the_velocity() -> None:
    assert motion.averaged((3.0, 4.0), (50.0, 50.0), 0.0, 0.0, 0.3) == (3.0, 4.0)


@given(st.floats(0, 5), st.floats(0, 5))
def test_predictions_move_on_in_the_direction_of_the_velocity_and_fade(a: float, b: float) -> None:
    box = np.array([[10, 10, 30, 40]], np.float32)
    velocity = np.array([[40, -20]], np.float32)
    shifts = []
    for seconds in sorted((a, b)):
        made = motion.predict(box, velocity, np.array([seconds], np.float32), 0.5)
        np.testing.assert_allclose(made[0, 2:] - made[0, :2], (20, 30), atol=1e-4)
        shifts.append(float(made[0, 0] - 10))
    limit = min(40 * max(a, b), 40 * 0.5)
    assert -1e-4 <= shifts[0] <= shifts[1] + 1e-4 <= limit + 1e-3


def test_a_wider_search_says_less() -> None:
    unseen = np.array([0, 0.1, 1, 3], np.float32)
    made = motion.certainty(unseen, TrackerConfig(margin=0.1, margin_growth=1.5, margin_doubt=0.5))
    assert made[0] == 1
    assert (np.diff(made) < 0).all()
    np.testing.assert_allclose(made[2] ** 2, 1.2 / 4.2, rtol=1e-5)  # the root of how wide it was
    assert (motion.certainty(unseen, TrackerConfig(margin_doubt=0)) == 1).all()


def test_of_two_tracks_in_one_place_the_one_seen_just_now_goes_on() -> None:
    """The margin of the other has grown, so that a detection beside both overlaps more with it."""
    here, beside = scripted([(40, 40, 60, 60)]), scripted([(49, 40, 69, 60)])
    old, recent = Track.begin(here, 0, 0.0), Track.begin(here, 0, 0.9)
    made = similarity.compare(beside, [old, recent], 1.0, np.zeros((), np.float32), TrackerConfig())
    assert made.overlap[0, 0] > made.overlap[0, 1]
    assert made.affinity[0, 0] < made.affinity[0, 1]


def test_filmed_velocity_is_that_of_the_path() -> None:
    shots = [s for s in film(crossing(), clock(1.2, 25)) if 0 in s.detection_ids]
    row = [s.detection_ids.tolist().index(0) for s in shots]
    track = Track.begin(shots[0].detections, row[0], 0.0)
    for shot, i in zip(shots[1:], row[1:], strict=True):
        observe([track], shot.detections, np.array([i]), shot.frame.timestamp, DEFAULTS)
    assert track.velocity == pytest.approx((30, 2), abs=4)
    assert track.hits == len(shots)
    assert track.label == 0


def test_the_usual_size_outlasts_a_short_occlusion_but_follows_growth() -> None:
    track = Track.begin(scripted([(40, 40, 80, 80)]), 0, 0.0)
    observe(
        [track], scripted([(40, 40, 50, 80)]), np.array([0]), 0.1, DEFAULTS
    )  # a quarter is visible
    assert 38 < track.size < 40
    assert track.sides == pytest.approx((39.0, 40), abs=0.1)
    for k in range(2, 100):
        observe([track], scripted([(40, 40, 120, 120)]), np.array([0]), k / 10, DEFAULTS)
    assert 76 < track.size < 80


@settings(max_examples=30)
@given(seeds)
def test_embeddings_of_a_track_are_a_running_mean(seed: int) -> None:
    rows = similarity.unit(np.random.default_rng(seed).normal(size=(4, 6)).astype(np.float32))
    track = Track.begin(scripted([BOX], embeddings=rows[:1]), 0, 0.0)
    expected = rows[0].astype(np.float64)
    for k in range(1, 4):
        observe(
            [track],
            scripted([BOX], embeddings=rows[k : k + 1]),
            np.array([0]),
            k / 10,
            TrackerConfig(embedding_momentum=0.7),
        )
        kept = min(0.7, k / (k + 1))  # the plain mean at first
        expected = kept * expected + (1 - kept) * rows[k]
    np.testing.assert_allclose(track.embedding, expected, atol=1e-5)
