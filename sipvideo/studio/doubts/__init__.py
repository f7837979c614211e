"""What is most likely wrong in a run, worst first, each with why in words and an edit that may mend it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from sipvideo.studio.doubts import lives, meetings, places
from sipvideo.studio.doubts.links import Links
from sipvideo.studio.doubts.meetings import Meetings
from sipvideo.studio.doubts.sightings import Sightings
from sipvideo.studio.doubts.suspicion import Suspicion

__all__ = ["Doubt", "Sightings", "doubts"]

MOST = 2000
"""Doubts in a list."""
LEAST = 0.02
"""Worth below which nothing is listed."""
NEAR = 0.6
"""Seconds that are added to the time of each doubt: those of a moment are not seen to the frame."""
SAME = 0.5
"""Share of the time of two doubts that they have in common if they are about one thing."""


@dataclass(frozen=True)
class Doubt:
    """Something that may be wrong.

    Attributes:
        key: names it as long as what it is about stays as it is.
        kind: of :data:`sipvideo.studio.doubts.suspicion.KINDS`.
        ids: identities that it is about.
        first, last: frames.
        worth: 0..1, how likely it is worth a look.
        why: in words.
        remedy: an edit that may mend it, or None; ``propagate`` asks for masks carried from ``frame`` in ``direction``
            until ``until``.
    """

    key: str
    kind: str
    ids: tuple[int, ...]
    first: int
    last: int
    worth: float
    why: str
    remedy: dict[str, Any] | None

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"ids": list(self.ids), "worth": round(self.worth, 3)}


def doubts(
    seen: Sightings, class_names: Collection[str] = (), accepted: Collection[str] = ()
) -> list[Doubt]:
    """What may be wrong, worst first.

    Args:
        seen: the run with all edits in it.
        class_names: names in label order, for the words.
        accepted: keys of doubts that somebody has found right.
    """
    if not len(seen):
        return []
    found = [one for one in _suspicions(seen, list(class_names)) if one.worth >= LEAST]
    found.sort(key=lambda one: -one.worth)
    listed = [_doubt(one) for one in _about_different_things(found, NEAR / seen.period)]
    return [one for one in listed if one.key not in set(accepted)]


def _suspicions(seen: Sightings, class_names: list[str]) -> Iterator[Suspicion]:
    links, met = Links.within(seen), Meetings.of(seen)
    yield from places.absences(seen, links, met)
    yield from places.jumps(seen, links)
    yield from places.changes(seen)
    yield from meetings.swaps(seen, links, met)
    yield from meetings.twins(seen, met)
    yield from lives.flips(seen, class_names)
    yield from lives.growths(seen)
    yield from lives.shorts(seen)


def _doubt(one: Suspicion) -> Doubt:
    key = "-".join(map(str, (one.kind, *one.ids, one.first, one.last)))
    return Doubt(key, one.kind, one.ids, one.first, one.last, one.worth, one.why, one.remedy)


def _about_different_things(found: list[Suspicion], near: float) -> list[Suspicion]:
    """Without those that say less of what another one says: same identity, same time."""
    kept: list[Suspicion] = []
    of: dict[int, list[Suspicion]] = {}
    for one in found:
        if len(kept) == MOST:
            break
        others = (other for track_id in one.ids for other in of.get(track_id, ()))
        if any(_same_thing(one, other, near) for other in others):
            continue
        kept.append(one)
        for track_id in one.ids:
            of.setdefault(track_id, []).append(one)
    return kept


def _same_thing(a: Suspicion, b: Suspicion, near: float) -> bool:
    """Whether the times of two, each a little longer at both ends, are mostly the same."""
    common = min(a.last, b.last) - max(a.first, b.first) + near
    whole = max(a.last, b.last) - min(a.first, b.first) + near
    return common > SAME * whole
