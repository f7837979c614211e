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

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.masks import BoolArray
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker.assignment import assign
from sipvideo.tracker.similarity import affinity, check_embedding_size, repeated, unit
from sipvideo.tracker.track import Track, observe

CLEAR_AFFINITY = 0.5
"""Least affinity of a doubtful detection and a track."""
DUPLICATE_IOU = 0.7
"""Mask overlap above which two detections are reports of one object, whatever their labels."""
PART_SHARE = 0.8
"""Share of a mask inside a better one of the same class above which it is a part of that object: a dog's head."""
FEW_OBJECTS = 3
"""Number of objects from which their mean embedding is believed to be common to all."""
PROBATION = 0.25
"""Share of ``max_age`` that an object detected only once is remembered: most of those are false alarms."""


class Tracker:
    """Gives each detection of a video the identity of its object.

    Attributes:
        tracks: the remembered objects, oldest first; at most ``max_tracks``.
        now: seconds since the first frame.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a new video, and identities start at 0."""
        self.tracks: list[Track] = []
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
        track_ids = np.full(len(detections), -1, np.int64)
        track_ids[rows] = self.learn(seen, self.match(seen))
        return track_ids

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Classes int64 [N]: the vote over each identity's life, the detection's own without an identity."""
        voted = {track.track_id: track.label for track in self.tracks}
        own = zip(track_ids.tolist(), detections.labels.tolist(), strict=True)
        return np.array([voted.get(track_id, label) for track_id, label in own], np.int64)

    def match(self, detections: Detections) -> IntArray:
        """Which of ``tracks`` each of N detections belongs to, int64 [N], -1 for none. Changes nothing."""
        matches = np.full(len(detections), -1, np.int64)
        if not len(detections) or not self.tracks:
            return matches
        fits = affinity(detections, self.tracks, self.now, self._common_embedding)
        confident = self._confident(detections)
        chosen = confident.nonzero()[0]
        rows, columns = assign(fits[chosen], self.config.match_affinity)
        matches[chosen[rows]] = columns
        if len(chosen) < len(matches):
            fits[:, columns] = -np.inf  # taken
            chosen = (~confident).nonzero()[0]
            rows, columns = assign(fits[chosen], CLEAR_AFFINITY)
            matches[chosen[rows]] = columns
        return matches

    def learn(self, detections: Detections, matches: IntArray) -> IntArray:
        """Updates the matched tracks, begins new ones, forgets; identities of the detections, int64 [N], or -1."""
        track_ids = np.full(len(detections), -1, np.int64)
        rows = (matches >= 0).nonzero()[0]
        if len(rows):
            known = [self.tracks[j] for j in matches[rows].tolist()]
            track_ids[rows] = [track.track_id for track in known]
            observe(known, detections, rows, self.now, self.config.embedding_momentum)
        if len(rows) < len(matches):
            for i in np.flatnonzero((matches < 0) & self._confident(detections)).tolist():
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

    def _confident(self, detections: Detections) -> BoolArray:
        return detections.scores >= self.config.birth_score

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
        return rows[~repeated(detections, rows, DUPLICATE_IOU, PART_SHARE)]

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
        oldest = self.now - PROBATION * self.config.max_age
        self.tracks = [t for t in self.tracks if t.hits > 1 or t.last_seen >= oldest]
        if len(self.tracks) > self.config.max_tracks:
            by_sight = sorted(self.tracks, key=lambda track: -track.last_seen)
            self.tracks = sorted(by_sight[: self.config.max_tracks], key=lambda t: t.track_id)
