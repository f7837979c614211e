"""Identities in stretches without doubt, each summed up in a few numbers: what is joined, split and dropped later.

A tracker decides about a frame with what it knows then. Its doubtful moments are known: where an object was missed for
a while, or is suddenly elsewhere. Between them its identities are taken for true.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from sipvideo import boxes
from sipvideo.masks import CompactMasks
from sipvideo.structures import FloatArray, FrameResult, IntArray
from sipvideo.tracker.similarity import unit

DOUBTFUL_GAP = 0.2
"""Seconds for which an object may be missed without doubt about who it is afterwards."""
DOUBTFUL_OVERLAP = 0.2
"""Box overlap of two consecutive sightings below which it is doubted that they show one object."""
ENDS = 6
"""Sightings that are kept of a tracklet's beginning and of its end."""
ENDS_SECONDS = 0.6
"""Seconds over which velocity is measured at either end."""
MANY = 256
"""Tracklets that ended are forgotten once there are so many."""
FEW = 2
"""Objects that there must be before and after a cut for it to be noticed."""
IN_PLACE, MOST = 0.5, 0.5
"""Box overlap from which an object is where another one was, and the share of such that speaks against a cut."""
INSIDE = 0.6
"""Share of a mask that lies in another's above which the object is called covered by it."""


@dataclass(frozen=True)
class Sighting:
    """An object in one frame: seconds on the source's clock, box float32 [4] in frame pixels, mask's pixels."""

    time: float
    box: FloatArray
    area: int


@dataclass(eq=False)
class Tracklet:
    """A stretch of one identity without doubt.

    Attributes:
        number: of the tracklet, in order of beginning.
        track_id: the tracker's.
        first, last: sightings at its beginning and its end, in order of time; at most ``ENDS`` of each.
        hits: number of sightings.
        seconds: for which it was shown, the time of each sighting being that since the frame before.
        scores: their sum.
        best_score: the highest.
        votes: sum of scores per label.
        look: float32 [E], sum of the unit embeddings, each times its score; E = 0 without.
        covered: sightings in which most of the mask was inside a better mask of another identity.
        covered_by: how often by which identity.
        scene: number of cuts before it.
    """

    number: int
    track_id: int
    first: list[Sighting]
    last: deque[Sighting] | list[Sighting]
    look: FloatArray
    hits: int = 0
    seconds: float = 0.0
    scores: float = 0.0
    best_score: float = 0.0
    votes: dict[int, float] = field(default_factory=dict)
    covered: int = 0
    covered_by: dict[int, int] = field(default_factory=dict)
    scene: int = 0

    @property
    def begin(self) -> float:
        """Seconds, first sighting."""
        return self.first[0].time

    @property
    def end(self) -> float:
        """Seconds, last sighting."""
        return self.last[-1].time

    @property
    def score(self) -> float:
        """Mean of the scores."""
        return self.scores / self.hits

    @property
    def label(self) -> int:
        """The label with most votes."""
        return max(self.votes, key=self.votes.__getitem__)


