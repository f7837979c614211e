"""How well identities hold over whole scenes: our rule against the published one, and the score itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, IntArray
from sipvideo.tracker import build_tracker
from tests.scenes import REALISTIC, Shot, clock, crossing, crowd, film
from tests.tracker.scoring import score_identities, without_embeddings


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
