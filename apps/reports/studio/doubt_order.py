"""Where planted errors stand in the list of doubts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps.reports.studio.planting import KINDS, Planted, coming_and_going, plant, write_run

if TYPE_CHECKING:
    from sipvideo.evaluation.replay import Replay
    from sipvideo.structures import FrameResult
    from sipvideo.studio.doubts import Doubt, Sightings

FITTING = {
    "swap": {"swap", "jump"},
    "change": {"change"},
    "mixture": {"return", "jump"},
    "twin": {"twin"},
    "class": {"class"},
    "growth": {"growth"},
    "gap": {"gap"},
    "ghost": {"short"},
}
"""Kinds of doubts that tell of a planted error."""
NEAR = 0.35
"""Seconds by which a doubt may miss the time of what was planted."""
EACH = 2
"""Errors of each kind in a film."""


@dataclass(frozen=True)
class Place:
    """Where a planted error stands: its rank from 0 in a list, None: not in it; and whether its remedy is right."""

    planted: Planted
    rank: int | None
    length: int
    remedied: bool

    @property
    def early(self) -> bool:
        """It stands in the first third."""
        return self.rank is not None and self.rank < math.ceil(self.length / 3)


def right_run(film: Replay) -> list[FrameResult]:
    """What the network found of a film's objects, with their true identities and one class each."""
    owners = film.owners()
    votes: dict[int, dict[int, float]] = {}
    for report, owner in zip(film.reports, owners, strict=True):
        for k, track_id in enumerate(owner.tolist()):
            mine = votes.setdefault(track_id, {})
            label = int(report.labels[k])
            mine[label] = mine.get(label, 0.0) + float(report.scores[k])
    usual = {track_id: max(mine, key=mine.__getitem__) for track_id, mine in votes.items()}
    results = []
    for result in film.results(owners):
        labels = np.array([usual[key] for key in result.track_ids.tolist()], np.int64)
        found = replace(result.detections, labels=labels)
        results.append(replace(result, detections=found).tracked())
    return results


def places(film: Replay, seed: int, folder: Path, class_names: Sequence[str]) -> list[Place]:
    """A film's right run with errors, saved and read back as the studio does, and where the errors stand."""
    from sipvideo.results_reader import SavedRun
    from sipvideo.studio.doubts import Sightings, doubts

    kinds = [*KINDS * EACH]
    np.random.default_rng(seed).shuffle(kinds)
    results, planted = plant(coming_and_going(right_run(film), seed), kinds, seed)
    write_run(folder, results, class_names)
    seen = Sightings.of(SavedRun(folder).results())
    listed = doubts(seen, class_names)
    return [_place(one, listed, NEAR / seen.period) for one in planted]


def _place(one: Planted, listed: Sequence[Doubt], near: float) -> Place:
    for rank, doubt in enumerate(listed):
        apart = max(doubt.first, one.first) - min(doubt.last, one.last)
        if doubt.kind in FITTING[one.kind] and set(doubt.ids) & set(one.ids) and apart <= near:
            return Place(one, rank, len(listed), _mends(one.mend, doubt.remedy, near))
    return Place(one, None, len(listed), False)


def _mends(wanted: dict[str, Any], got: dict[str, Any] | None, near: float) -> bool:
    """Whether a remedy does what takes the error back; times may be a little off, and new numbers others."""
    if got is None:
        return False
    if wanted["op"] == "masks":
        return bool(got["op"] == "propagate" and got["id"] == wanted["id"])
    if got["op"] != wanted["op"]:
        return False
    for key, value in wanted.items():
        if key in ("op", "new"):
            continue
        if key in ("frame", "first", "last"):
            if abs(got[key] - value) > near:
                return False
        elif key in ("a", "b"):
            if value not in (got["a"], got["b"]):
                return False
        elif got[key] != value:
            return False
    return True


def figures(found: Sequence[Place]) -> dict[str, Any]:
    """Shares by kind and in all."""
    kinds = {"all": list(found)}
    for place in found:
        kinds.setdefault(place.planted.kind, []).append(place)
    return {
        kind: {
            "planted": len(mine),
            "early": round(sum(place.early for place in mine) / len(mine), 4),
            "listed": round(sum(place.rank is not None for place in mine) / len(mine), 4),
            "remedied": round(sum(place.remedied for place in mine) / len(mine), 4),
        }
        for kind, mine in kinds.items()
        if mine
    }


def hour(identities: int = 500, together: int = 12) -> Sightings:
    """An hour at 25 frames a second in which so many objects wander through the picture, about so many at once."""
    from sipvideo.studio.doubts import Sightings

    rng = np.random.default_rng(0)
    frames = 90_000
    length = frames * together // identities
    parts = []
    for track_id in range(identities):
        first = int(rng.integers(0, frames - length))
        seen = first + np.flatnonzero(rng.uniform(size=length) > 0.01)
        centre = rng.uniform(0, 1, 2) * (1920, 1080) + np.cumsum(rng.normal(0, 2, (length, 2)), 0)
        side = rng.uniform(30, 200, 2)
        corner = (centre[seen - first] - side / 2).astype(np.float32)
        box = np.concatenate((corner, corner + side.astype(np.float32)), 1)
        count = len(seen)
        parts.append(
            (
                np.full(count, track_id),
                seen,
                np.full(count, track_id % 3),
                rng.uniform(0.4, 1, count).astype(np.float32),
                box,
                (side.prod() * rng.uniform(0.5, 0.6, count)).astype(np.int64),
            )
        )
    columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
    ids, seen, labels, scores, boxes, areas = columns
    times, size = np.arange(frames) / 25, (1080, 1920)
    return Sightings(ids, seen, labels, scores, boxes, areas, times, size)
