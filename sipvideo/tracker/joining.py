"""Which tracklets show one object: all pairs are weighed, and those that together fit best are joined.

How likely it is that one tracklet goes on as another is the logistic of a weighted sum of cues. The weights were fitted
on rendered scenes, on which neither embeddings nor trackers were trained or are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sipvideo.config import RepairConfig
from sipvideo.structures import FloatArray, IntArray
from sipvideo.tracker import motion
from sipvideo.tracker.similarity import unit
from sipvideo.tracker.tracklets import Tracklet, velocity

Floats = NDArray[np.float64]

CUES = ("same_id", "distance", "log_gap", "gap", "class", "size", "likeness", "uniqueness")
WITH_LOOKS = np.array((-3.8, 1.3, -0.8, -1.15, 0.35, 0.6, -0.65, 3.2, 2.7))
WITHOUT_LOOKS = np.array((-2.0, 2.0, -2.0, -2.0, -1.0, 2.0, -1.0, 0.0, 0.0))
"""A constant, then the weights of ``CUES``, with embeddings and without."""
FADE = 0.5
"""Seconds in which an unseen object is taken to lose all but 1/e of its velocity."""
REACH, REACH_PER_SECOND = 0.15, 1.0
"""Distance from the predicted place that is nothing special, in sizes of the object, at once and per second."""
ELSEWHERE, AWAY = 1.0, 3.0
"""After a cut neither place nor time tell anything: every object is taken to be so many times what is usual away,
and to have been away for so many seconds."""
KEPT = 0.5
"""Lead over the least odds that the tracker's own decisions have at least."""
CLEARLY_UNIQUE = 0.5
"""Lead in likeness over the next best candidate from which on more does not count."""


@dataclass(frozen=True)
class Link:
    """One tracklet may go on as another.

    Attributes:
        earlier, later: numbers of the tracklets.
        cues: what it was weighed by, by name, see :func:`weigh`.
        odds: logarithm of the odds that both show one object.
        chosen: the two were joined.
    """

    earlier: int
    later: int
    cues: dict[str, float]
    odds: float
    chosen: bool


def join(
    earlier: Sequence[Tracklet],
    later: Sequence[Tracklet],
    common: FloatArray,
    config: RepairConfig,
) -> list[Link]:
    """The candidate pairs, with those chosen that together are most likely; each tracklet has one successor at most.

    Args:
        earlier: tracklets that may go on.
        later: tracklets that may be what goes on; may be the same ones.
        common: float32 [E] or a scalar, what the embeddings of all objects have in common.
        config: what is possible at all.

    Returns:
        The pairs above ``config.join_odds``, by their later tracklets.
    """
    if not earlier or not later:
        return []
    ends = np.array([t.end for t in earlier])
    begins = np.array([t.begin for t in later])
    gaps = begins[None] - ends[:, None]
    rows, columns = ((gaps > 0) & (gaps <= config.join_seconds)).nonzero()
    if not len(rows):
        return []
    cues = weigh(earlier, later, (rows, columns), common)
    looks = bool(earlier[0].look.size)
    weights = WITH_LOOKS if looks else WITHOUT_LOOKS
    odds = weights[0] + cues @ weights[1:]
    # The tracker knew more of who is who than is known here: only a better pair parts what it took for one.
    same = _next_of_same(cues[:, 0] > 0, columns, gaps[rows, columns])
    odds[same] = np.maximum(odds[same], config.join_odds + KEPT)
    kept = (odds > config.join_odds).nonzero()[0]
    rows, columns, odds, cues = rows[kept], columns[kept], odds[kept], cues[kept]
    chosen = _best_pairs(rows, columns, odds - config.join_odds)
    links = [
        Link(
            earlier[i].number,
            later[j].number,
            dict(zip(CUES if looks else CUES[:-2], row, strict=False)),
            odd,
            bool(taken),
        )
        for i, j, row, odd, taken in zip(
            rows.tolist(), columns.tolist(), cues.tolist(), odds.tolist(), chosen, strict=True
        )
    ]
    return sorted(links, key=lambda link: (link.later, link.earlier))


