"""What the tracker tells about its decisions is what it decided, and telling costs and changes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from sipvideo.tracker import Explanation, Tracker
from tests.scenes import REALISTIC, clock, crowd, film, scripted
from tests.tracker.test_tracker import BOX, FAR, tracker


def recorded(made: Tracker) -> list[Explanation]:
    told: list[Explanation] = []
    made.recorder = told.append
    return told


def test_a_recorder_changes_no_identity_and_its_chosen_pairs_are_the_identities() -> None:
    plain, watched = tracker(), tracker()
    told = recorded(watched)
    for shot in film(crowd(7, 3, 3), clock(3, 10), faults=REALISTIC, seed=3):
        ids = plain.update(shot.detections, shot.frame.timestamp)
        known = {track.track_id for track in watched.tracks}
        np.testing.assert_array_equal(ids, watched.update(shot.detections, shot.frame.timestamp))
        last = told[-1]
        assert last.timestamp == shot.frame.timestamp
        assert last.track_ids == tuple(ids.tolist())
        chosen = {p.detection: p.track_id for p in last.pairs if p.verdict == "chosen"}
        for i, (track_id, verdict) in enumerate(zip(ids.tolist(), last.verdicts, strict=True)):
            assert (verdict == "goes on") == (i in chosen)
            assert (verdict == "begins an identity") == (track_id >= 0 and track_id not in known)
            assert chosen.get(i, track_id) == track_id
        for pair in last.pairs:
            if pair.verdict == "chosen":
                assert pair.affinity is not None
                assert pair.affinity > pair.needed
            assert (pair.affinity is None) == (pair.verdict == "out of reach")
    assert json.loads(json.dumps(asdict(told[-1])))["verdicts"] == list(told[-1].verdicts)


def test_each_detection_without_an_identity_is_told_why() -> None:
    made = tracker()
    told = recorded(made)
    nowhere = (float("nan"), 0.0, 10.0, 10.0)
    again = (41.0, 40.0, 60.0, 64.0)
    found = scripted([BOX, again, nowhere, FAR, FAR], [0.9, 0.8, 0.7, 0.3, 0.1])
    made.update(found, 0.0)
    assert told[0].verdicts == (
        "begins an identity",
        "repeats a better detection",
        "impossible box",
        "too doubtful to begin an identity",
        "score below keep_score",
    )
    assert told[0].pairs == ()


def test_the_cues_of_a_pair_add_up_to_its_affinity() -> None:
    looks = np.eye(2, dtype=np.float32)
    made = tracker()
    told = recorded(made)
    made.update(scripted([BOX, FAR], embeddings=looks), 0.0)
    made.update(scripted([(44, 40, 64, 64)], labels=1, embeddings=looks[:1]), 0.1)
    (pair, *others), weights = told[1].pairs, told[1].weights
    assert others == []  # out of reach, and the detection found its track
    assert (pair.detection, pair.track_id, pair.verdict) == (0, 0, "chosen")
    assert pair.likeness is not None
    share = weights["embedding_weight"]
    place = (1 - share) * pair.certainty * pair.overlap
    expected = place + share * pair.likeness - weights["label_penalty"]
    assert pair.affinity == pytest.approx(expected, abs=1e-6)
    assert (pair.label_agrees, pair.mask_overlap) == (False, None)
    assert pair.unseen == pytest.approx(0.1)


def test_a_lost_track_out_of_reach_of_a_new_identity_is_told() -> None:
    made = tracker()
    told = recorded(made)
    for k in range(3):
        made.update(scripted([BOX]), k / 10)
    assert made.update(scripted([(140, 100, 150, 110)]), 0.3).tolist() == [1]
    pairs = told[-1].pairs
    assert [(p.track_id, p.verdict, p.affinity) for p in pairs] == [(0, "out of reach", None)]
