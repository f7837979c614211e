"""Who gets an identity again after having been away, and who gets that of somebody else."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sipvideo.evaluation.replay import Replay
from sipvideo.structures import FrameResult

ABSENCE = 3.0
"""Seconds unseen from which an object that comes back counts as one that was away."""
NOTICED = 2.0
"""Seconds after its return in which an object must get its identity, and before its exit in which that is read."""
CONFIDENT = 0.4
"""Least score of a report that anybody must have noticed."""
STRANGER = -1


@dataclass(frozen=True)
class Reunions:
    """What became of the objects that came back, as counts.

    Attributes:
        right: got the identity that they had before.
        false: got one that had belonged to another object, for however short a time.
        new: got a new identity, or none.
        unseen: were not reported with confidence shortly before their exit and shortly after their return, so that
            nobody could tell; none of the others.
        newcomers: objects that were seen for the first time after the start.
        mistaken: newcomers that got an identity which had belonged to another object.
    """

    right: int = 0
    false: int = 0
    new: int = 0
    unseen: int = 0
    newcomers: int = 0
    mistaken: int = 0

    def __add__(self, other: Reunions) -> Reunions:
        pairs = zip(self.counts(), other.counts(), strict=True)
        return Reunions(*(a + b for a, b in pairs))

    def counts(self) -> tuple[int, int, int, int, int, int]:
        """The counts in the order of the attributes."""
        return self.right, self.false, self.new, self.unseen, self.newcomers, self.mistaken

    @property
    def returns(self) -> int:
        """Objects that came back and were reported before and after."""
        return self.right + self.false + self.new


def reunions(replay: Replay, results: Sequence[FrameResult]) -> Reunions:
    """Looks at every object that was away for ``ABSENCE`` seconds, or through a cut, or came only later.

    Args:
        replay: the truth.
        results: T frames with identities.
    """
    story, total = _Story(replay, results), Reunions()
    seconds = story.seconds
    for number, track in enumerate(replay.truth):
        seen = [t for t, mask in enumerate(track["segmentations"]) if mask is not None]
        if seconds[seen[0]] - seconds[0] > NOTICED:
            total += story.newcomer(number, seen[0])
        for gone, back in itertools.pairwise(seen):
            through_cut = any(gone < cut <= back for cut in replay.cuts)
            if through_cut or seconds[back] - seconds[gone] >= ABSENCE:
                total += story.reunion(number, gone, back)
    return total


@dataclass(frozen=True, eq=False)
class _Sight:
    """What is known of a frame.

    Attributes:
        owners: which object each identity was given to, ``STRANGER`` for none.
        noticed: the objects that were reported with confidence.
    """

    owners: dict[int, int]
    noticed: frozenset[int]


class _Story:
    """Who had which identity when.

    Args:
        replay: the truth.
        results: T frames with identities.
    """

    def __init__(self, replay: Replay, results: Sequence[FrameResult]) -> None:
        owners = replay.owners([result.detections for result in results])
        self.seconds = np.array(replay.seconds)
        self.frames = []
        for result, row in zip(results, owners, strict=True):
            pairs = zip(result.track_ids.tolist(), row.tolist(), strict=True)
            noticed = row[result.detections.scores >= CONFIDENT].tolist()
            self.frames.append(
                _Sight({k: own for k, own in pairs if k >= 0}, frozenset(noticed) - {STRANGER})
            )

    def before(self, frame: int) -> range:
        """The frames in which an object that is last seen in ``frame`` must be known."""
        return range(int(np.searchsorted(self.seconds, self.seconds[frame] - NOTICED)), frame + 1)

    def after(self, frame: int) -> range:
        """The frames in which one that comes in ``frame`` must be noticed."""
        end = self.seconds[frame] + NOTICED
        return range(frame, int(np.searchsorted(self.seconds, end, side="right")))

    def noticed(self, number: int, frames: range) -> bool:
        """Whether an object was reported with confidence in any of the frames."""
        return any(number in self.frames[t].noticed for t in frames)

    def identities(self, number: int, frames: range) -> set[int]:
        """All that it was given."""
        return {k for t in frames for k, own in self.frames[t].owners.items() if own == number}

    def of_another(self, number: int, keys: set[int], end: int) -> bool:
        """Whether any of the identities was mostly another object's before a frame."""
        for key in keys:
            had = (row.owners.get(key, STRANGER) for row in self.frames[:end])
            counts = Counter(owner for owner in had if owner != STRANGER)
            if counts and counts.most_common(1)[0][0] != number:
                return True
        return False

    def reunion(self, number: int, gone: int, back: int) -> Reunions:
        """One object's return."""
        before, after = self.before(gone), self.after(back)
        if not (self.noticed(number, before) and self.noticed(number, after)):
            return Reunions(unseen=1)
        old, told = self.identities(number, before), self.identities(number, after)
        if self.of_another(number, told - old, back):
            return Reunions(false=1)
        return Reunions(right=1) if told & old else Reunions(new=1)

    def newcomer(self, number: int, start: int) -> Reunions:
        """One object's first appearance."""
        if not self.noticed(number, self.after(start)):
            return Reunions()
        told = self.identities(number, self.after(start))
        return Reunions(newcomers=1, mistaken=int(self.of_another(number, told, start)))