def weigh(
    earlier: Sequence[Tracklet],
    later: Sequence[Tracklet],
    pairs: tuple[IntArray, IntArray],
    common: FloatArray,
) -> Floats:
    """The cues of P pairs of tracklets, float64 [P, 8], by ``CUES``.

    ``same_id``: 1 where the tracker took them for one. ``distance``: logarithm of 1 + how far apart they are, in
    sizes and relative to what is usual after such a gap, by prediction from both sides, or without motion where
    that fits better. ``log_gap`` (of seconds + 0.1) and ``gap`` (tens of seconds). ``class``: share of votes that
    agree. ``size``: logarithm of the ratio of mask areas at the ends. ``likeness``: cosine of the embeddings.
    ``uniqueness``: its lead over the best other candidate of either tracklet that was there at the same time.

    Args:
        earlier, later: tracklets.
        pairs: int64 [P] indices into each.
        common: see :func:`join`.
    """
    rows, columns = pairs
    before, after = _Ends.of(earlier, at_end=True), _Ends.of(later, at_end=False)
    gap = np.array([t.begin for t in later])[columns] - np.array([t.end for t in earlier])[rows]
    distance = _distance(before, after, pairs, gap)
    cut = np.array([t.scene for t in later])[columns] > np.array([t.scene for t in earlier])[rows]
    distance[cut], gap[cut] = np.log1p(ELSEWHERE), np.maximum(gap[cut], AWAY)
    ids = np.array([t.track_id for t in earlier]), np.array([t.track_id for t in later])
    labels = sorted({label for t in (*earlier, *later) for label in t.votes})
    votes = [_votes(side, labels) for side in (earlier, later)]
    agree = np.minimum(votes[0][rows], votes[1][columns]).sum(1)
    size = np.abs(np.log((before.area[rows] + 1) / (after.area[columns] + 1)))
    likeness = uniqueness = np.zeros(len(rows))
    if earlier[0].look.size:
        looks = [_looks(side, common) for side in (earlier, later)]
        likeness = (looks[0][rows] * looks[1][columns]).sum(1).astype(np.float64)
        rival = np.maximum(
            _best_rival(columns, rows, likeness, earlier),
            _best_rival(rows, columns, likeness, later),
        )
        uniqueness = np.minimum(likeness - rival, CLEARLY_UNIQUE)
    return np.stack(
        (
            (ids[0][rows] == ids[1][columns]).astype(np.float64),
            distance,
            np.log(gap + 0.1),
            gap / 10,
            agree,
            size,
            likeness,
            uniqueness,
        ),
        axis=1,
    )


@dataclass(frozen=True, eq=False)
class _Ends:
    """Where N tracklets end, or begin: boxes [N, 4], velocities [N, 2], sizes [N] in pixels, mask areas [N]."""

    box: FloatArray
    velocity: FloatArray
    size: FloatArray
    area: Floats

    @classmethod
    def of(cls, tracklets: Sequence[Tracklet], *, at_end: bool) -> _Ends:
        seen = [list(t.last) if at_end else t.first for t in tracklets]
        box = np.array([s[-1 if at_end else 0].box for s in seen], np.float32)
        speed = np.array([velocity(s, backwards=not at_end) for s in seen], np.float32)
        size = [np.median([np.prod(one.box[2:] - one.box[:2]) for one in s]) for s in seen]
        area = [np.median([one.area for one in s]) for s in seen]
        return cls(box, speed, np.sqrt(np.maximum(size, 1), dtype=np.float32), np.array(area))


