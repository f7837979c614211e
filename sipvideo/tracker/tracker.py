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

import dataclasses
import math

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.masks import BoolArray
from sipvideo.structures import Detections, IntArray
from sipvideo.tracker.assignment import assign
from sipvideo.tracker.similarity import affinity, unit
from sipvideo.tracker.track import Track

CLEAR_AFFINITY = 0.5
"""Least affinity of a doubtful detection and a track."""
DUPLICATE_IOU = 0.7
"""Mask overlap above which an unmatched detection is the second report of an object, not a new one."""
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

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities of one frame's detections, int64 [N], each once at most; -1 for detections without one.

        Args:
            detections: N objects. Their embeddings [N, E] may be empty, but E must not change during a video.
            timestamp: seconds on the source's clock. A step back (looped file, corrected clock) counts as no time.
        """
        self._advance(timestamp)
        usable = self._usable(detections)
        seen = detections[usable]
        seen = dataclasses.replace(seen, embeddings=unit(seen.embeddings))
        track_ids = np.full(len(detections), -1, np.int64)
        track_ids[usable] = self.learn(seen, self.match(seen))
        return track_ids

    def match(self, detections: Detections) -> IntArray:
        """For each of N detections its row in ``tracks``, or -1: int64 [N]. Changes nothing."""
        rows = np.full(len(detections), -1, np.int64)
        if not len(detections) or not self.tracks:
            return rows
        fits = affinity(detections, self.tracks, self.now)
        confident = self._confident(detections)
        for chosen, least in (
            (np.flatnonzero(confident), self.config.match_affinity),
            (np.flatnonzero(~confident), CLEAR_AFFINITY),
        ):
            for i, row in assign(fits[chosen], least):
                rows[chosen[i]] = row
            fits[:, rows[rows >= 0]] = -np.inf  # taken
        return rows

    def learn(self, detections: Detections, rows: IntArray) -> IntArray:
        """Updates matched tracks, begins new ones, forgets; identities of the N detections, int64 [N], or -1."""
        track_ids = np.full(len(detections), -1, np.int64)
        for i in np.flatnonzero(rows >= 0).tolist():
            track = self.tracks[rows[i]]
            track.observe(detections, i, self.now, self.config.embedding_momentum)
            track_ids[i] = track.track_id
        strangers = self._strangers(detections, track_ids)
        same = detections.masks[strangers].iou(detections.masks) > DUPLICATE_IOU
        for i, reports in zip(strangers.tolist(), same, strict=True):
            if (track_ids[reports] < 0).all():
                track_ids[i] = self._begin(detections, i)
        self._forget()
        return track_ids

    def _advance(self, timestamp: float) -> None:
        """Moves the clock on and lets go of tracks that are too old for this frame."""
        step = timestamp - self._timestamp
        if 0 < step < math.inf:  # not in the first frame, where the step is unknown (NaN)
            self.now += step
        if math.isfinite(timestamp):
            self._timestamp = timestamp
        self.tracks = [t for t in self.tracks if self.now - t.last_seen <= self.config.max_age]

    def _usable(self, detections: Detections) -> BoolArray:
        """Which detections [N] are worth a look: not too doubtful, with a box that a picture can have."""
        sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
        possible = (np.abs(detections.boxes) < 1e6).all(axis=1) & (sides > 1e-2).all(axis=1)
        usable: BoolArray = possible & (detections.scores >= self.config.keep_score)
        return usable

    def _confident(self, detections: Detections) -> BoolArray:
        return detections.scores >= self.config.birth_score

    def _strangers(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Confident detections without a track, the best first: the order must not depend on that of the detections."""
        strangers = np.flatnonzero(self._confident(detections) & (track_ids < 0))
        keys = (*detections.boxes[strangers].T, -detections.scores[strangers])
        return strangers[np.lexsort(keys)]

    def _begin(self, detections: Detections, i: int) -> int:
        track = Track.begin(self._next_id, detections, i, self.now)
        self.tracks.append(track)
        self._next_id += 1
        return track.track_id

    def _forget(self) -> None:
        """Drops false alarms early, and the longest unseen tracks beyond ``max_tracks``."""
        oldest = self.now - PROBATION * self.config.max_age
        self.tracks = [t for t in self.tracks if t.hits > 1 or t.last_seen >= oldest]
        if len(self.tracks) > self.config.max_tracks:
            by_sight = sorted(self.tracks, key=lambda track: -track.last_seen)
            self.tracks = sorted(by_sight[: self.config.max_tracks], key=lambda t: t.track_id)
