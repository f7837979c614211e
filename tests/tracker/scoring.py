"""How well identities hold: switches and IDF1 of a tracker on a filmed scene.

Each scripted detection knows whom it shows, so that no overlap matching is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from sipvideo.pipeline import Associator
from tests.scenes import Shot


@dataclass(frozen=True)
class IdentityScore:
    """Identity switches (count) and identity F1 (0..1) of one video, with the number of objects shown."""

    switches: int
    idf1: float
    objects: int


def score_identities(tracker: Associator, shots: Iterable[Shot]) -> IdentityScore:
    """Runs a tracker over a scene and compares its identities with the true ones."""
    pairs: dict[tuple[int, int], int] = {}
    last: dict[int, int] = {}
    switches = objects = claims = 0
    tracker.reset()
    for shot in shots:
        ids = tracker.update(shot.detections, shot.frame.timestamp)
        objects += len(shot.truth_ids)
        claims += int((ids >= 0).sum())
        for actor, track_id in zip(shot.detection_ids.tolist(), ids.tolist(), strict=True):
            if actor >= 0 and track_id >= 0:
                pairs[actor, track_id] = pairs.get((actor, track_id), 0) + 1
                switches += last.get(actor, track_id) != track_id
                last[actor] = track_id
    if not pairs:
        return IdentityScore(switches, 0.0, objects)
    actors, tracks = (sorted({pair[k] for pair in pairs}) for k in (0, 1))
    shared = np.zeros((len(actors), len(tracks)))
    for (actor, track_id), count in pairs.items():
        shared[actors.index(actor), tracks.index(track_id)] = count
    true_positives = shared[linear_sum_assignment(-shared)].sum()
    return IdentityScore(switches, float(2 * true_positives / (objects + claims)), objects)
