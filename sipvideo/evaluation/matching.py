"""Greedy matching of predicted to annotated tracks, and average precision from the matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.evaluation.files import Json

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Matches:
    """Matches of D predictions (best first) and G objects of one video and category, for S subsets and T thresholds.

    Attributes:
        predictions: float64 [S, T, D], id of the object matched, 0 for none.
        objects: float64 [S, T, G], id of the last prediction matched, 0 for none.
        ignored: bool [S, T, D], predictions that count neither as right nor as wrong.
    """

    predictions: Floats
    objects: Floats
    ignored: Bools


def match(
    iou: Floats,
    thresholds: Floats,
    prediction_ids: Sequence[Any],
    object_ids: Sequence[Any],
    flags: tuple[Bools, Bools, Bools],
) -> Matches:
    """Gives every prediction, best first, the free object that it overlaps most.

    Objects that count win over ignored ones whatever the overlap; of equal overlaps the later object wins; a crowd
    takes any number. Each threshold and each subset stands alone.

    Args:
        iou: float64 [D, G].
        thresholds: float64 [T], least IoU of a match.
        prediction_ids: D ids.
        object_ids: G ids. As published, a match is recorded by these ids, so that one with id 0 is none.
        flags: which objects are crowds, bool [G]; which objects do not count in each subset, bool [S, G]; which
            predictions are ignored in each subset unless they match, bool [S, D].
    """
    crowd, ignore, outside = flags
    d, g = iou.shape
    s, t = len(ignore), len(thresholds)
    predictions, objects = np.zeros((s, t, d)), np.zeros((s, t, g))
    ignored = np.zeros((s, t, d), bool)
    ids = np.array(object_ids, float)
    bar = np.minimum(thresholds, 1 - 1e-10)
    high_enough = iou[:, None, :] >= bar[:, None]
    # Most often one prediction and one object have only each other: nothing to decide.
    near = iou >= bar.min(initial=np.inf)
    rivals = near.sum(1)
    k, only = (near & (rivals[:, None] == 1) & (near.sum(0) == 1)).nonzero()
    hit = high_enough[k, :, only].T
    predictions[:, :, k] = np.where(hit, ids[only], 0)
    objects[:, :, only] = np.where(hit, np.array(prediction_ids, float)[k], 0)
    ignored[:, :, k] = hit & ignore[:, None, only]
    rivals[k] = 0
    for k in rivals.nonzero()[0].tolist():
        allowed = high_enough[k] & (crowd | ~(objects > 0))
        counting = allowed & ~ignore[:, None, :]
        allowed = np.where(counting.any(2, keepdims=True), counting, allowed)
        best = g - 1 - np.argmax(np.where(allowed, iou[k], -1)[..., ::-1], axis=2)
        a, b = allowed.any(2).nonzero()
        taken = best[a, b]
        predictions[a, b, k] = ids[taken]
        objects[a, b, taken] = prediction_ids[k]
        ignored[a, b, k] = ignore[a, taken]
    ignored |= (predictions == 0) & outside[:, None, :]
    return Matches(predictions, objects, ignored)


def precision_at(
    right: Bools, wrong: Bools, objects: int, recall_points: Floats
) -> tuple[Floats, NDArray[np.int64], Floats]:
    """Precision, monotone from the right, where recall first reaches each point.

    Args:
        right, wrong: bool [T, N], predictions by descending score; neither: ignored.
        objects: number of objects that count, at least 1.
        recall_points: float64 [R], ascending.

    Returns:
        Precision float64 [T, R], 0 at points never reached; the position of the prediction that reaches each
        point, int64 [T, R], N where none does; the last recall, float64 [T].
    """
    t, n = right.shape
    hits, misses = np.cumsum(right, 1, dtype=float), np.cumsum(wrong, 1, dtype=float)
    recall = hits / objects
    precision = np.zeros((t, n + 1))
    precision[:, :n] = hits / (misses + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    at = np.array([np.searchsorted(row, recall_points, side="left") for row in recall])
    at = at.reshape(t, len(recall_points))
    last = recall[:, -1] if n else np.zeros(t)
    return np.take_along_axis(precision, at, 1), at, last


def curve(
    records: list[Json], limit: int, recall_points: Any
) -> tuple[Floats, Floats, Floats] | None:
    """Precision and recall of one class over videos.

    Args:
        records: dicts with ``dtScores`` [D], ``dtMatches`` and ``dtIgnore`` [T, D] and ``gtIgnore`` [G].
        limit: predictions that count in each record, the best first.
        recall_points: float64 [R], ascending.

    Returns:
        Precision [T, R], score at each point [T, R] and last recall [T]; None where nothing is annotated.
    """
    ignored = np.concatenate([np.zeros(0, int), *(e["gtIgnore"] for e in records)])
    objects = int((ignored == 0).sum())
    if not objects:
        return None
    scores = np.concatenate([e["dtScores"][:limit] for e in records])
    order = np.argsort(-scores, kind="stable")
    matched = np.concatenate([e["dtMatches"][:, :limit] for e in records], 1)[:, order] != 0
    counts = ~np.concatenate([e["dtIgnore"][:, :limit] for e in records], 1)[:, order]
    precision, at, recall = precision_at(
        matched & counts, ~matched & counts, objects, np.asarray(recall_points)
    )
    return precision, np.append(scores[order], 0.0)[at], recall
