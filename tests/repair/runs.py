"""Filmed runs with scripted identities: what a tracker might have said."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from sipvideo.structures import FrameResult
from tests.scenes import Actor, Shot, clock, film

Naming = Callable[[int, float], int]
"""Actor and second -> the identity that the tracker gives, -1: none, -2: not even detected."""


def run(
    actors: Sequence[Actor],
    naming: Naming,
    seconds: float = 4.0,
    fps: float = 10.0,
    scores: dict[int, float] | None = None,
) -> list[FrameResult]:
    """A perfect detector's frames of a scene; ``scores`` by actor, else the detector's."""
    shots = film(actors, clock(seconds, fps))
    return [named(shot, naming, scores or {}) for shot in shots]


def named(shot: Shot, naming: Naming, scores: dict[int, float]) -> FrameResult:
    """One shot with the tracker's identities."""
    who = shot.truth_ids.tolist()
    ids = np.array([naming(actor, shot.frame.timestamp) for actor in who], np.int64)
    kept = (ids > -2).nonzero()[0]
    found = shot.truth[kept]
    given = [scores.get(who[k], float(shot.truth.scores[k])) for k in kept.tolist()]
    found = replace(found, scores=np.array(given, np.float32))
    return FrameResult(shot.frame, found, ids[kept], 1.0)


def identities(results: Sequence[FrameResult]) -> list[list[int]]:
    """The identities of each frame, sorted."""
    return [sorted(result.track_ids.tolist()) for result in results]


def walker(y: float = 60.0, look: int = 0, label: int = 0) -> Actor:
    """Crosses the picture to the right at 30 pixels per second."""
    return Actor(((0, 20, y), (4, 140, y)), look=look, label=label)
