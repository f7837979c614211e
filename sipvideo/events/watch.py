"""Turns results into events, with a memory of who is where.

Every state that an object can change (inside a zone, the side of a line) is a :class:`Settled`: it changes only when
the new value has lasted, and then the change has the time at which it began. So an event is told a little later than
it happened, and tells when that was. Everything is in seconds of the source: frames that were dropped change nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter

from sipvideo.classes import labels_of
from sipvideo.events import geometry
from sipvideo.events.event import Event, Kind
from sipvideo.events.rules import Line, Rules, Zone
from sipvideo.masks import CompactMasks
from sipvideo.structures import FrameResult

T = TypeVar("T")


class Moment(NamedTuple):
    """A frame's place in the source."""

    timestamp: float
    frame: int


@dataclass
class Settled(Generic[T]):
    """A value that changes only when the new one has lasted for some seconds.

    Attributes:
        value: what holds.
        coming: what was seen last in its place, if anything.
        since: when that was seen first; None: nothing else was.
    """

    value: T
    coming: T | None = None
    since: Moment | None = None

    def see(self, value: T, now: Moment, settle: float) -> Moment | None:
        """Notes what is seen now; when that settles a change, the moment at which the change began."""
        if value == self.value:
            self.since = None
            return None
        if self.since is None or value != self.coming:
            self.coming, self.since = value, now
        if now.timestamp - self.since.timestamp < settle:
            return None
        began, self.value, self.since = self.since, value, None
        return began


@dataclass
class _Visit:
    """An identity and a zone."""

    inside: Settled[bool] = field(default_factory=lambda: Settled(False))
    since: Moment | None = None
    stayed: bool = False


@dataclass
class _Passage:
    """An identity and a line: the side it is on, and whether its way to the other side led through the line."""

    side: Settled[int]
    point: geometry.Point
    through: bool = False


@dataclass
class _Identity:
    """What is known of an identity."""

    first: Moment
    last: Moment
    label: int
    told: bool = False
    visits: dict[str, _Visit] = field(default_factory=dict)
    passages: dict[str, _Passage] = field(default_factory=dict)
    waiting: list[Event] = field(default_factory=list)
    """Events that are told once the identity has lasted."""


@dataclass
class _Memory:
    """All that a watch carries from frame to frame."""

    known: dict[int, _Identity]
    crowds: dict[str, Settled[bool]]
    visits: dict[str, Counter[str]]
    crossed: list[tuple[str, str, Counter[str]]]
    number: int
    now: Moment


@dataclass(frozen=True)
class ZoneCount:
    """What a zone has counted: class name -> objects inside now, and visits so far."""

    inside: dict[str, int]
    visits: dict[str, int]


@dataclass(frozen=True)
class LineCount:
    """What a line has counted: direction -> class name -> crossings so far."""

    crossed: dict[str, dict[str, int]]


