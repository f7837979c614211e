"""What counts as a right and as a false reunion, on a film of two squares that leave and come back."""

from __future__ import annotations

import numpy as np
import pytest

from sipvideo.evaluation.replay import Replay
from sipvideo.evaluation.reunions import Reunions, reunions
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, FrameResult

SIZE = (20, 60)
SEEN = {0: (0, 1, 6, 7), 1: (0, 1, 2, 3), 2: (5, 6, 7)}
"""Object -> seconds in which it is there, one frame each: 0 comes back, 1 stays away, 2 comes late."""


def _mask(number: int) -> CompactMasks:
    dense = np.zeros((1, *SIZE), bool)
    dense[0, 4:14, 20 * number + 2 : 20 * number + 12] = True
    return CompactMasks.from_dense(dense)


def _film(score: float = 0.9, cuts: tuple[int, ...] = ()) -> Replay:
    truth = tuple(
        {"segmentations": [_mask(k).rle(0) if t in SEEN[k] else None for t in range(8)]}
        for k in SEEN
    )
    reports = []
    for t in range(8):
        shown = [k for k in SEEN if t in SEEN[k]]
        dense = np.concatenate(
            [np.zeros((0, *SIZE), bool), *(_mask(k).dense(0)[None] for k in shown)]
        )
        masks = CompactMasks.from_dense(dense)
        count = len(shown)
        reports.append(
            Detections(
                boxes=masks.windows.astype(np.float32),
                scores=np.full(count, score, np.float32),
                labels=np.zeros(count, np.int64),
                masks=masks,
                embeddings=np.zeros((count, 0), np.float32),
            )
        )
    return Replay("film", SIZE, tuple(map(float, range(8))), tuple(reports), (), truth, cuts)


def _given(film: Replay, later: dict[int, int]) -> list[FrameResult]:
    """Identity = object until second 5, then as ``later`` says."""
    ids = []
    for t in range(8):
        shown = [k for k in SEEN if t in SEEN[k]]
        ids.append(np.array([later.get(k, k) if t >= 5 else k for k in shown], np.int64))
    return film.results(ids)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ({}, Reunions(right=1, newcomers=1)),
        ({0: 9}, Reunions(new=1, newcomers=1)),
        ({0: -1}, Reunions(new=1, newcomers=1)),
        ({0: 1}, Reunions(false=1, newcomers=1)),
        ({2: 1}, Reunions(right=1, newcomers=1, mistaken=1)),
        ({0: 1, 2: 0}, Reunions(false=1, newcomers=1, mistaken=1)),
    ],
)
def test_a_return_is_right_false_or_new(later: dict[int, int], expected: Reunions) -> None:
    film = _film()
    assert reunions(film, _given(film, later)) == expected


def test_what_was_never_reported_with_confidence_is_nobodys_fault() -> None:
    film = _film(score=0.2)
    assert reunions(film, _given(film, {})) == Reunions(unseen=1)


def test_who_is_there_before_and_after_a_cut_has_come_back() -> None:
    film = _film(cuts=(3,))
    assert reunions(film, _given(film, {})) == Reunions(right=2, newcomers=1)


def test_counts_of_several_videos_add_up() -> None:
    total = Reunions(right=1, false=2) + Reunions(right=2, new=3, unseen=4, mistaken=5)
    assert total == Reunions(3, 2, 3, 4, 0, 5)
    assert total.returns == 8
