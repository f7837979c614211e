"""How well identities hold over whole scenes: our rule against the published one, and the score itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, IntArray
from sipvideo.tracker import build_tracker
from tests.scenes import REALISTIC, Shot, clock, crossing, crowd, film
from tests.tracker.scoring import agreement, score_identities, without_embeddings


class Scripted:
    """Answers the given identities, frame by frame."""

    def __init__(self, answers: list[IntArray]) -> None:
        self.answers = answers
        self.reset()

    def reset(self) -> None:
        self.coming = iter(self.answers)

    def returned(self, track_ids: IntArray) -> None:
        pass

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        return detections.labels

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        return next(self.coming)


def test_true_identities_score_one_and_a_swap_is_two_switches() -> None:
    shots = [s for s in film(crossing(), clock(4, 10)) if len(s.detection_ids) == 2]
    truth = [shot.detection_ids for shot in shots]
    perfect = score_identities(Scripted(truth), shots)
    assert (perfect.switches, perfect.idf1) == (0, 1.0)
    half = len(truth) // 2
    swapped = [ids if k < half else 1 - ids for k, ids in enumerate(truth)]
    score = score_identities(Scripted(swapped), shots)
    assert score.switches == 2
    assert score.idf1 == pytest.approx(0.5, abs=0.05)
    nobody = [np.full(2, -1, np.int64)] * len(truth)
    assert score_identities(Scripted(nobody), shots).idf1 == 0


def films(name: str) -> list[list[Shot]]:
    twins = name == "twins"
    made = []
    for seed in range(3):
        actors = crowd(8, 6, seed, twins=twins, classes=1 if twins else 3)
        shots = list(film(actors, clock(6, 8), faults=REALISTIC, seed=seed))
        made.append(without_embeddings(shots) if name == "no embeddings" else shots)
    return made


@pytest.mark.parametrize("name", ["crowd", "no embeddings", "twins"])
def test_our_rule_holds_identities_better_than_the_published_one(name: str) -> None:
    shots = films(name)
    totals = []
    for preset in ("sipvideo", "paper"):
        tracker = build_tracker(TrackerConfig.model_validate({"preset": preset}))
        scores = [score_identities(tracker, film) for film in shots]
        totals.append((sum(s.switches for s in scores), np.mean([s.idf1 for s in scores])))
    (switches, idf1), (published_switches, published_idf1) = totals
    assert switches < published_switches / 3
    assert idf1 > published_idf1 + 0.05


def test_two_runs_agree_wholly_half_or_not_at_all() -> None:
    first = [np.array([0, 1, -1]), np.array([1, 0, 2])]
    renamed = [np.array([7, 3, -1]), np.array([3, 7, 5])]
    assert agreement(first, renamed) == 1
    nobody = [np.full(3, -1)] * 2
    assert agreement(first, nobody) == 0
    assert agreement(nobody, nobody) == 1
    swapped = [first[0], np.array([0, 1, 2])]
    assert agreement(first, swapped) == pytest.approx(6 / 10)


def test_a_recorded_session_replayed_with_its_timestamps_has_the_same_identities() -> None:
    """Live clocks start anywhere, drop frames and wobble; files keep milliseconds from zero."""
    times = clock(8, 12, drops=0.25, wobble=0.4, seed=3)
    shots = list(film(crowd(8, 8, 3), times, faults=REALISTIC, seed=3))
    begun = 1_234_567.891234
    live, replayed = build_tracker(TrackerConfig()), build_tracker(TrackerConfig())
    for shot in shots:
        second = shot.frame.timestamp
        ids = live.update(shot.detections, begun + second)
        again = replayed.update(shot.detections, round(second - times[0][1], 3))
        np.testing.assert_array_equal(ids, again)


@pytest.mark.parametrize("name", ["crowd", "no embeddings"])
def test_every_second_frame_alone_gives_nearly_the_same_identities(name: str) -> None:
    shares = []
    for seed in range(4):
        shots = list(film(crowd(5, 8, seed), clock(8, 16), seed=seed))
        shots = without_embeddings(shots) if name == "no embeddings" else shots
        whole, half = build_tracker(TrackerConfig()), build_tracker(TrackerConfig())
        every = [whole.update(s.detections, s.frame.timestamp) for s in shots][::2]
        some = [half.update(s.detections, s.frame.timestamp) for s in shots[::2]]
        shares.append(agreement(every, some))
    assert np.mean(shares) >= 0.98, shares


def test_what_all_embeddings_have_in_common_does_little_harm() -> None:
    shots = films("crowd")
    for amount in (1, 2, 4):
        biased = [
            [
                replace(
                    shot,
                    detections=replace(
                        shot.detections,
                        embeddings=shot.detections.embeddings + np.float32(amount) / 6,
                    ),
                )
                for shot in film
            ]
            for film in shots
        ]
        plain, moved = (
            np.mean([score_identities(build_tracker(TrackerConfig()), f).idf1 for f in versions])
            for versions in (shots, biased)
        )
        assert moved > plain - 0.06
