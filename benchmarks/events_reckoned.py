"""The events of a watched camera reckoned a second time.

From the objects of all frames, by the direct definition of each kind, and without the code that is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

LINES = {"left": 0.35, "right": 0.6}
"""Upright lines over the whole height, by their place across."""
HALL, STAY = 0.6, 5.0
"""The zone is all that is right of it; who is there for so many seconds stayed."""
SETTLE, LASTING, GONE_AFTER = 0.3, 0.5, 12.0
"""The first two as by default, the last one slower as the film."""


class Seen(NamedTuple):
    """An identity in a frame: second, the foot's place across, class, seconds that it is said to have been away, and
    when it was seen before."""

    second: float
    foot: float
    name: str
    away: float
    before: float


def reckoned(frames: Sequence[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """The events of all frames of a camera, by the definition of each kind."""
    seconds: list[float] = []
    sightings: dict[int, list[Seen]] = {}
    for frame in frames:
        seconds.append(max([frame["timestamp"], *seconds[-1:]]))
        for found in frame["objects"]:
            if found["track_id"] is not None:
                known = sightings.setdefault(found["track_id"], [])
                foot = _foot(coco_mask.decode(found["segmentation"]))
                about = found["class_name"], found.get("returned", 0.0)
                before = known[-1].second if known else -np.inf
                known.append(Seen(seconds[-1], foot, *about, before))
    events: Counter[tuple[Any, ...]] = Counter()
    for track_id, seen_all in sightings.items():
        for spell, gone in _spells(seen_all, np.array(seconds)):
            events.update((track_id, *event) for event in _of_spell(spell, gone))
    return events


def _foot(mask: np.ndarray) -> float:
    """Across: the middle of the lowest twentieth of a mask's rows, in parts of the picture."""
    rows = np.flatnonzero(mask.any(1))
    bottom, height = rows[-1] + 1, rows[-1] + 1 - rows[0]
    lowest = mask[bottom - max(round(0.05 * height), 1) : bottom]
    return float((np.flatnonzero(lowest.any(0)).mean() + 0.5) / mask.shape[1])


def _spells(seen: Sequence[Seen], seconds: np.ndarray) -> Iterator[tuple[list[Seen], bool]]:
    """Sightings between which it was never away for too long; whether it had vanished after the last."""
    spell: list[Seen] = []
    for one in seen:
        if spell and _missed(spell[-1].second, one.second, seconds) > GONE_AFTER:
            yield spell, True
            spell = []
        spell.append(one)
    end = seconds[-1]
    yield spell, bool(end - spell[-1].second > SETTLE)


def _missed(last: float, next_seen: float, seconds: np.ndarray) -> float:
    """How long after its last sighting a frame did not show it."""
    between = seconds[(seconds > last) & (seconds < next_seen)]
    return float(between[-1] - last) if len(between) else 0.0


def _of_spell(spell: Sequence[Seen], gone: bool) -> Iterator[tuple[Any, ...]]:
    """(kind, second, class, place, direction, seconds) of what an identity did until it vanished."""
    begun, last = spell[0].second, spell[-1].second
    lasted = [k for k, one in enumerate(spell) if one.second - begun >= LASTING]
    if not lasted:
        return

    def at(k: int, kind: str, second: float, place: str = "", way: str = "", long: Any = "") -> Any:
        name = spell[max(k, lasted[0])].name
        return kind, round(second, 6), name, place, way, long if long == "" else round(long, 6)

    if not spell[0].away:
        yield at(0, "appeared", begun)
    for k, one in enumerate(spell):
        if one.away and abs(one.second - one.before - one.away) < 0.01:  # later frames say so, too
            yield at(k, "returned", one.second)
    for name, x in LINES.items():
        left_of = [one.foot < x for one in spell]
        for k, began in _changes(spell, left_of, left_of[0]):
            yield at(
                k, "crossed", spell[began].second, name, "forward" if left_of[k] else "backward"
            )
    inside = [one.foot >= HALL for one in spell]
    changes = list(_changes(spell, inside, False))
    since: float | None = None
    for number, (k, began) in enumerate(changes):
        second = spell[began].second
        if not inside[k]:
            assert since is not None
            yield at(k, "left", second, "hall", long=second - since)
            since = None
            continue
        since = second
        yield at(k, "entered", second, "hall")
        end = changes[number + 1][0] if number + 1 < len(changes) else len(spell)
        for later in range(k, end):
            if inside[later] and spell[later].second - since >= STAY:
                yield at(
                    later, "stayed", spell[later].second, "hall", long=spell[later].second - since
                )
                break
    if gone:
        if since is not None:
            yield at(len(spell) - 1, "left", last, "hall", long=last - since)
        yield at(len(spell) - 1, "vanished", last)


def _changes(
    spell: Sequence[Seen], values: Sequence[bool], state: bool
) -> Iterator[tuple[int, int]]:
    """Where a change has lasted, and where it began."""
    began = None
    for k, value in enumerate(values):
        if value == state:
            began = None
            continue
        began = k if began is None else began
        if spell[k].second - spell[began].second >= SETTLE:
            yield k, began
            state, began = value, None


def logged(record: dict[str, Any]) -> tuple[Any, ...]:
    """A line of the log in the form of :func:`reckoned`."""
    about = [record.get(key, "") for key in ("class_name", "place", "direction")]
    # How long somebody was away is the tracker's to tell.
    seconds = "" if record["kind"] == "returned" else record.get("seconds", "")
    return record["track_id"], record["kind"], record["timestamp"], *about, seconds