class Tracklets:
    """Cuts the identities of a run into tracklets while it goes on.

    Attributes:
        begun: the tracklets in order of their beginning, for whoever takes them from here.
    """

    def __init__(self) -> None:
        self.begun: deque[Tracklet] = deque()
        self._count = 0
        self._current: dict[int, Tracklet] = {}
        self._previous = -math.inf
        self._scene = 0
        self._shown: dict[int, FloatArray] = {}

    def state(self, others: Iterable[Tracklet], ended: Iterable[Tracklet]) -> dict[str, Any]:
        """All that is known of the run so far: plain values and arrays for :meth:`restore`.

        Args:
            others: tracklets that somebody else goes on with.
            ended: tracklets of which somebody else wants to know the votes, and no more.
        """
        known = {t.number: t for t in (*self.begun, *self._current.values(), *others)}
        votes = [[t.number, t.track_id, dict(t.votes)] for t in ended if t.number not in known]
        return {
            "known": [asdict(replace(t, last=list(t.last))) for t in known.values()],
            "votes": votes,
            "begun": [tracklet.number for tracklet in self.begun],
            "current": [tracklet.number for tracklet in self._current.values()],
            "count": self._count,
            "previous": self._previous,
        }

    def restore(self, state: Mapping[str, Any]) -> dict[int, Tracklet]:
        """Goes on where another one was; all tracklets of the state by number.

        Raises:
            LookupError, TypeError, ValueError: this is no state.
        """
        none = np.zeros(0, np.float32)
        known = {fields["number"]: _tracklet(fields) for fields in state["known"]}
        for number, track_id, votes in state["votes"]:
            known[number] = Tracklet(number, track_id, [], deque(), none, votes=_by_number(votes))
        self.begun = deque(known[number] for number in state["begun"])
        self._current = {known[number].track_id: known[number] for number in state["current"]}
        self._count, self._previous = state["count"], state["previous"]
        return known

    def observe(self, result: FrameResult) -> IntArray:
        """The next frame: number of the tracklet of each of its N objects, int64 [N]; -1 for untracked ones."""
        numbers = np.full(len(result.track_ids), -1, np.int64)
        found, now = result.detections, result.frame.timestamp
        looks = unit(found.embeddings)
        areas = found.masks.areas()
        covering = _covering(found.boxes, found.scores, found.masks, result.track_ids)
        self._notice_cut(result)
        for k, track_id in enumerate(result.track_ids.tolist()):
            if track_id < 0:
                continue
            seen = Sighting(now, found.boxes[k], int(areas[k]))
            tracklet = self._of(track_id, seen, looks.shape[1])
            score, label = float(found.scores[k]), int(found.labels[k])
            tracklet.hits += 1
            tracklet.seconds += min(max(now - self._previous, 0.0), DOUBTFUL_GAP)
            tracklet.scores += score
            tracklet.best_score = max(tracklet.best_score, score)
            tracklet.votes[label] = tracklet.votes.get(label, 0.0) + score
            tracklet.look += score * looks[k]
            if covering[k] >= 0:
                tracklet.covered += 1
                by = int(covering[k])
                tracklet.covered_by[by] = tracklet.covered_by.get(by, 0) + 1
            numbers[k] = tracklet.number
        self._previous = now
        if len(self._current) > 2 * len(numbers) + MANY:
            recent = self._current.items()
            self._current = {k: t for k, t in recent if now - t.end <= DOUBTFUL_GAP}
        return numbers

    def _of(self, track_id: int, seen: Sighting, embedding_size: int) -> Tracklet:
        """The tracklet that a sighting of an identity belongs to, with the sighting in it."""
        tracklet = self._current.get(track_id)
        if tracklet is None or self._doubtful(tracklet, seen):
            look = np.zeros(embedding_size, np.float32)
            tracklet = Tracklet(self._count, track_id, [], deque(maxlen=ENDS), look)
            tracklet.scene = self._scene
            self._count += 1
            self._current[track_id] = tracklet
            self.begun.append(tracklet)
        if len(tracklet.first) < ENDS:
            tracklet.first.append(seen)
        tracklet.last.append(seen)
        return tracklet

    def _notice_cut(self, result: FrameResult) -> None:
        """Results do not tell cuts, but the tracker lets no identity cross one by place: nobody goes on there, and new
        identities are not where the old ones were either."""
        seen = result.track_ids >= 0
        shown = dict(
            zip(result.track_ids[seen].tolist(), result.detections.boxes[seen], strict=True)
        )
        before, self._shown = self._shown, shown
        if min(len(shown), len(before)) < FEW:
            return
        overlap = boxes.iou(np.array([*shown.values()]), np.array([*before.values()]))
        same = np.array([*shown])[:, None] == np.array([*before])
        goes_on = (same & (overlap >= DOUBTFUL_OVERLAP)).any()
        in_place = (overlap.max(1) >= IN_PLACE).mean()
        self._scene += not goes_on and in_place < MOST

    def _doubtful(self, tracklet: Tracklet, seen: Sighting) -> bool:
        before = tracklet.last[-1]
        missed = self._previous > before.time
        if (missed and seen.time - before.time > DOUBTFUL_GAP) or seen.time < before.time:
            return True
        x, y = velocity(list(tracklet.last), backwards=False) * (seen.time - before.time)
        expected = before.box + np.array((x, y, x, y), np.float32)
        both = np.stack((before.box, expected))
        return bool(boxes.iou(both, seen.box[None]).max() < DOUBTFUL_OVERLAP)


def _tracklet(fields: Mapping[str, Any]) -> Tracklet:
    """A tracklet of its fields as plain values."""
    ends = {name: [Sighting(**one) for one in fields[name]] for name in ("first", "last")}
    counts = {name: _by_number(fields[name]) for name in ("votes", "covered_by")}
    last = deque(ends["last"], ENDS)
    return Tracklet(**{**fields, **counts, "first": ends["first"], "last": last})


def _by_number(counts: Mapping[Any, Any]) -> dict[int, Any]:
    """Counts by number, whose keys a file may have made texts."""
    return {int(key): value for key, value in counts.items()}


def velocity(sightings: list[Sighting], *, backwards: bool) -> FloatArray:
    """Pixels per second (x, y) at the end of some sightings, or at their beginning: of a line fitted to the centres."""
    edge = sightings[0 if backwards else -1].time
    near = [s for s in sightings if abs(s.time - edge) <= ENDS_SECONDS]
    times = np.array([s.time - edge for s in near], np.float64)
    spread = float(((times - times.mean()) ** 2).sum())
    if spread <= 0:
        return np.zeros(2, np.float32)
    centres = np.array([(s.box[:2] + s.box[2:]) / 2 for s in near], np.float64)
    slope = (times - times.mean()) @ (centres - centres.mean(0)) / spread
    return np.asarray(slope, np.float32)


def _covering(
    place: FloatArray, scores: FloatArray, masks: CompactMasks, track_ids: IntArray
) -> IntArray:
    """Which identity's better mask contains most of each object's, int64 [N], -1: none."""
    found = np.full(len(scores), -1, np.int64)
    near = boxes.covered(place, place) > INSIDE / 2
    for i, j in np.argwhere(near).tolist():
        if i == j or track_ids[i] < 0 or (scores[i], -i) < (scores[j], -j):
            continue
        if masks.common(i, masks, j) > INSIDE * max(masks.area(j), 1):
            found[j] = track_ids[i]
    return found
