"""The published rule: against recorded answers of the original code, against an obvious loop, and quirk by quirk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, FrameResult
from sipvideo.tracker import PaperTracker, build_tracker
from sipvideo.tracker.paper import claim
from tests.scenes import clock, crowd, film, scripted

RECORDED = Path(__file__).parents[1] / "fixtures" / "tracker_paper.npz"


@dataclass
class Recorded:
    """One frame of the original code's run."""

    first: bool
    detections: Detections
    claims: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    overlap: NDArray[np.float32] | None
    memory_boxes: NDArray[np.float32]
    memory_labels: NDArray[np.int64]


def recorded(name: str) -> Iterator[Recorded]:
    arrays = np.load(RECORDED)
    features = arrays["mini_thr_det_feats" if name == "mini_thr_reset" else f"{name}_det_feats"]
    used = {"detections": 0, "memory": 0, "scores": 0, "overlap": 0}

    def take(key: str, name_of_count: str, count: int) -> slice:
        start = used[name_of_count]
        used[name_of_count] = start + count
        return slice(start, start + count)

    for _, first, n, compared, before, after in arrays[f"{name}_frames"].tolist():
        rows, memory = take("det", "detections", n), take("mem", "memory", after)
        scores = take("comp", "scores", n * (1 + before) * compared)
        overlap = take("iou", "overlap", n * before * compared)
        found = arrays[f"{name}_det_boxes"][rows]
        yield Recorded(
            first=bool(first),
            detections=scripted(
                found[:, :4].tolist(),
                found[:, 4].tolist(),
                arrays[f"{name}_det_labels"][rows].tolist(),
                features[rows],
            ),
            claims=arrays[f"{name}_det_obj_ids"][rows],
            scores=arrays[f"{name}_comp_scores"][scores].reshape(n, 1 + before)
            if compared
            else None,
            overlap=arrays[f"{name}_match_iou"][overlap].reshape(n, before) if compared else None,
            memory_boxes=arrays[f"{name}_mem_boxes"][memory],
            memory_labels=arrays[f"{name}_mem_labels"][memory],
        )


def tracker(**settings: object) -> PaperTracker:
    made = build_tracker(TrackerConfig.model_validate({"preset": "paper", **settings}))
    assert isinstance(made, PaperTracker)
    return made


@pytest.mark.parametrize(
    ("name", "survives", "compared"),
    [("mini", False, 15), ("mini", True, 15), ("mini_thr", True, 10), ("mini_thr_reset", False, 7)],
)
def test_every_recorded_frame_of_the_original_is_reproduced(
    name: str, survives: bool, compared: int
) -> None:
    paper = tracker(memory_survives_empty_first_frame=survives)
    frames = score_tables = 0
    for frame in recorded(name):
        if frame.first:
            paper.reset()
        before = paper.memory
        ids = paper.update(frame.detections, 0.0)
        np.testing.assert_array_equal(paper.last_claims, frame.claims)
        last_of_each = {c: i for i, c in enumerate(frame.claims.tolist()) if c >= 0}
        assert {c: int(np.flatnonzero(ids == c)[0]) for c in ids[ids >= 0].tolist()} == last_of_each
        if frame.scores is not None and frame.overlap is not None:
            np.testing.assert_allclose(paper.last_scores, frame.scores, rtol=0, atol=1e-5)
            overlap = boxes.iou(frame.detections.boxes, before.boxes, pixel=1)
            np.testing.assert_allclose(overlap, frame.overlap, rtol=0, atol=1e-6)
            score_tables += 1
        np.testing.assert_array_equal(paper.memory.boxes, frame.memory_boxes[:, :4])
        np.testing.assert_array_equal(paper.memory.scores, frame.memory_boxes[:, 4])
        np.testing.assert_array_equal(paper.memory.labels, frame.memory_labels)
        frames += 1
    assert (frames, score_tables) == (20, compared)


@pytest.mark.parametrize(
    "wrong", [{"label_weight": 9.0}, {"iou_weight": 1.9}, {"score_weight": 0.9}]
)
def test_the_recorded_scores_notice_a_wrong_weight(wrong: dict[str, float]) -> None:
    right, other = tracker(), tracker(**wrong)
    worst = 0.0
    for frame in recorded("mini"):
        if frame.first:
            right.reset()
        if frame.scores is not None:
            other.memory = right.memory
            worst = max(worst, float(np.abs(other.compare(frame.detections) - frame.scores).max()))
        right.update(frame.detections, 0.0)
    assert worst > 0.05


def slow_scores(paper: PaperTracker, found: Detections) -> list[list[float]]:
    """The rule of the paper's code, one pair at a time, in double precision."""
    memory = paper.memory
    table = []
    for i in range(len(found)):
        products = [0.0]
        for j in range(len(memory)):
            pairs = zip(found.embeddings[i].tolist(), memory.embeddings[j].tolist(), strict=True)
            products.append(sum(a * b for a, b in pairs))
        peak = max(products)
        total = peak + math.log(sum(math.exp(p - peak) for p in products))
        score = math.log(float(found.scores[i]))
        row = [products[0] - total + score + 10]
        for j in range(len(memory)):
            a, b = found.boxes[i].tolist(), memory.boxes[j].tolist()
            w = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
            h = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
            areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
            same = bool(found.labels[i] == memory.labels[j])
            row.append(
                products[j + 1] - total + score + 2 * w * h / (sum(areas) - w * h) + 10 * same
            )
        table.append(row)
    return table


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_scores_equal_the_obvious_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    paper = tracker()
    for _ in range(4):
        n = int(rng.integers(0, 6))
        corner = rng.uniform(0, 60, (n, 2))
        found = scripted(
            np.concatenate((corner, corner + rng.uniform(5, 40, (n, 2))), 1).tolist(),
            rng.uniform(0.05, 1, n).tolist(),
            rng.integers(0, 3, n).tolist(),
            rng.normal(0, 1.5, (n, 8)).astype(np.float32),
        )
        if n and len(paper.memory):
            expected = slow_scores(paper, found)
            np.testing.assert_allclose(paper.compare(found), expected, rtol=0, atol=1e-4)
        paper.update(found, 0.0)


