"""Suspicions about an identity alone: its class, its mask, how long it is seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.ndimage import median_filter

from sipvideo.structures import IntArray
from sipvideo.studio.doubts.sightings import Sightings
from sipvideo.studio.doubts.suspicion import Suspicion, logistic

AROUND = 0.8
"""Seconds before and after with whose areas a mask is compared."""
GROWN = 0.25
"""Logarithm of the ratio of areas from which a mask is looked at."""
BORDER = 0.02
"""Share of the picture's sides at its border in which objects may come and go."""


def flips(seen: Sightings, class_names: Sequence[str]) -> Iterator[Suspicion]:
    """Stretches in which an identity is called something else than mostly."""
    usual = _usual_labels(seen)[seen.owner]
    for begin, end in _stretches(seen, seen.labels != usual):
        track_id, label, right = (int(c[begin]) for c in (seen.ids, seen.labels, usual))
        first, last = int(seen.frames[begin]), int(seen.frames[end])
        worth = float(logistic(-1.0 + 0.35 * (end - begin + 1)))
        names = [class_names[k] if k < len(class_names) else str(k) for k in (label, right)]
        why = f"{track_id} is called {names[0]} for {end - begin + 1} frames, {names[1]} otherwise"
        edit = {"op": "relabel", "id": track_id, "label": right, "first": first, "last": last}
        yield Suspicion("class", (track_id,), first, last, worth, why, edit)


def growths(seen: Sightings) -> Iterator[Suspicion]:
    """Masks that are larger for a moment than before and after it."""
    area = np.log(np.maximum(seen.areas, 1).astype(np.float64))
    # One filter over all identities: without their own level they join smoothly.
    level = np.array(
        [np.median(area[a : b + 1]) for a, b in zip(seen.firsts, seen.lasts, strict=True)]
    )
    area -= level[seen.owner]
    window = 2 * max(1, round(AROUND / seen.period)) + 1
    more = area - median_filter(area, window, mode="nearest")
    step = np.abs(np.diff(area, prepend=0, append=0))
    for begin, end in _stretches(seen, more > GROWN):
        track_id, first, last = int(seen.ids[begin]), int(seen.frames[begin]), int(seen.frames[end])
        owner = seen.owner[begin]
        inside = begin > seen.firsts[owner] and end < seen.lasts[owner]
        most, sudden = float(more[begin : end + 1].max()), float(min(step[begin], step[end + 1]))
        worth = float(logistic(-4.5 + 4 * min(most, 1.5) + 4 * min(sudden, 1.0))) * (
            1 if inside else 0.5
        )
        why = f"the mask of {track_id} is {np.exp(most):.1f} times as large as around it"
        carry = {
            "op": "propagate",
            "id": track_id,
            "frame": first - 1,
            "direction": 1,
            "until": last + 1,
        }
        yield Suspicion("growth", (track_id,), first, last, worth, why, carry if inside else None)


def shorts(seen: Sightings) -> Iterator[Suspicion]:
    """Identities that are hardly seen at all."""
    height, width = seen.frame_size
    sides = seen.boxes / np.array([width, height, width, height])
    at_border = (sides[:, :2] < BORDER).any(1) | (sides[:, 2:] > 1 - BORDER).any(1)
    for begin, end in zip(seen.firsts.tolist(), seen.lasts.tolist(), strict=True):
        seconds = (end - begin + 1) * seen.period
        if seconds > 3:
            continue
        track_id, first, last = int(seen.ids[begin]), int(seen.frames[begin]), int(seen.frames[end])
        best = float(seen.scores[begin : end + 1].max())
        explained = int(at_border[begin]) + int(at_border[end])
        explained += int(first == 0) + int(last >= len(seen.times) - 1)
        worth = float(logistic(2.2 - 1.2 * seconds - 5 * (best - 0.5) - 1.0 * explained))
        why = f"{track_id} is seen for {seconds:.1f} s only, best score {best:.2f}"
        delete = {"op": "delete", "id": track_id, "first": first, "last": last}
        yield Suspicion("short", (track_id,), first, last, worth, why, delete)


def _usual_labels(seen: Sightings) -> IntArray:
    """The label of each identity with most score, int64 [K]."""
    labels, places = np.unique(seen.labels, return_inverse=True)
    cells = seen.owner * len(labels) + places
    total = np.bincount(cells, seen.scores, len(seen.firsts) * len(labels))
    best: IntArray = labels[total.reshape(-1, len(labels)).argmax(1)]
    return best


def _stretches(
    seen: Sightings, odd: np.ndarray[tuple[int], np.dtype[np.bool_]]
) -> Iterator[tuple[int, int]]:
    """First and last rows of stretches of an identity that are odd."""
    rows = np.flatnonzero(odd)
    if not len(rows):
        return
    new = (np.diff(rows) > 1) | (np.diff(seen.ids[rows]) != 0)
    parts = np.flatnonzero(new) + 1
    starts, ends = np.concatenate(([0], parts)), np.concatenate((parts, [len(rows)])) - 1
    yield from zip(rows[starts].tolist(), rows[ends].tolist(), strict=True)