class EventWatch:
    """Watches one video.

    Args:
        rules: zones and lines; without any, identities alone tell.
        class_names: in label order.
    """

    def __init__(self, rules: Rules, class_names: Sequence[str]) -> None:
        self.rules = rules
        self.class_names = tuple(class_names)
        self._labels = {
            name: labels_of(place.classes, class_names) for name, place in rules.places.items()
        }
        self.reset()

    def reset(self) -> None:
        """Begins a new video: nobody is known, and all counts are 0."""
        self._known: dict[int, _Identity] = {}
        self._crowds = {name: Settled(False) for name in self.rules.zones}
        self._visits: dict[str, Counter[str]] = {name: Counter() for name in self.rules.zones}
        self._crossed: dict[tuple[str, str], Counter[str]] = {
            (name, word): Counter()
            for name, line in self.rules.lines.items()
            for word in line.directions
        }
        self._areas: dict[str, CompactMasks] = {}
        self._frame_size = (0, 0)
        self._number = 0
        self._now = Moment(-math.inf, -1)

    def state(self) -> dict[str, Any]:
        """All that is known of the video so far, as plain values: see :meth:`restore`."""
        crossed = [(*key, counts) for key, counts in self._crossed.items()]
        crowds, visits = self._crowds, self._visits
        memory = _Memory(self._known, crowds, visits, crossed, self._number, self._now)
        state: dict[str, Any] = TypeAdapter(_Memory).dump_python(memory)
        return state

    def restore(self, state: Any) -> None:
        """Goes on where another watch with the same rules was.

        Raises:
            ValueError: this is no state.
        """
        self.reset()
        memory = TypeAdapter(_Memory).validate_python(state)
        self._known, self._crowds, self._visits = memory.known, memory.crowds, memory.visits
        self._crossed = {(name, word): counts for name, word, counts in memory.crossed}
        self._number, self._now = memory.number, memory.now

    def update(self, result: FrameResult) -> list[Event]:
        """The events that the next frame's result settles, in the order in which they happened.

        A step back of the clock counts as no time.
        """
        result = result.tracked()
        self._now = Moment(max(result.frame.timestamp, self._now.timestamp), result.frame.index)
        self._draw_zones(result.frame.size)
        events: list[Event] = []
        masks = result.detections.masks
        inside = {name: self._inside(zone, name, masks) for name, zone in self.rules.zones.items()}
        points = {name: _points(line, masks) for name, line in self.rules.lines.items()}
        labels = result.detections.labels.tolist()
        for k, track_id in enumerate(result.track_ids.tolist()):
            identity = self._meet(track_id, labels[k], result.seconds_away(k))
            for name, found in inside.items():
                if self._counts(name, labels[k]):
                    identity.waiting += self._visit(track_id, identity, name, found[k])
            for name, places in points.items():
                if self._counts(name, labels[k]):
                    identity.waiting += self._pass(track_id, identity, name, places[k])
            events += self._speak(identity)
        events += self._forget()
        events += self._crowding()
        return self._numbered(events)

    def finish(self) -> list[Event]:
        """The events of those who were out of sight when the video ended. What had not settled did not happen."""
        now = self._now.timestamp
        gone = [
            i for i, known in self._known.items() if now - known.last.timestamp > self.rules.settle
        ]
        return self._numbered([event for track_id in gone for event in self._vanish(track_id)])

    def zones(self) -> dict[str, ZoneCount]:
        """What each zone has counted, of identities that lasted."""
        inside: dict[str, Counter[str]] = {name: Counter() for name in self.rules.zones}
        for identity in list(
            self._known.values()
        ):  # whoever shows the counts may ask from another thread
            for name, visit in list(identity.visits.items()):
                if visit.inside.value and identity.told:
                    inside[name][self._class_name(identity.label)] += 1
        return {
            name: ZoneCount(dict(counts), dict(self._visits[name]))
            for name, counts in inside.items()
        }

    def lines(self) -> dict[str, LineCount]:
        """What each line has counted."""
        return {
            name: LineCount({word: dict(self._crossed[name, word]) for word in line.directions})
            for name, line in self.rules.lines.items()
        }

    def _draw_zones(self, frame_size: tuple[int, int]) -> None:
        """Polygons in pixels, where masks are compared with them; anew when the frames' size changes."""
        if frame_size != self._frame_size:
            self._frame_size = frame_size
            self._areas = {
                name: geometry.drawn(zone.polygon, frame_size)
                for name, zone in self.rules.zones.items()
                if zone.when != "foot"
            }

    def _inside(self, zone: Zone, name: str, masks: CompactMasks) -> list[bool]:
        """Which objects are in the zone by this frame alone."""
        if zone.when == "foot":
            return [
                geometry.contains(zone.polygon, (x, y)) for x, y in geometry.feet(masks).tolist()
            ]
        area = self._areas[name]
        common = [masks.common(k, area, 0) for k in range(len(masks))]
        if zone.when == "touch":
            return [pixels > 0 for pixels in common]
        return [
            pixels > 0 and pixels >= zone.share * masks.area(k) for k, pixels in enumerate(common)
        ]

    def _counts(self, place: str, label: int) -> bool:
        return not self._labels[place] or label in self._labels[place]

    def _class_name(self, label: int) -> str:
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)

    def _meet(self, track_id: int, label: int, away: float) -> _Identity:
        """The identity, now seen; begins or goes on with what is known of it."""
        identity = self._known.get(track_id)
        if identity is None:
            identity = self._known[track_id] = _Identity(self._now, self._now, label)
            if not away:
                identity.waiting.append(self._event("appeared", self._now, track_id, identity))
        if away:
            identity.waiting.append(
                self._event("returned", self._now, track_id, identity, seconds=away)
            )
        identity.last, identity.label = self._now, label
        return identity

    def _visit(
        self, track_id: int, identity: _Identity, name: str, inside: bool
    ) -> Iterator[Event]:
        """What a zone tells of an identity."""
        visit = identity.visits.setdefault(name, _Visit())
        began = visit.inside.see(inside, self._now, self.rules.settle)
        if began is not None and inside:
            visit.since, visit.stayed = began, False
            yield self._event("entered", began, track_id, identity, place=name)
        elif began is not None:
            yield self._leave(track_id, identity, name, began)
        stay = self.rules.zones[name].stay
        if visit.since is not None and stay is not None and not visit.stayed:
            seconds = self._now.timestamp - visit.since.timestamp
            if inside and seconds >= stay:
                visit.stayed = True
                yield self._event(
                    "stayed", self._now, track_id, identity, place=name, seconds=seconds
                )

    def _leave(self, track_id: int, identity: _Identity, name: str, when: Moment) -> Event:
        visit = identity.visits[name]
        assert visit.since is not None
        seconds, visit.since = when.timestamp - visit.since.timestamp, None
        return self._event("left", when, track_id, identity, place=name, seconds=seconds)

    def _pass(
        self, track_id: int, identity: _Identity, name: str, point: geometry.Point
    ) -> Iterator[Event]:
        """What a line tells of an identity."""
        line = self.rules.lines[name]
        now = geometry.side(line.begin, line.end, point)
        passage = identity.passages.get(name)
        if passage is None:
            identity.passages[name] = _Passage(Settled(now), point)
            return
        if geometry.meets(line.begin, line.end, passage.point, point):
            passage.through = True
        passage.point = point
        began = passage.side.see(now, self._now, self.rules.settle)
        if began is not None and passage.through:
            word = line.directions[0 if now > 0 else 1]
            yield self._event("crossed", began, track_id, identity, place=name, direction=word)
        if began is not None or now == passage.side.value:
            passage.through = False

    def _speak(self, identity: _Identity) -> list[Event]:
        """The identity's waiting events, once it has lasted."""
        lasted = self._now.timestamp - identity.first.timestamp >= self.rules.lasting
        identity.told = identity.told or lasted
        if not identity.told:
            return []
        events, identity.waiting = identity.waiting, []
        name = self._class_name(identity.label)
        for event in events:
            if event.kind == "entered":
                self._visits[event.place][name] += 1
            elif event.kind == "crossed":
                self._crossed[event.place, event.direction][name] += 1
        return [dataclasses.replace(event, class_name=name) for event in events]

    def _forget(self) -> list[Event]:
        """Those who were not seen for too long have vanished."""
        oldest = self._now.timestamp - self.rules.gone_after
        gone = [i for i, known in self._known.items() if known.last.timestamp < oldest]
        return [event for track_id in gone for event in self._vanish(track_id)]

    def _vanish(self, track_id: int) -> list[Event]:
        identity = self._known.pop(track_id)
        for name, visit in identity.visits.items():
            if visit.inside.value:
                identity.waiting.append(self._leave(track_id, identity, name, identity.last))
        identity.waiting.append(self._event("vanished", identity.last, track_id, identity))
        return self._speak(identity) if identity.told else []

    def _crowding(self) -> Iterator[Event]:
        """What zones tell of their counts."""
        for name, zone in self.rules.zones.items():
            if zone.more_than is None:
                continue
            inside = sum(
                known.told and name in known.visits and known.visits[name].inside.value
                for known in self._known.values()
            )
            began = self._crowds[name].see(inside > zone.more_than, self._now, self.rules.settle)
            if began is not None:
                kind: Kind = "crowded" if inside > zone.more_than else "cleared"
                yield Event(kind, *began, place=name, count=inside)

    def _event(
        self,
        kind: Kind,
        when: Moment,
        track_id: int,
        identity: _Identity,
        **about: Any,
    ) -> Event:
        name = self._class_name(identity.label)
        return Event(kind, *when, track_id=track_id, class_name=name, **about)

    def _numbered(self, events: list[Event]) -> list[Event]:
        events = sorted(events, key=lambda event: event.timestamp)
        first, self._number = self._number, self._number + len(events)
        return [dataclasses.replace(event, number=first + k) for k, event in enumerate(events)]


def _points(line: Line, masks: CompactMasks) -> list[geometry.Point]:
    """The point of each object that crosses the line."""
    found = geometry.feet(masks) if line.when == "foot" else geometry.centres(masks)
    return [(x, y) for x, y in found.tolist()]