BOX = (10, 10, 30, 30)
LEFT = np.array([[4, 0]], np.float32)
RIGHT = np.array([[0, 4]], np.float32)


def test_first_frame_numbers_detections_in_their_order() -> None:
    ids = tracker().update(scripted([BOX] * 3, [0.9, 0.8, 0.7]), 0.0)
    assert ids.tolist() == [0, 1, 2]
    assert ids.dtype == np.int64


def test_a_worse_claim_on_a_taken_object_gets_no_identity_and_no_second_choice() -> None:
    paper = tracker()
    paper.update(scripted([BOX], embeddings=LEFT), 0.0)
    both = scripted([BOX, (11, 10, 31, 30)], [0.9, 0.3], embeddings=np.repeat(LEFT, 2, 0))
    assert paper.update(both, 0.1).tolist() == [0, -1]


def test_of_two_claims_the_later_and_better_one_keeps_the_identity() -> None:
    paper = tracker()
    paper.update(scripted([BOX], embeddings=LEFT), 0.0)
    both = scripted([(20, 20, 40, 40), BOX], [0.8, 0.79], embeddings=np.repeat(LEFT, 2, 0))
    assert paper.update(both, 0.1).tolist() == [-1, 0]
    assert paper.last_claims.tolist() == [0, 0]
    assert paper.memory.boxes.tolist() == [list(BOX)]


def test_memory_keeps_the_first_label_but_the_last_box_and_embedding() -> None:
    paper = tracker()
    paper.update(scripted([BOX], labels=3, embeddings=LEFT), 0.0)
    moved = scripted([(12, 10, 32, 30)], labels=5, embeddings=2 * LEFT)
    assert paper.update(moved, 0.1).tolist() == [0]  # 32 of likeness outweigh 10 of label
    assert paper.memory.labels.tolist() == [3]
    np.testing.assert_array_equal(paper.memory.embeddings, 2 * LEFT)
    np.testing.assert_array_equal(paper.memory.boxes, moved.boxes)


def test_a_score_at_the_floor_claims_nothing() -> None:
    paper = tracker()
    paper.update(scripted([BOX], labels=0, embeddings=LEFT * 2), 0.0)
    faint = scripted([BOX], [1e-45], labels=1, embeddings=LEFT * 2)
    assert paper.update(faint, 0.1).tolist() == [-1]
    assert paper.last_scores[0, 1] < -100


def test_a_score_of_zero_starts_a_new_object_without_a_warning() -> None:
    paper = tracker()
    paper.update(scripted([BOX]), 0.0)
    assert paper.update(scripted([BOX], 0.0), 0.1).tolist() == [1]


def test_memory_survives_an_empty_first_frame_only_if_asked() -> None:
    for survives in (True, False):
        paper = tracker(memory_survives_empty_first_frame=survives)
        paper.update(scripted([BOX, (60, 60, 90, 90)], embeddings=np.vstack((LEFT, RIGHT))), 0.0)
        paper.reset()
        assert paper.update(Detections.empty((120, 160)), 0.0).tolist() == []
        ids = paper.update(scripted([(60, 60, 90, 90)], embeddings=RIGHT), 0.1)
        assert ids.tolist() == [1 if survives else 0]


def test_objects_in_the_first_frame_replace_a_surviving_memory() -> None:
    paper = tracker(memory_survives_empty_first_frame=True)
    paper.update(scripted([BOX] * 3), 0.0)
    paper.reset()
    assert paper.update(scripted([BOX]), 0.0).tolist() == [0]
    assert len(paper.memory) == 1


def test_frames_without_detections_leave_the_memory_alone() -> None:
    paper = tracker()
    paper.update(scripted([BOX], embeddings=LEFT), 0.0)
    assert paper.update(Detections.empty((120, 160)), 0.1).shape == (0,)
    assert paper.last_scores.shape == (0, 2)
    assert paper.update(scripted([BOX], embeddings=LEFT), 0.2).tolist() == [0]


def test_another_embedding_size_is_refused() -> None:
    paper = tracker()
    paper.update(scripted([BOX], embeddings=LEFT), 0.0)
    with pytest.raises(ValueError, match=r"embeddings: expected \[\*, 2\].*got \[1, 3\]"):
        paper.update(scripted([BOX], embeddings=np.zeros((1, 3), np.float32)), 0.1)


def test_claims_of_no_detections_are_none() -> None:
    assert claim(np.zeros((0, 4), np.float32)).tolist() == []


def test_a_filmed_crowd_gives_valid_results() -> None:
    paper, largest = tracker(), -1
    for shot in film(crowd(8, 3), clock(3, 10), seed=1):
        ids = paper.update(shot.detections, shot.frame.timestamp)
        FrameResult(shot.frame, shot.detections, ids, 0.0)  # checks them
        largest = max(largest, int(ids.max(initial=-1)))
    assert len(paper.memory) == largest + 1 > 5
