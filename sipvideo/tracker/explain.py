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
from sipvideo.tracker.camera import CameraMotion
from sipvideo.tracker.match import Match
from sipvideo.tracker.memory import Meeting
from sipvideo.tracker.track import NOBODY, Track

PairVerdict = Literal[
    "chosen",
    "out of reach",
    "affinity too low",
    "detection went to another track",
    "track went to another detection",
    "other pairs fit better together",
    "looks more like somebody who left",
]
ReunionVerdict = Literal["chosen", "not alike enough", "another pair is as alike"]
Verdict = Literal[
    "goes on",
    "begins an identity",
    "comes back",
    "waits for a better look",
    "too doubtful to begin an identity",
    "score below keep_score",
    "impossible box",
    "repeats a better detection",
]

WEIGHTS = ("embedding_weight", "mask_weight", "label_penalty")
"""Settings that weigh cues."""


@dataclass(frozen=True)
class Pair:
    """One detection and one track, and what became of them.

    Attributes:
        detection: row in the frame's detections.
        track_id: identity of the track.
        unseen: seconds since it was last seen.
        overlap: of the detection's box with the predicted one, both widened by ``margin``, 0..1.
        margin: pixels.
        certainty: what the overlap counts, 0..1; less the longer the track was unseen, and less if neither side of the
            box has its usual length.
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
    certainty: float
    likeness: float | None
    label_agrees: bool
    mask_overlap: float | None
    affinity: float | None
    needed: float
    verdict: PairVerdict


@dataclass(frozen=True)
class Reunion:
    """A newcomer and an identity that is out of sight, and what became of them.

    Attributes:
        detection: row of the newcomer in the frame's detections.
        track_id: the identity.
        away: seconds since it was last seen.
        likeness: -1..1, less ``label_penalty`` where the labels differ.
        rival: the greatest likeness among the other pairs of the two.
        needed: least likeness.
        ratio: greatest share of ``1.1 - rival`` that ``1.1 - likeness`` may be.
        verdict: whether it was chosen, else why not.
    """

    detection: int
    track_id: int
    away: float
    likeness: float
    rival: float
    needed: float
    ratio: float
    verdict: ReunionVerdict


@dataclass(frozen=True)
class Explanation:
    """One frame's decisions.

    Attributes:
        timestamp: seconds on the source's clock.
        track_ids: identity of each of the frame's N detections, -1: none.
        boxes, scores, labels: of the N detections, frame pixels, as they came.
        verdicts: what became of each of them.
        pairs: those within reach, and for detections that begin a track also those with tracks that nobody took.
        reunions: of detections that have no identity yet with identities that are out of sight.
        weights: of the cues, by the names of the settings.
        cut: a scene cut was before this frame.
        camera: how the picture moved since the frame before at its centre, in pixels x and y, and its zoom.
    """

    timestamp: float
    track_ids: tuple[int, ...]
    boxes: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]
    labels: tuple[int, ...]
    verdicts: tuple[Verdict, ...]
    pairs: tuple[Pair, ...]
    reunions: tuple[Reunion, ...]
    weights: dict[str, float]
    cut: bool
    camera: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Step:
    """What happened in one update of the tracker.

    Attributes:
        detections: N, as they came.
        rows: int64 [R], those that were worth a look.
        match: what was decided about those.
        before: the tracks at the time of that decision.
        tracks: of the R detections, after it.
        meeting: of newcomers and absent identities.
        motion: of the camera; None: a cut.
    """

    detections: Detections
    rows: IntArray
    match: Match
    before: Sequence[Track]
    tracks: Sequence[Track | None]
    meeting: Meeting
    motion: CameraMotion | None


def explained(step: Step, timestamp: float, config: TrackerConfig) -> Explanation:
    """The step in plain values."""
    detections = step.detections
    verdicts = [_left_out(detections, i, config) for i in range(len(detections))]
    track_ids = [-1] * len(detections)
    for k, (i, track) in enumerate(zip(step.rows.tolist(), step.tracks, strict=True)):
        verdicts[i] = _verdict(step, k)
        track_ids[i] = -1 if track is None else track.track_id
    height, width = detections.masks.frame_size
    centre = np.array([width / 2 + 0.5j * height], np.complex64)
    motion = step.motion or CameraMotion()
    moved = complex((motion(centre) - centre)[0])
    return Explanation(
        timestamp=timestamp,
        track_ids=tuple(track_ids),
        boxes=tuple(map(tuple, detections.boxes.tolist())),
        scores=tuple(detections.scores.tolist()),
        labels=tuple(detections.labels.tolist()),
        verdicts=tuple(verdicts),
        pairs=tuple(_pairs(step)),
        reunions=tuple(_reunions(step, config)),
        weights={name: getattr(config, name) for name in WEIGHTS},
        cut=step.motion is None,
        camera=(moved.real, moved.imag, motion.zoom),
    )


def _left_out(detections: Detections, i: int, config: TrackerConfig) -> Verdict:
    if not detections.scores[i] >= config.keep_score:
        return "score below keep_score"
    x0, y0, x1, y1 = detections.boxes[i].tolist()
    if not (np.abs(detections.boxes[i]) < 1e6).all() or x1 <= x0 + 0.01 or y1 <= y0 + 0.01:
        return "impossible box"
    return "repeats a better detection"


def _verdict(step: Step, k: int) -> Verdict:
    track, meeting = step.tracks[k], step.meeting
    if track is None:
        return "too doubtful to begin an identity"
    if track.track_id == NOBODY:
        return "waits for a better look"
    for i, newcomer in enumerate(meeting.newcomers):
        if newcomer is track:
            return "comes back" if i in meeting.chosen else "begins an identity"
    return "goes on"


def _reunions(step: Step, config: TrackerConfig) -> Iterator[Reunion]:
    meeting = step.meeting
    rows = {id(track): int(i) for track, i in zip(step.tracks, step.rows, strict=True)}
    needed, ratio = config.return_likeness, config.return_ratio
    for (i, j), likeness in np.ndenumerate(meeting.likeness):
        absent, rival = meeting.absent[j], float(meeting.rival[i, j])
        verdict: ReunionVerdict = "chosen"
        if meeting.chosen.get(i) != j:
            verdict = "not alike enough" if likeness < needed else "another pair is as alike"
        yield Reunion(
            detection=rows[id(meeting.newcomers[i])],
            track_id=absent.track_id,
            away=meeting.newcomers[i].last_seen - absent.last_seen,
            likeness=float(likeness),
            rival=rival,
            needed=needed,
            ratio=ratio,
            verdict=verdict,
        )


def _pairs(step: Step) -> Iterator[Pair]:
    rows, match, tracks = step.rows, step.match, step.before
    embedded = step.detections.embeddings.shape[1] > 0
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
            certainty=float(cues.certainty[k, j]),
            likeness=float(cues.likeness[k, j]) if embedded else None,
            label_agrees=not cues.labels_differ[k, j],
            mask_overlap=looked.get((k, j)),
            affinity=float(affinity) if np.isfinite(affinity) else None,
            needed=float(match.needed[k]),
            verdict=_pair_verdict(match, k, j),
        )


def _pair_verdict(match: Match, k: int, j: int) -> PairVerdict:
    assert match.cues is not None
    affinity, column = match.cues.affinity[k, j], match.columns[k]
    if column == j:
        return "chosen"
    if (k, j) in match.parted:
        return "looks more like somebody who left"
    if not np.isfinite(affinity):
        return "out of reach"
    if affinity <= match.needed[k]:
        return "affinity too low"
    owner = np.flatnonzero(match.columns == j)
    if column >= 0:
        return "detection went to another track"
    return "track went to another detection" if len(owner) else "other pairs fit better together"
