"""How well identities hold: switches and IDF1 of a tracker on a filmed scene.

Each scripted detection knows whom it shows, so that no overlap matching is needed. ``python -m
tests.tracker.scoring`` prints the table of both presets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from sipvideo.config import TrackerConfig
from sipvideo.pipeline import Associator
from sipvideo.structures import IntArray
from sipvideo.tracker import build_tracker
from tests.scenes import REALISTIC, Actor, Shot, clock, crossing, crowd, film, occlusion, reentry


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


def agreement(first: Iterable[IntArray], second: Iterable[IntArray]) -> float:
    """IDF1 (0..1) between the identities that two runs gave to the same detections, frame by frame."""
    shared: dict[tuple[int, int], int] = {}
    named = 0
    for a, b in zip(first, second, strict=True):
        named += int((a >= 0).sum() + (b >= 0).sum())
        for pair in zip(a.tolist(), b.tolist(), strict=True):
            if min(pair) >= 0:
                shared[pair] = shared.get(pair, 0) + 1
    rows, columns = (sorted({pair[k] for pair in shared}) for k in (0, 1))
    counts = np.zeros((len(rows), len(columns)))
    for (a, b), count in shared.items():
        counts[rows.index(a), columns.index(b)] = count
    best = counts[linear_sum_assignment(-counts)].sum()
    return float(2 * best / named) if named else 1.0


def without_embeddings(shots: Iterable[Shot]) -> list[Shot]:
    """The same scene seen by a model without a tracking branch."""
    return [
        replace(
            shot,
            detections=replace(
                shot.detections, embeddings=np.zeros((len(shot.detections), 0), np.float32)
            ),
        )
        for shot in shots
    ]


HARD = replace(REALISTIC, embedding_noise=1.5, jitter=0.06, misses=0.15)


def make_scenes(seed: int) -> dict[str, list[Shot]]:
    """The scenes of the table, filmed with a realistic detector."""

    def shoot(actors: list[Actor], fps: float = 12, drops: float = 0) -> list[Shot]:
        seconds = max(actor.path[-1][0] for actor in actors)
        times = clock(min(seconds, 12), fps, drops=drops, wobble=drops, seed=seed)
        return list(film(actors, times, faults=HARD if drops else REALISTIC, seed=seed))

    crowds = {f"crowd at {fps} fps": shoot(crowd(10, 12, seed), fps) for fps in (25, 8, 4)}
    crowds["crowd, frames dropped"] = shoot(crowd(10, 12, seed + 1000), drops=0.3)
    blind = {f"{name}, no emb.": without_embeddings(shots) for name, shots in crowds.items()}
    return {
        **crowds,
        **blind,
        "crowd of one class": shoot(crowd(10, 12, seed + 2000, classes=1)),
        "crowd of twins": shoot(crowd(10, 12, seed + 3000, twins=True, classes=1)),
        "crossing": shoot(crossing()),
        "crossing twins": shoot(crossing(twins=True)),
        "hidden for 1 s": shoot(occlusion(1.0)),
        "outside for 0.8 s": shoot(reentry(0.8)),
    }


def main() -> None:
    """Prints how well the two presets hold identities, on 12 films of each scene."""
    sums: dict[str, list[float]] = {}
    for seed in range(100, 112):
        for name, shots in make_scenes(seed).items():
            row = sums.setdefault(name, [0.0] * 4)
            for k, preset in enumerate(("paper", "sipvideo")):
                config = TrackerConfig.model_validate({"preset": preset})
                score = score_identities(build_tracker(config), shots)
                row[2 * k] += score.switches
                row[2 * k + 1] += score.idf1 / 12
    print(f"{'identity switches, IDF1':34}{'paper':>14}{'sipvideo':>16}")
    for name, (a, b, c, d) in sums.items():
        print(f"{name:34}{a:8.0f}{b:8.3f}{c:8.0f}{d:8.3f}")
    a, b, c, d = np.array(list(sums.values())).T
    print(f"{'all':34}{a.sum():8.0f}{b.mean():8.3f}{c.sum():8.0f}{d.mean():8.3f}")


if __name__ == "__main__":
    main()