def _distance(before: _Ends, after: _Ends, pairs: tuple[IntArray, IntArray], gap: Floats) -> Floats:
    rows, columns = pairs
    unseen = gap.astype(np.float32)
    forth = motion.predict(before.box[rows], before.velocity[rows], unseen, FADE)
    back = motion.predict(after.box[columns], -after.velocity[columns], unseen, FADE)
    error = (_apart(forth, after.box[columns]) + _apart(back, before.box[rows])) / 2
    still = _apart(before.box[rows], after.box[columns])
    usual = np.maximum(before.size[rows], after.size[columns]) * (REACH + REACH_PER_SECOND * gap)
    return np.asarray(np.log1p(np.minimum(error, still) / usual), np.float64)


def _apart(a: FloatArray, b: FloatArray) -> FloatArray:
    """Distance of the centres of boxes [P, 4] and [P, 4], pixels."""
    steps = (a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2
    return np.asarray(np.hypot(steps[:, 0], steps[:, 1]), np.float32)


def _votes(tracklets: Sequence[Tracklet], labels: Sequence[int]) -> Floats:
    """Share of each label in each tracklet's votes, [N, L]."""
    counts = [[t.votes.get(label, 0.0) for label in labels] for t in tracklets]
    shares = np.array(counts, np.float64)
    shares /= np.maximum(shares.sum(1, keepdims=True), 1e-9)
    return shares


def _looks(tracklets: Sequence[Tracklet], common: FloatArray) -> FloatArray:
    means = [t.look / np.float32(max(t.scores, 1e-6)) for t in tracklets]
    return unit(np.array(means, np.float32) - common)


def _best_rival(
    groups: IntArray, members: IntArray, values: Floats, tracklets: Sequence[Tracklet]
) -> Floats:
    """The highest of the values in the same group, [P], whose members were there at the same time: others may be the
    same object, at another time. -inf where there is none.

    Args:
        groups: int64 [P].
        members: int64 [P], indices into ``tracklets``.
        values: [P].
        tracklets: that have a begin and an end.
    """
    begins = np.array([t.begin for t in tracklets])
    ends = np.array([t.end for t in tracklets])
    found = np.full(len(values), -np.inf)
    order = np.argsort(groups, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        mine = members[pairs]
        together = (begins[mine] <= ends[mine][:, None]) & (ends[mine] >= begins[mine][:, None])
        np.fill_diagonal(together, False)
        found[pairs] = np.where(together, values[pairs], -np.inf).max(1)
    return found


def _next_of_same(same: NDArray[np.bool_], columns: IntArray, gaps: Floats) -> IntArray:
    """The pairs of P in which the tracker went on with one identity: of each later tracklet the one nearest in time."""
    pairs = same.nonzero()[0]
    pairs = pairs[np.lexsort((gaps[pairs], columns[pairs]))]
    _, first = np.unique(columns[pairs], return_index=True)
    nearest: IntArray = pairs[first]
    return nearest


def _best_pairs(rows: IntArray, columns: IntArray, gains: Floats) -> NDArray[np.bool_]:
    """Which of P pairs together gain most, bool [P]; each row and each column once at most."""
    chosen = np.zeros(len(rows), bool)
    if not len(rows):
        return chosen
    count = int(rows.max()) + 1
    size = count + int(columns.max()) + 1
    graph = coo_array((np.ones(len(rows)), (rows, count + columns)), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    # Parts that share nothing are solved alone: most have one pair.
    order = np.argsort(part[rows], kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(part[rows][order])) + 1):
        if len(pairs) == 1:
            chosen[pairs] = gains[pairs] > 0
            continue
        i, mine = np.unique(rows[pairs], return_inverse=True)
        j, theirs = np.unique(columns[pairs], return_inverse=True)
        table = np.zeros((len(i), len(j)))
        place = np.full((len(i), len(j)), -1)
        table[mine, theirs], place[mine, theirs] = gains[pairs], pairs
        best = linear_sum_assignment(table, maximize=True)
        taken = place[best][table[best] > 0]
        chosen[taken] = True
    return chosen
