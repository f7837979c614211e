"""The scene generator itself: other tests trust it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.scenes import (
    REALISTIC,
    Actor,
    Faults,
    clock,
    crossing,
    crowd,
    film,
    occlusion,
    reentry,
    scripted,
)


def test_masks_are_disjoint_and_boxes_tight() -> None:
    for shot in film(crowd(10, 2, 1), clock(2, 5)):
        dense = np.stack([shot.truth.masks.dense(k) for k in range(len(shot.truth))])
        assert dense.sum(0).max() <= 1
        for mask, box in zip(dense, shot.truth.boxes, strict=True):
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            assert box.tolist() == tight


def test_a_perfect_detector_reports_the_truth() -> None:
    for shot in film(crossing(), clock(4, 5), faults=Faults(min_visible=0)):
        who = shot.detection_ids.tolist()
        assert sorted(who) == shot.truth_ids.tolist()
        rows = [shot.truth_ids.tolist().index(k) for k in who]
        np.testing.assert_array_equal(shot.detections.boxes, shot.truth.boxes[rows])
        assert shot.detections.masks.iou(shot.truth.masks[rows]).diagonal().tolist() == [1.0] * len(
            who
        )


def test_pictures_show_the_actors_where_their_masks_are() -> None:
    still = [Actor(((0, 50, 50), (1, 50, 50)), shape="ring"), Actor(((0, 90, 50), (1, 90, 50)))]
    (shot,) = film(still, [(0, 0.5)], seed=3)
    (empty,) = film([], [(0, 0.5)], seed=3)
    changed = (shot.frame.image != empty.frame.image).any(2)
    painted = shot.truth.masks.dense(0) | shot.truth.masks.dense(1)
    assert not changed[~painted].any()
    assert changed[painted].mean() > 0.95
    assert len(empty.truth) == len(empty.detections) == 0


def test_the_nearer_actor_hides_the_farther() -> None:
    counts = [len(shot.truth) for shot in film(occlusion(1.0), clock(5, 10))]
    assert counts[0] == counts[-1] == 2
    assert counts.count(1) >= 8


def test_actors_leave_and_return() -> None:
    seen = [0 in shot.truth_ids for shot in film(reentry(1.0), clock(5, 10))]
    assert seen[0]
    assert seen[-1]
    assert not all(seen)


def test_the_same_seed_gives_the_same_film_and_dropped_frames_change_no_other() -> None:
    scene = crowd(5, 2)
    whole = {s.frame.index: s for s in film(scene, clock(2, 10), faults=REALISTIC, seed=4)}
    times = clock(2, 10, drops=0.4, seed=1)
    assert 5 < len(times) < 20
    for shot in film(scene, times, faults=REALISTIC, seed=4):
        other = whole[shot.frame.index]
        np.testing.assert_array_equal(shot.frame.image, other.frame.image)
        np.testing.assert_array_equal(shot.detections.boxes, other.detections.boxes)
        np.testing.assert_array_equal(shot.detections.embeddings, other.detections.embeddings)


def test_a_wobbling_clock_keeps_its_order_and_mean_rate() -> None:
    seconds = np.array([t for _, t in clock(20, 25, wobble=0.9, seed=2)])
    steps = np.diff(seconds)
    assert (steps > 0).all()
    assert steps.std() > 0.005
    assert steps.mean() == pytest.approx(0.04, rel=0.01)


@pytest.mark.parametrize(
    ("fault", "value"),
    [("misses", 0.5), ("false_positives", 2.0), ("label_flips", 0.5), ("duplicates", 0.5)],
)
def test_faults_come_as_often_as_asked(fault: str, value: float) -> None:
    faults = dataclasses.replace(Faults(), **{fault: value})
    misses = invented = flips = repeats = objects = frames = 0
    for shot in film(crossing(seconds=8), clock(8, 30), faults=faults, seed=1):
        visible = np.isin(shot.truth_ids, shot.detection_ids)
        who = shot.detection_ids[shot.detection_ids >= 0]
        objects += len(shot.truth_ids)
        frames += 1
        misses += int((~visible).sum())
        invented += int((shot.detection_ids < 0).sum())
        repeats += len(who) - len(set(who.tolist()))
        named = shot.detections.labels[shot.detection_ids >= 0]
        flips += int((named != who).sum())  # actor k of this scene has label k
    rates = {
        "misses": misses / objects,
        "false_positives": invented / frames,
        "label_flips": 2 * flips / objects,  # half of the random labels are right
        "duplicates": repeats / objects,
    }
    assert rates[fault] == pytest.approx(value, rel=0.2)


def test_detections_come_by_descending_score_inside_the_frame() -> None:
    for shot in film(crowd(8, 2), clock(2, 10), faults=REALISTIC, seed=5):
        found = shot.detections
        assert (np.diff(found.scores) <= 0).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= (160, 120, 160, 120)).all()


def test_twins_share_their_embedding_and_others_do_not() -> None:
    (twins,) = film(crossing(twins=True), [(0, 0.0)])
    (others,) = film(crossing(), [(0, 0.0)])
    same = [f.truth.embeddings @ f.truth.embeddings.T for f in (twins, others)]
    assert same[0][0, 1] == pytest.approx(1, abs=1e-6)
    assert same[1][0, 1] < 0.6


def test_scripted_detections_take_one_value_or_one_each() -> None:
    found = scripted([(0, 0, 10, 10), (5, 5, 9, 8)], [0.9, 0.8], 3)
    assert found.labels.tolist() == [3, 3]
    assert found.masks.areas().tolist() == [100, 12]
    assert len(scripted([])) == 0
