"""Identities across frames. In every frame ``match`` decides who is who, then ``learn`` changes the tracks.

How well a detection fits a track is their *affinity* (see :mod:`sipvideo.tracker.similarity`): overlap with the
place where the object should be by now, likeness of the embeddings, agreement of the labels. The pairs of a frame
are chosen together, one detection per track, so that their sum is best:

1. confident detections take their tracks, which may have been out of sight for a while;
2. doubtful detections may only go on with a track that nobody took and that they fit clearly;
3. confident detections that are left begin tracks of their own, at once.

Time is measured in seconds on the source's clock, never in frames: a camera that drops frames and a file that does
not give an object the same identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker.assignment import assign
from sipvideo.tracker.camera import STANDS, Camera
from sipvideo.tracker.explain import Explanation, explained, weights
from sipvideo.tracker.match import Match
from sipvideo.tracker.similarity import check_embedding_size, compare, repeated, unit
from sipvideo.tracker.track import Track, move, observe

FEW_OBJECTS = 3
"""Number of objects from which their mean embedding is believed to be common to all."""


class Tracker:
    """Gives each detection of a video the identity of its object.

    Attributes:
        tracks: the remembered objects, oldest first; at most ``max_tracks``.
        now: seconds since the first frame.
        recorder: called with the :class:`Explanation` of every frame; None: nobody asks, and none is made.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.recorder: Callable[[Explanation], None] | None = None
        self.camera = Camera()
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a new video, and identities start at 0."""
        self.tracks: list[Track] = []
        self.camera.reset()
        self.now = 0.0
        self._timestamp = math.nan
        self._next_id = 0
        self._common_embedding: FloatArray = np.zeros((), np.float32)

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities of one frame's detections, int64 [N], each once at most; -1 for detections without one.

        Args:
            detections: N objects. Their embeddings [N, E] may be empty, but E must not change during a video.
            timestamp: seconds on the source's clock. A step back (looped file, corrected clock) counts as no time.

        Raises:
            ValueError: the embeddings have another size than before.
        """
        self._advance(timestamp)
        motion = self.camera.follow(detections) if self.config.camera else STANDS
        if motion is None:
            self.tracks = []
        else:
            move(self.tracks, motion)
        rows = self._usable(detections)
        if len(rows) and self._next_id:
            check_embedding_size(detections, self._common_embedding.size)
        seen = Detections(
            boxes=detections.boxes[rows],
            scores=detections.scores[rows],
            labels=detections.labels[rows],
            masks=detections.masks[rows],
            embeddings=unit(detections.embeddings[rows]),
        )
        match, before = self.match(seen), self.tracks.copy()
        track_ids = np.full(len(detections), -1, np.int64)
        track_ids[rows] = self.learn(seen, match)
        if self.recorder is not None:
            verdicts, pairs = explained(detections, rows, match, before, self.config)
            ids, weighed = tuple(track_ids.tolist()), weights(self.config)
            self.recorder(Explanation(timestamp, ids, verdicts, pairs, weighed))
        return track_ids

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Classes int64 [N]: the vote over each identity's life, the detection's own without an identity."""
        voted = {track.track_id: track.label for track in self.tracks}
        own = zip(track_ids.tolist(), detections.labels.tolist(), strict=True)
        return np.array([voted.get(track_id, label) for track_id, label in own], np.int64)

    def match(self, detections: Detections) -> Match:
        """Which of ``tracks`` each of N detections belongs to. Changes nothing."""
        config = self.config
        columns = np.full(len(detections), -1, np.int64)
        confident = detections.scores >= config.birth_score
        if not len(detections) or not self.tracks:
            return Match(columns, confident)
        cues = compare(detections, self.tracks, self.now, self._common_embedding, config)
        chosen = confident.nonzero()[0]
        rows, taken = assign(cues.affinity[chosen], config.match_affinity)
        columns[chosen[rows]] = taken
        if len(chosen) < len(columns):
            chosen = (~confident).nonzero()[0]
            left = cues.affinity[chosen]
            left[:, taken] = -np.inf
            rows, taken = assign(left, config.clear_affinity)
            columns[chosen[rows]] = taken
        return Match(columns, confident, cues)

    def learn(self, detections: Detections, match: Match) -> IntArray:
        """Updates the matched tracks, begins new ones, forgets; identities of the detections, int64 [N], or -1."""
        track_ids = np.full(len(detections), -1, np.int64)
        rows = (match.columns >= 0).nonzero()[0]
        if len(rows):
            known = [self.tracks[j] for j in match.columns[rows].tolist()]
            track_ids[rows] = [track.track_id for track in known]
            observe(known, detections, rows, self.now, self.config)
        if len(rows) < len(track_ids):
            for i in np.flatnonzero((match.columns < 0) & match.confident).tolist():
                track_ids[i] = self._begin(detections, i)
        self._forget()
        return track_ids

    def _begin(self, detections: Detections, i: int) -> int:
        """Starts a track with detection ``i``; the mean embedding of all tracks so far starts from 0."""
        track = Track.begin(self._next_id, detections, i, self.now)
        self.tracks.append(track)
        self._next_id += 1
        weight = np.float32(1 / (self._next_id + FEW_OBJECTS))
        self._common_embedding = (1 - weight) * self._common_embedding + weight * track.embedding
        return track.track_id

    def _usable(self, detections: Detections) -> IntArray:
        """Detections worth a look, best first, in an order that does not depend on the given one.

        Left out are those with a low score, with a box that no picture can have, and further reports of one object.
        """
        boxes, scores = detections.boxes, detections.scores
        possible = np.abs(boxes) < 1e6
        possible[:, 2:] &= boxes[:, 2:] > boxes[:, :2] + 0.01
        rows: IntArray = (possible.all(1) & (scores >= self.config.keep_score)).nonzero()[0]
        ranks = scores[rows]
        if not (ranks[1:] < ranks[:-1]).all():
            rows = rows[np.lexsort((*boxes[rows].T, -ranks))]
        limits = self.config.duplicate_iou, self.config.part_share
        return rows[~repeated(detections, rows, *limits)]

    def _advance(self, timestamp: float) -> None:
        """Moves the clock on and forgets the tracks that were not seen for too long."""
        step = timestamp - self._timestamp
        if 0 < step < math.inf:  # in the first frame it is not a number
            self.now += step
        if math.isfinite(timestamp):
            self._timestamp = timestamp
        self.tracks = [t for t in self.tracks if self.now - t.last_seen <= self.config.max_age]

    def _forget(self) -> None:
        """Drops false alarms early, and the longest unseen tracks beyond ``max_tracks``."""
        oldest = self.now - self.config.probation * self.config.max_age
        self.tracks = [t for t in self.tracks if t.hits > 1 or t.last_seen >= oldest]
        if len(self.tracks) > self.config.max_tracks:
            by_sight = sorted(self.tracks, key=lambda track: -track.last_seen)
            self.tracks = sorted(by_sight[: self.config.max_tracks], key=lambda t: t.track_id)
