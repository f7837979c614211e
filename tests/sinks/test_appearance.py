"""What objects looked like, second by second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sipvideo.sinks import AppearanceTable
from sipvideo.structures import FrameResult
from tests.sinks.runs import SIZE, one_result, write_all


def seen(
    second: float, looks: Sequence[Sequence[float]], scores: Sequence[float] | None = None
) -> FrameResult:
    """Objects 0, 1, ... with these embeddings."""
    count = len(looks)
    result = one_result(range(count), [np.ones(SIZE, bool)] * count, round(25 * second))
    found = replace(result.detections, embeddings=np.array(looks, np.float32))
    if scores is not None:
        found = replace(found, scores=np.array(scores, np.float32))
    return replace(result, detections=found, frame=replace(result.frame, timestamp=second))


def written(folder: Path, *results: FrameResult) -> dict[str, np.ndarray]:
    write_all(AppearanceTable(folder / "a.npz"), results)
    with np.load(folder / "a.npz") as file:
        return dict(file)


def test_a_view_is_the_mean_direction_of_one_second_weighted_by_score(tmp_path: Path) -> None:
    table = written(
        tmp_path,
        seen(0.0, [[3, 0], [0, 1]], [0.9, 0.5]),
        seen(0.5, [[0, 5], [0, 7]], [0.3, 0.5]),
        seen(1.0, [[0, 1]], [0.5]),
    )
    assert table["track_id"].tolist() == [0, 1, 0]
    assert table["timestamp"].tolist() == [0.0, 0.0, 1.0]
    np.testing.assert_allclose(table["weight"], [1.2, 1.0, 0.5], atol=1e-6)
    wanted = np.array([[3, 1], [0, np.sqrt(10)], [0, np.sqrt(10)]]) / np.sqrt(10)
    np.testing.assert_allclose(table["embedding"], wanted, atol=1e-3)


def test_what_was_filled_in_carried_or_has_no_direction_tells_nothing(tmp_path: Path) -> None:
    result = seen(0.0, [[1, 0], [0, 1], [0, 0]])
    filled = replace(result, filled=np.array([True, False, False]))
    table = written(tmp_path, filled, replace(seen(0.5, [[1, 0]]), carried=True))
    assert table["track_id"].tolist() == [1]


def test_without_embeddings_the_table_is_empty(tmp_path: Path) -> None:
    table = written(tmp_path, one_result([1], [np.ones(SIZE, bool)]))
    assert {name: len(column) for name, column in table.items()} == dict.fromkeys(table, 0)
