"""Why a frame's detections have the identities that they have: every candidate pair with its cues, in plain values.

``Tracker.recorder`` is handed one :class:`Explanation` per frame; without a recorder none is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, IntArray
from sipvideo.tracker.match import Match
from sipvideo.tracker.track import Track

PairVerdict = Literal[
    "chosen",
    "out of reach",
    "affinity too low",
    "track went to a confident detection",
    "detection went to another track",
    "track went to another detection",
    "other pairs fit better together",
]
Verdict = Literal[
    "goes on",
    "begins an identity",
    "too doubtful to begin an identity",
    "score below keep_score",
    "impossible box",
    "repeats a better detection",
]


@dataclass(frozen=True)
class Pair:
    """One detection and one track, and what became of them.

    Attributes:
        detection: row in the frame's detections.
        track_id: identity of the track.
        unseen: seconds since it was last seen.
        overlap: of the detection's box with the predicted one, both widened by ``margin``, 0..1.
        margin: pixels.
        likeness: cosine of the embeddings, -1..1; None without embeddings.
        label_agrees: the detection's label is the track's.
        mask_overlap: 0..1; None where it was not looked at, as nobody competed.
        affinity: all of it weighed; None where out of reach.
        needed: least affinity of such a pair.
        verdict: whether it was chosen, else why not.
    """

    detection: int
    track_id: int
    unseen: float
    overlap: float
    margin: float
    likeness: float | None
    label_agrees: bool
    mask_overlap: float | None
    affinity: float | None
    needed: float
    verdict: PairVerdict


@dataclass(frozen=True)
class Explanation:
    """One frame's decisions.

    Attributes:
        timestamp: seconds on the source's clock.
        track_ids: identity of each of the frame's N detections, -1: none.
        verdicts: what became of each of the N detections.
        pairs: those within reach, and for detections that begin an identity also those with tracks that nobody took.
        weights: of the cues, by the names of the settings.
    """

    timestamp: float
    track_ids: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    pairs: tuple[Pair, ...]
    weights: dict[str, float]


def explained(
    detections: Detections,
    rows: IntArray,
    match: Match,
    tracks: Sequence[Track],
    config: TrackerConfig,
) -> tuple[tuple[Verdict, ...], tuple[Pair, ...]]:
    """What became of each of N detections, and of the candidate pairs.

    Args:
        detections: N, as they came.
        rows: int64 [R], those that were worth a look.
        match: what was decided about those.
        tracks: at the time of the decision.
        config: the tracker's.
    """
    verdicts = [_left_out(detections, i, config) for i in range(len(detections))]
    for k, i in enumerate(rows.tolist()):
        verdicts[i] = _verdict(match, k)
    pairs = _pairs(rows, match, tracks, config, detections.embeddings.shape[1] > 0)
    return tuple(verdicts), tuple(pairs)


def _left_out(detections: Detections, i: int, config: TrackerConfig) -> Verdict:
    if not detections.scores[i] >= config.keep_score:
        return "score below keep_score"
    x0, y0, x1, y1 = detections.boxes[i].tolist()
    if not (np.abs(detections.boxes[i]) < 1e6).all() or x1 <= x0 + 0.01 or y1 <= y0 + 0.01:
        return "impossible box"
    return "repeats a better detection"


def _verdict(match: Match, k: int) -> Verdict:
    if match.columns[k] >= 0:
        return "goes on"
    return "begins an identity" if match.confident[k] else "too doubtful to begin an identity"


def _pairs(
    rows: IntArray,
    match: Match,
    tracks: Sequence[Track],
    config: TrackerConfig,
    embedded: bool,
) -> Iterator[Pair]:
    cues = match.cues
    if cues is None:
        return
    looked: dict[tuple[int, int], float] = {}
    if cues.masks is not None:
        looked = {(i, j): float(v) for i, j, v in zip(*cues.masks, strict=True)}
    taken = set(match.columns.tolist())
    for (k, j), affinity in np.ndenumerate(cues.affinity):
        left = match.columns[k] < 0 and match.confident[k] and j not in taken
        if not np.isfinite(affinity) and not left:
            continue
        yield Pair(
            detection=int(rows[k]),
            track_id=tracks[j].track_id,
            unseen=float(cues.unseen[j]),
            overlap=float(cues.overlap[k, j]),
            margin=float(cues.margins[j]),
            likeness=float(cues.likeness[k, j]) if embedded else None,
            label_agrees=not cues.labels_differ[k, j],
            mask_overlap=looked.get((k, j)),
            affinity=float(affinity) if np.isfinite(affinity) else None,
            needed=config.match_affinity if match.confident[k] else config.clear_affinity,
            verdict=_pair_verdict(match, k, j, config),
        )


def _pair_verdict(match: Match, k: int, j: int, config: TrackerConfig) -> PairVerdict:
    assert match.cues is not None
    affinity, column = match.cues.affinity[k, j], match.columns[k]
    if column == j:
        return "chosen"
    if not np.isfinite(affinity):
        return "out of reach"
    if affinity <= (config.match_affinity if match.confident[k] else config.clear_affinity):
        return "affinity too low"
    owner = np.flatnonzero(match.columns == j)
    if len(owner) and match.confident[owner[0]] and not match.confident[k]:
        return "track went to a confident detection"
    if column >= 0:
        return "detection went to another track"
    return "track went to another detection" if len(owner) else "other pairs fit better together"


def weights(config: TrackerConfig) -> dict[str, float]:
    """The settings that weigh cues, by name."""
    names = ("embedding_weight", "mask_weight", "label_penalty")
    return {name: getattr(config, name) for name in names}
