"""Two objects in one frame: twins, and two that changed places where they met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sipvideo.structures import IntArray
from sipvideo.studio.doubts.links import Links
from sipvideo.studio.doubts.sightings import Floats, Sightings
from sipvideo.studio.doubts.suspicion import Suspicion, logistic

MANY = 2_000_000
"""Pairs of objects that are compared; in longer runs frames are left out."""
APART = 0.3
"""Seconds without meeting that part two meetings."""
ASIDE = 0.2
"""Seconds before and after a meeting at which objects are compared."""
VIEW = 1.0
"""Seconds over which saved runs average what objects look like."""
TWINS = 0.5
"""Overlap of boxes from which two may be one object."""
SUDDEN_STEPS = 20_000
"""Most sudden steps at which it is tried whether two changed places there."""


@dataclass(frozen=True, eq=False)
class Meetings:
    """P pairs of objects whose boxes meet in a frame.

    Attributes:
        a, b: rows of sightings, int64 [P], by identity a < b.
        iou: of the boxes, float64 [P].
        covered: share of the smaller box inside the larger one, float64 [P].
        every: only every so many frames was looked at.
    """

    a: IntArray
    b: IntArray
    iou: Floats
    covered: Floats
    every: int

    @classmethod
    def of(cls, seen: Sightings) -> Meetings:
        """All of a run; of long runs those of some frames."""
        order = np.lexsort((seen.ids, seen.frames))
        counts = np.bincount(seen.frames, minlength=len(seen.times))
        every = max(1, -(-int((counts * (counts - 1) // 2).sum()) // MANY))
        order = order[seen.frames[order] % every == 0]
        frames = seen.frames[order]
        pairs = [np.zeros((2, 0), np.int64)]
        for step in range(1, int(counts.max(initial=0))):
            same = np.flatnonzero(frames[step:] == frames[:-step])
            rows = np.stack((order[same], order[same + step]))
            pairs.append(rows[:, (_common(seen, rows) > 0).all(1)])
        rows = np.concatenate(pairs, 1)
        common = _common(seen, rows).prod(1)
        areas = seen.sizes[rows] ** 2
        union = np.maximum(areas.sum(0) - common, 1)
        return cls(rows[0], rows[1], common / union, common / np.maximum(areas.min(0), 1), every)

    def most_covered(self, count: int) -> Floats:
        """How much each of ``count`` sightings shares with another one at most, float64 [N]."""
        most = np.zeros(count)
        np.maximum.at(most, self.a, self.covered)
        np.maximum.at(most, self.b, self.covered)
        return most

    def stretches(self, seen: Sightings, chosen: IntArray) -> list[IntArray]:
        """The pairs ``chosen`` parted by who meets whom, and where they were apart for a while."""
        if not len(chosen):
            return []
        who = seen.owner[self.a[chosen]] * len(seen.firsts) + seen.owner[self.b[chosen]]
        frames = seen.frames[self.a[chosen]]
        order = np.lexsort((frames, who))
        apart = max(APART / seen.period, self.every + 1)
        new = (np.diff(who[order]) != 0) | (np.diff(frames[order]) > apart)
        return np.split(chosen[order], np.flatnonzero(new) + 1)


def _common(seen: Sightings, rows: IntArray) -> Floats:
    """Width and height that the boxes of rows [2, P] have in common, float64 [P, 2]; negative for those apart."""
    a, b = seen.boxes[rows[0]].astype(np.float64), seen.boxes[rows[1]].astype(np.float64)
    return np.asarray(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]))


def twins(seen: Sightings, meetings: Meetings) -> Iterator[Suspicion]:
    """Two identities on one object."""
    lives = seen.lasts - seen.firsts + 1
    for pairs in meetings.stretches(seen, np.flatnonzero(meetings.iou > TWINS)):
        rows = meetings.a[pairs], meetings.b[pairs]
        first, last = int(seen.frames[rows[0][0]]), int(seen.frames[rows[0][-1]])
        owners = [int(seen.owner[mine[0]]) for mine in rows]
        life = min(lives[owner] for owner in owners)
        share = min(1.0, len(pairs) * meetings.every / life)
        iou = float(meetings.iou[pairs].mean())
        seconds = min((last - first + 1) * seen.period, 1.0)
        worth = float(logistic(-4.5 + 8 * (iou - 0.6) + 3 * share + 1.5 * seconds))
        scores = [float(seen.scores[mine].mean()) for mine in rows]
        # The one that lives on outside of the stretch stays, else the better one.
        keep = max((0, 1), key=lambda k: (lives[owners[k]] > 1.5 * life, scores[k]))
        ids = [int(seen.ids[mine[0]]) for mine in rows]
        gone = ids[1 - keep]
        why = f"{gone} and {ids[keep]} lie on one another (overlap {iou:.0%}): one object twice?"
        delete = {"op": "delete", "id": gone, "first": first, "last": last}
        yield Suspicion("twin", (gone, ids[keep]), first, last, worth, why, delete)


def swaps(seen: Sightings, links: Links, meetings: Meetings) -> Iterator[Suspicion]:
    """Two that changed places: where they met, or from one frame to the next."""
    found = [*_where_they_met(seen, meetings), *_at_once(seen, links)]
    if not found:
        return
    rows = np.array(found, np.int64).T
    straight = _misfit(seen, rows[0], rows[2]) + _misfit(seen, rows[1], rows[3])
    crossed = _misfit(seen, rows[0], rows[3]) + _misfit(seen, rows[1], rows[2])
    worth = logistic(-2.5 + 1.2 * (straight - crossed))
    steps = np.zeros(len(seen))
    steps[links.after] = links.distance + links.size
    for k in np.flatnonzero(worth > 0.02).tolist():
        a0, b0, a1, b1 = rows[:, k].tolist()
        a, b = int(seen.ids[a0]), int(seen.ids[b0])
        frame = _turning_point(seen, steps, (a0, a1), (b0, b1))
        why = f"{a} goes on like {b} and {b} like {a}: changed places?"
        swap = {"op": "swap", "a": a, "b": b, "frame": frame}
        yield Suspicion("swap", (a, b), frame, frame, float(worth[k]), why, swap)


def _misfit(seen: Sightings, before: IntArray, after: IntArray) -> Floats:
    """How badly pairs of rows go together [P]; looks are taken from a view farther away, as views are averages."""
    aside = max(0, round((VIEW - ASIDE) / seen.period))
    earlier = np.maximum(before - aside, seen.firsts[seen.owner[before]])
    later = np.minimum(after + aside, seen.lasts[seen.owner[after]])
    links = Links.of(seen, before, after)
    return links.misfit_with(Links.of(seen, earlier, later).unlike)


def _where_they_met(seen: Sightings, meetings: Meetings) -> Iterator[tuple[int, int, int, int]]:
    """Rows of a and b before each meeting, and after it."""
    aside, far = ASIDE / seen.period, 1.0 / seen.period
    for pairs in meetings.stretches(seen, np.flatnonzero(meetings.covered > 0.05)):
        rows = []
        for mine in (meetings.a[pairs], meetings.b[pairs]):
            owner = seen.owner[mine[0]]
            begin, end = int(seen.firsts[owner]), int(seen.lasts[owner])
            frames = seen.frames[begin : end + 1]
            first, last = seen.frames[mine[0]], seen.frames[mine[-1]]
            before = begin + int(np.searchsorted(frames, first - aside, "right")) - 1
            after = begin + int(np.searchsorted(frames, last + aside))
            if before < begin or after > end:
                break
            if first - seen.frames[before] > far or seen.frames[after] - last > far:
                break
            rows.append((before, after))
        else:
            (a0, a1), (b0, b1) = rows
            yield a0, b0, a1, b1


def _at_once(seen: Sightings, links: Links) -> Iterator[tuple[int, int, int, int]]:
    """The same for pairs that both step far from one frame to the next."""
    step = np.zeros(len(seen))
    follows = seen.frames[links.after] - seen.frames[links.before] <= 2
    step[links.after] = np.where(follows, links.distance + links.size, 0)
    odd = np.flatnonzero(step > 0.5)
    odd = odd[np.argsort(-step[odd], kind="stable")[:SUDDEN_STEPS]]
    by_frame: dict[int, list[int]] = {}
    for row in odd.tolist():
        by_frame.setdefault(int(seen.frames[row]), []).append(row)
    for rows in by_frame.values():
        for a in rows:
            for b in rows:
                if seen.ids[a] < seen.ids[b]:
                    yield a - 1, b - 1, a, b


def _turning_point(seen: Sightings, steps: Floats, a: tuple[int, int], b: tuple[int, int]) -> int:
    """The frame from which two are changed: where both step farthest, else the middle."""
    first, last = int(seen.frames[a[0]]), int(seen.frames[a[1]])
    total = np.zeros(last - first + 1)
    for begin, end in (a, b):
        rows = np.arange(begin + 1, end + 1)
        place = seen.frames[rows] - first
        inside = (place >= 0) & (place < len(total))
        total[place[inside]] += steps[rows[inside]]
    if total.max() > 0.3:
        return first + int(total.argmax())
    return (first + last) // 2
