"""Retrieval is a plain count of who is more alike than the right one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipvideo.data import Augmentation
from sipvideo.data.sample import Sample
from sipvideo.evaluation.retrieval import (
    Retrieval,
    Sightings,
    View,
    picture_views,
    retrieval,
    sightings,
)
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame


def seen(seed: int) -> Sightings:
    """Three videos of six frames with up to four objects of two classes, some of them out of sight."""
    rng = np.random.default_rng(seed)
    rows = [
        (video, frame, key)
        for video, frame, key in product(range(3), range(6), range(4))
        if rng.random() < 0.6
    ]
    videos, frames, objects = np.array(rows, np.int64).reshape(-1, 3).T
    embeddings = rng.standard_normal((len(rows), 5)).astype(np.float32)
    return Sightings(embeddings, (objects + videos) % 2, objects, videos, frames, frames / 4)


def plain(given: Sightings, least_gap: float) -> dict[str, list[int]]:
    """Ranks by the definition, question after question."""
    vectors = given.embeddings - given.embeddings.mean(0)
    ranks: dict[str, list[int]] = {"all": [], "same_class": [], "same_scene": []}

    def cosine(i: int, j: int) -> float:
        lengths = np.linalg.norm(vectors[i]) * np.linalg.norm(vectors[j])
        return float(vectors[i] @ vectors[j] / lengths)

    for i, right in product(range(len(given)), repeat=2):
        same = given.objects[i] == given.objects[right] and given.videos[i] == given.videos[right]
        if not same or abs(given.seconds[i] - given.seconds[right]) < least_gap:
            continue
        everybody = [j for j in range(len(given)) if given.frames[j] == given.frames[right]]
        alike = [j for j in everybody if given.labels[j] == given.labels[i]]
        scene = [j for j in alike if given.videos[j] == given.videos[i]]
        for name, pool in (("all", everybody), ("same_class", alike), ("same_scene", scene)):
            if name != "same_scene" or len(pool) > 1:
                better = [j for j in pool if j != right and cosine(i, j) >= cosine(i, right)]
                ranks[name].append(1 + len(better))
    return ranks


@given(st.integers(0, 10**6), st.sampled_from((0.25, 0.5, 1.0)))
@settings(max_examples=10, deadline=None)
def test_retrieval_is_its_slow_definition(seed: int, least_gap: float) -> None:
    given = seen(seed)
    found = retrieval(given, least_gap)
    for name, ranks in plain(given, least_gap).items():
        scores = getattr(found, name)
        assert scores.questions == len(ranks)
        if ranks:
            assert scores.rank1 == pytest.approx(np.mean([rank == 1 for rank in ranks]))
            assert scores.mean_ap == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_embeddings_that_name_the_object_are_perfect_and_equal_ones_are_worthless() -> None:
    given = seen(1)
    numbers = given.videos * 4 + given.objects
    best = retrieval(replace(given, embeddings=np.eye(12, dtype=np.float32)[numbers]))
    assert best.all.rank1 == best.same_class.mean_ap == best.same_scene.rank1 == 1
    worst = retrieval(replace(given, embeddings=np.ones((len(given), 3), np.float32)))
    assert worst.same_scene.rank1 == 0


def test_nothing_seen_is_nothing_asked() -> None:
    none = np.zeros(0, np.int64)
    found = retrieval(Sightings(np.zeros((0, 4), np.float32), none, none, none, none, np.zeros(0)))
    assert isinstance(found, Retrieval)
    assert found.all.questions == found.same_scene.questions == 0


def two_squares() -> Sample:
    masks = np.zeros((3, 40, 60), bool)
    masks[0, 5:15, 5:15] = masks[1, 5:15, 40:50] = masks[2, 20:40, 20:40] = True
    return Sample(
        np.zeros((40, 60, 3), np.uint8),
        CompactMasks.from_dense(masks),
        np.array([3, 4, 5]),
        np.array([False, False, True]),
        np.array([7, 8, 9]),
    )


def test_a_sighting_is_the_detection_that_overlaps_the_object_best() -> None:
    boxes = np.array([[5, 5, 15, 14], [5, 5, 15, 15], [0, 0, 60, 40], [20, 20, 40, 40]], np.float32)

    def segment(frame: Frame) -> Detections:
        return replace(
            Detections.empty(frame.size, 1),
            boxes=boxes,
            scores=np.ones(4, np.float32),
            labels=np.zeros(4, np.int64),
            masks=CompactMasks.from_dense(np.ones((4, *frame.size), bool)),
            embeddings=np.arange(4, dtype=np.float32)[:, None],
        )

    found = sightings(segment, [View(2, 6, 1.5, two_squares())])
    # The crowd is no object, and the second square was missed.
    assert found.embeddings.tolist() == [[1]]
    assert (found.labels.tolist(), found.objects.tolist()) == ([3], [7])
    assert (found.videos.tolist(), found.frames.tolist(), found.seconds.tolist()) == (
        [2],
        [6],
        [1.5],
    )


def test_a_still_picture_gives_the_same_two_views_every_time() -> None:
    class One:
        classes = ("a",) * 6

        def __len__(self) -> int:
            return 2

        def size(self, index: int) -> tuple[int, int]:
            return 40, 60

        def count(self, index: int) -> int:
            return 2

        def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
            return two_squares(), two_squares()

    first, again = ([*picture_views(One(), Augmentation())] for _ in range(2))
    assert [(view.video, view.frame) for view in first] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.sample.image, b.sample.image)
