"""Identities across frames. In every frame ``match`` decides who is who, then ``learn`` changes the tracks.

How well a detection fits a track is their *affinity* (see :mod:`sipvideo.tracker.similarity`): overlap with the
place where the object should be by now, likeness of the embeddings, agreement of the labels. The pairs of a frame
are chosen together, one detection per track, so that their sum is best:

1. all detections take their tracks, which may have been out of sight for a while; the more doubtful one is, the
   better it must fit, and the less it counts against another one that fits; one that looks clearly more like somebody
   who left than like the missed track at its place is parted from that again;
2. confident detections that are left begin tracks of their own. If they look like somebody who left (see
   :mod:`sipvideo.tracker.memory`) they may wait for a better look without an identity, and then get that of the one
   who left; all others have a new one at once.

The camera's motion (:mod:`sipvideo.tracker.camera`) moves all that is known of places; at a cut all tracks leave.

Time is measured in seconds on the source's clock, never in frames: a camera that drops frames and a file that does
not give an object the same identity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.masks import BoolArray
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker.assignment import assign
from sipvideo.tracker.camera import STANDS, Camera, CameraMotion
from sipvideo.tracker.explain import Explanation, Step, explained
from sipvideo.tracker.match import Match
from sipvideo.tracker.memory import PLAUSIBLE, Meeting, Memory, look, meet, memorable, rather_absent
from sipvideo.tracker.motion import certainty
from sipvideo.tracker.similarity import check_embedding_size, compare, repeated, unit
from sipvideo.tracker.state import VERSION, State, check, packed, unpacked
from sipvideo.tracker.track import NOBODY, Track, move, observe

FEW_OBJECTS = 3
"""Number of objects from which their mean embedding is believed to be common to all."""


def bare(config: TrackerConfig) -> TrackerConfig:
    """The settings for detections without embeddings."""
    others = {
        "match_affinity": config.bare_affinity,
        "margin_growth": config.bare_growth,
        "side_weight": config.bare_side_weight,
    }
    return config.model_copy(update=others)


class Tracker:
    """Gives each detection of a video the identity of its object.

    Attributes:
        tracks: the remembered objects, oldest first; at most ``max_tracks``.
        now: seconds since the first frame.
        recorder: called with the :class:`Explanation` of every frame; None: nobody asks, and none is made.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self._bare = bare(config)
        self.recorder: Callable[[Explanation], None] | None = None
        self.camera = Camera()
        self.reset()

    def reset(self) -> None:
        """Forgets everything: the next frame is the first of a new video, and identities start at 0."""
        self.tracks: list[Track] = []
        self.memory = Memory(self.config)
        self.camera.reset()
        self.now = 0.0
        self._timestamp = math.nan
        self._step = 0.0
        self._next_id = self._begun = 0
        self._common_embedding: FloatArray = np.zeros((), np.float32)

    def state(self) -> State:
        """All that is known of the video so far, as arrays: see :meth:`restore`."""
        grey = self.camera.grey
        whole: State = {
            "version": np.array(VERSION),
            "clock": np.array([self.now, self._timestamp], np.float64),
            "counts": np.array([self._next_id, self._begun, len(self.tracks)], np.int64),
            "common": np.asarray(self._common_embedding, np.float32),
            "grey": np.zeros((0, 0), np.uint8) if grey is None else grey,
            "points": self.camera.points,
            "camera": np.array(
                [*astuple(self.camera.rate), self.camera.known, self.camera.last], np.complex128
            ),
        }
        return whole | packed(self.tracks + self.memory.tracks)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on with a video where another tracker with the same settings was, to the same identities.

        Args:
            state: what that one's :meth:`state` gave; ``numpy.savez`` and ``numpy.load`` keep it.

        Raises:
            SipVideoError: this is no state, or one of another version.
        """
        check(state, set(Tracker(self.config).state()))
        self.reset()
        known = unpacked(state)
        self._next_id, self._begun, count = state["counts"].tolist()
        self.tracks, self.memory.tracks = known[:count], known[count:]
        self.now, self._timestamp = state["clock"].tolist()
        self._common_embedding = state["common"]
        self.camera.grey = state["grey"] if state["grey"].size else None
        self.camera.points = state["points"]
        *rate, known, last = state["camera"].tolist()
        self.camera.rate = CameraMotion(*rate)
        self.camera.known, self.camera.last = known.real, last.real

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities of one frame's detections, int64 [N], each once at most; -1 for detections without one.

        Args:
            detections: N objects. Their embeddings [N, E] may be empty, but E must not change during a video.
            timestamp: seconds on the source's clock. A step back (looped file, corrected clock) counts as no time.

        Raises:
            ValueError: the embeddings have another size than before.
        """
        self._advance(timestamp)
        motion: CameraMotion | None = STANDS
        if self.config.camera:
            motion = self.camera.follow(detections, self.now)
        if motion is None:
            self._part(self.tracks)
        else:
            move(self.tracks, motion)
        rows = self._usable(detections)
        if len(rows) and self._begun:
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
        tracks = self.learn(seen, match)
        meeting = self.meet([t for t in tracks if t is not None and t.track_id == NOBODY])
        self.name(meeting)
        track_ids[rows] = [NOBODY if track is None else track.track_id for track in tracks]
        if self.recorder is not None:
            step = Step(detections, rows, match, before, tracks, meeting, motion)
            self.recorder(explained(step, timestamp, self.config))
        return track_ids

    def returned(self, track_ids: IntArray) -> FloatArray:
        """Seconds that each identity was away, float32 [N]: 0 unless it came back less than ``return_mark`` ago."""
        since = self.now - self.config.return_mark
        back = {t.track_id: t.away for t in self.tracks if t.returned >= since}
        return np.array([back.get(track_id, 0.0) for track_id in track_ids.tolist()], np.float32)

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Classes int64 [N]: the vote over each identity's life, the detection's own without an identity."""
        voted = {track.track_id: track.label for track in self.tracks}
        voted.pop(NOBODY, None)
        own = zip(track_ids.tolist(), detections.labels.tolist(), strict=True)
        return np.array([voted.get(track_id, label) for track_id, label in own], np.int64)

    def match(self, detections: Detections) -> Match:
        """Which of ``tracks`` each of N detections belongs to. Changes nothing."""
        config = self.config if detections.embeddings.shape[1] else self._bare
        columns = np.full(len(detections), -1, np.int64)
        confident = detections.scores >= config.birth_score
        needed = np.maximum(np.float32(config.sure_score) - detections.scores, 0)
        # After a longer step even a doubtful one's own track fits less.
        step = np.array([self._step], np.float32)
        needed *= np.float32(config.doubt_penalty) * certainty(step, config)
        needed += np.float32(config.match_affinity)
        if not len(detections) or not self.tracks:
            return Match(columns, confident, needed)
        cues = compare(detections, self.tracks, self.now, self._common_embedding, config)
        rows, taken = assign(cues.affinity, needed)
        columns[rows] = taken
        rows = self._rather_absent(detections, columns, confident, cues.unseen)
        parted = frozenset(zip(rows.tolist(), columns[rows].tolist(), strict=True))
        columns[rows] = -1
        return Match(columns, confident, needed, cues, parted)

    def _rather_absent(
        self, detections: Detections, columns: IntArray, confident: BoolArray, unseen: FloatArray
    ) -> IntArray:
        """Confident detections at the place of a track that was missed, but clearly more like somebody who left."""
        # Of a track that was seen in the frame before, the place says enough.
        missed = np.append(unseen > 1.01 * self._step, False)[columns]
        rows: IntArray = (confident & missed).nonzero()[0]
        if not len(rows) or not self.memory.tracks:
            return rows[:0]
        rather = rather_absent(
            detections.embeddings[rows],
            detections.labels[rows],
            [self.tracks[j] for j in columns[rows].tolist()],
            self.memory.tracks,
            self._common_embedding,
            self.config,
        )
        return rows[rather]

    def learn(self, detections: Detections, match: Match) -> list[Track | None]:
        """Updates the matched tracks, begins new ones, forgets; the track of each detection, None for those without."""
        columns = match.columns.tolist()
        tracks = [self.tracks[j] if j >= 0 else None for j in columns]
        rows = (match.columns >= 0).nonzero()[0]
        if len(rows):
            known = [track for track in tracks if track is not None]
            observe(known, detections, rows, self.now, self.config)
            if self.config.returns:
                self._look(known, detections.scores[rows].tolist())
        if len(rows) < len(columns):
            for i in np.flatnonzero((match.columns < 0) & match.confident).tolist():
                tracks[i] = self._begin(detections, i)
        self._forget()
        return tracks

    def meet(self, newcomers: Sequence[Track]) -> Meeting:
        """Which of the newcomers, seen just now, are identities that are out of sight. Changes nothing."""
        absent: list[Track] = []
        if newcomers and self.config.returns:
            lost = [t for t in self.tracks if t.last_seen < self.now and memorable(t, self.config)]
            absent = self.memory.tracks + lost
        return meet(newcomers, absent, self._common_embedding, self.config)

    def name(self, meeting: Meeting) -> None:
        """Gives each newcomer the identity of one who left, or a new one, or lets it wait for a better look."""
        worth = self.config.return_likeness - PLAUSIBLE
        for i, track in enumerate(meeting.newcomers):
            if i in meeting.chosen:
                self._return(track, meeting.absent[meeting.chosen[i]])
            elif (
                self.now - track.first_seen >= self.config.return_wait
                or meeting.likeness[i].max(initial=-1) < worth
            ):
                track.track_id = self._next_id
                self._next_id += 1

    def _return(self, newcomer: Track, absent: Track) -> None:
        newcomer.become(absent, self.now)
        self.tracks = [track for track in self.tracks if track is not absent]
        self.memory.tracks = [track for track in self.memory.tracks if track is not absent]

    def _look(self, tracks: Sequence[Track], scores: Sequence[float]) -> None:
        """Takes views; a box that is smaller than usual shows but a part of its object."""
        for track, score in zip(tracks, scores, strict=True):
            x0, y0, x1, y1 = track.box.tolist()
            whole = min(1.0, math.sqrt((x1 - x0) * (y1 - y0)) / track.size)
            look(track, score * whole, self.now, self.config.return_views)

    def _begin(self, detections: Detections, i: int) -> Track:
        """Starts a track with detection ``i``; the mean embedding of all tracks so far starts from 0."""
        track = Track.begin(detections, i, self.now)
        self.tracks.append(track)
        self._begun += 1
        weight = np.float32(1 / (self._begun + FEW_OBJECTS))
        self._common_embedding = (1 - weight) * self._common_embedding + weight * track.embedding
        return track

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
        step = step if 0 < step < math.inf else 0.0  # in the first frame it is not a number
        self.now += step
        self._step = min(step, self.config.max_age)  # no track outlasts a longer one
        if math.isfinite(timestamp):
            self._timestamp = timestamp
        self._part([t for t in self.tracks if self.now - t.last_seen > self.config.max_age])

    def _part(self, parted: Sequence[Track]) -> None:
        """Tracks that are no longer looked for near their place; their looks are remembered."""
        if parted:
            gone = set(map(id, parted))
            self.tracks = [track for track in self.tracks if id(track) not in gone]
        self.memory.add(parted, self.now)

    def _forget(self) -> None:
        """Drops false alarms early, and the longest unseen tracks beyond ``max_tracks``."""
        oldest = self.now - self.config.probation * self.config.max_age
        self.tracks = [t for t in self.tracks if t.hits > 1 or t.last_seen >= oldest]
        if len(self.tracks) > self.config.max_tracks:
            by_sight = sorted(self.tracks, key=lambda track: -track.last_seen)
            self._part(by_sight[self.config.max_tracks :])
