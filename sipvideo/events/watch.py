"""Turns results into events, with a memory of who is where.

Every state that an object can change (inside a zone, the side of a line) is a :class:`Settled`: it changes only when
the new value has lasted, and then the change has the time at which it began. So an event is told a little later than
it happened, and tells when that was. Everything is in seconds of the source: frames that were dropped change nothing.
"""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter

from sipvideo.classes import labels_of
from sipvideo.events import geometry
from sipvideo.events.counts import Counts, LineCount, ZoneCount
from sipvideo.events.event import Event, Kind
from sipvideo.events.rules import Line, Rules, Zone
from sipvideo.events.states import Identity, Memory, Moment, Passage, Settled, Visit
from sipvideo.masks import CompactMasks
from sipvideo.structures import FrameResult

RECENT = 2.0
"""Seconds after which a crossing is no longer told if its object turns out to be of a class that counts."""


class EventWatch:
    """Watches one video. Results come from one thread; all else may be called from any.

    Args:
        rules: zones and lines; without any, identities alone tell.
        class_names: in label order.
    """

    def __init__(self, rules: Rules, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        self._turn = threading.Lock()
        self._set_rules(rules)
        self.reset()

    @property
    def rules(self) -> Rules:
        """Zones and lines of now."""
        return self._rules

    def _set_rules(self, rules: Rules) -> None:
        self._rules = rules
        self._labels = {
            name: labels_of(place.classes, self.class_names) for name, place in rules.places.items()
        }

    def reset(self) -> None:
        """Begins a new video: nobody is known, and all counts are 0."""
        self._part = 0
        self._known: dict[int, Identity] = {}
        self._crowds: dict[str, Settled[bool]] = {}
        self._visits: dict[str, Counter[str]] = {}
        self._crossed: dict[tuple[str, str], Counter[str]] = {}
        self._count_from(frozenset())
        self._areas: dict[str, CompactMasks] = {}
        self._frame_size = (0, 0)
        self._number = 0
        self._now = Moment(-math.inf, -1)

    def forget(self) -> None:
        """Identities begin anew, and what is counted goes on."""
        with self._turn:
            self._known.clear()

    def state(self) -> dict[str, Any]:
        """All that is known of the video so far, as plain values: see :meth:`restore`."""
        with self._turn:
            crossed = [(*key, counts) for key, counts in self._crossed.items()]
            counters = self._crowds, self._visits, crossed
            memory = Memory(self._known, *counters, self._number, self._now, self._part)
            state: dict[str, Any] = TypeAdapter(Memory).dump_python(memory)
            return state

    def restore(self, state: Any) -> None:
        """Goes on where another watch with the same rules was.

        Raises:
            ValueError: this is no state.
        """
        self.reset()
        memory = TypeAdapter(Memory).validate_python(state)
        self._known, self._crowds, self._visits = memory.known, memory.crowds, memory.visits
        self._crossed = {(name, word): counts for name, word, counts in memory.crossed}
        self._number, self._now, self._part = memory.number, memory.now, memory.part

    def change(self, rules: Rules) -> None:
        """Watches for other rules from now on. What places have counted that stay the same, stays."""
        with self._turn:
            before, now = self._rules.places, rules.places
            same = frozenset(name for name in now if now[name] == before.get(name))
            self._set_rules(rules)
            self._count_from(same)
            self._frame_size = (0, 0)  # zones are drawn anew
            for identity in self._known.values():
                for memory in (identity.visits, identity.passages):
                    for name in memory.keys() - same:
                        del memory[name]
                identity.waiting = [e for e in identity.waiting if not e.place or e.place in same]

    def _count_from(self, same: frozenset[str]) -> None:
        """Counters of all places: those of ``same`` go on, others begin."""
        crowds, visits, crossed = self._crowds, self._visits, self._crossed
        zones, lines = self._rules.zones, self._rules.lines
        self._crowds = {n: crowds[n] if n in same else Settled(False) for n in zones}
        self._visits = {n: visits[n] if n in same else Counter() for n in zones}
        self._crossed = {
            (n, word): crossed[n, word] if n in same else Counter()
            for n, line in lines.items()
            for word in line.directions
        }

    def update(self, result: FrameResult) -> list[Event]:
        """The events that the next frame's result settles, in the order in which they happened.

        A step back of the clock counts as no time. With a new part of the stream identities start anew.
        """
        with self._turn:
            return self._update(result.tracked())

    def _update(self, result: FrameResult) -> list[Event]:
        events: list[Event] = []
        if result.frame.part != self._part:
            self._part = result.frame.part
            events += [event for track_id in list(self._known) for event in self._vanish(track_id)]
        self._now = Moment(max(result.frame.timestamp, self._now.timestamp), result.frame.index)
        self._draw_zones(result.frame.size)
        masks = result.detections.masks
        inside = {name: self._inside(zone, name, masks) for name, zone in self.rules.zones.items()}
        points = {name: _points(line, masks) for name, line in self.rules.lines.items()}
        labels = result.detections.labels.tolist()
        for k, track_id in enumerate(result.track_ids.tolist()):
            identity = self._meet(track_id, labels[k], result.seconds_away(k))
            # Whatever its class: that may still turn out to be one that counts.
            for name, found in inside.items():
                identity.waiting += self._visit(track_id, identity, name, found[k])
            for name, places in points.items():
                identity.waiting += self._pass(track_id, identity, name, places[k])
            events += self._speak(identity)
        events += self._forget()
        events += self._crowding()
        return self._numbered(events)

    def finish(self) -> list[Event]:
        """The events of those who were out of sight when the video ended. What had not settled did not happen."""
        with self._turn:
            now, settle = self._now.timestamp, self.rules.settle
            gone = [i for i, known in self._known.items() if now - known.last.timestamp > settle]
            return self._numbered([event for i in gone for event in self._vanish(i)])

    def counts(self) -> Counts:
        """What all places have counted by now, of identities that lasted."""
        with self._turn:
            return Counts(self._rules, self._zones(), self._lines())

    def zones(self) -> dict[str, ZoneCount]:
        """What each zone has counted."""
        return self.counts().zones

    def lines(self) -> dict[str, LineCount]:
        """What each line has counted."""
        return self.counts().lines

    def _zones(self) -> dict[str, ZoneCount]:
        inside: dict[str, Counter[str]] = {name: Counter() for name in self.rules.zones}
        for identity in self._known.values():
            for name, visit in identity.visits.items():
                if visit.told:
                    inside[name][self._class_name(identity.label)] += 1
        return {
            name: ZoneCount(dict(counts), dict(self._visits[name]))
            for name, counts in inside.items()
        }

    def _lines(self) -> dict[str, LineCount]:
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

    def _meet(self, track_id: int, label: int, away: float) -> Identity:
        """The identity, now seen; begins or goes on with what is known of it."""
        identity = self._known.get(track_id)
        if identity is None:
            identity = self._known[track_id] = Identity(self._now, self._now, label)
            if not away:
                identity.waiting.append(self._event("appeared", self._now, track_id, identity))
        # The tracker marks a return for a while; two in a row may have been of the same length.
        gap = self._now.timestamp - identity.last.timestamp
        if away and (away != identity.away or abs(gap - away) < 0.01):
            identity.waiting.append(
                self._event("returned", self._now, track_id, identity, seconds=away)
            )
        identity.last, identity.label, identity.away = self._now, label, away
        return identity

    def _visit(self, track_id: int, identity: Identity, name: str, inside: bool) -> Iterator[Event]:
        """What a zone tells of an identity."""
        visit = identity.visits.setdefault(name, Visit())
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

    def _leave(self, track_id: int, identity: Identity, name: str, when: Moment) -> Event:
        visit = identity.visits[name]
        assert visit.since is not None
        seconds, visit.since = when.timestamp - visit.since.timestamp, None
        return self._event("left", when, track_id, identity, place=name, seconds=seconds)

    def _pass(
        self, track_id: int, identity: Identity, name: str, point: geometry.Point
    ) -> Iterator[Event]:
        """What a line tells of an identity."""
        line = self.rules.lines[name]
        now = geometry.side(line.begin, line.end, point)
        passage = identity.passages.get(name)
        if passage is None:
            identity.passages[name] = Passage(Settled(now), point)
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

    def _speak(self, identity: Identity) -> list[Event]:
        """The identity's waiting events, once it has lasted."""
        lasted = self._now.timestamp - identity.first.timestamp >= self.rules.lasting
        identity.told = identity.told or lasted
        if not identity.told:
            return []
        waiting, identity.waiting = identity.waiting, []
        events = [event for event in waiting if self._is_told(event, identity)]
        name = self._class_name(identity.label)
        for event in events:
            if event.kind == "entered":
                self._visits[event.place][name] += 1
            elif event.kind == "crossed":
                self._crossed[event.place, event.direction][name] += 1
        return [dataclasses.replace(event, class_name=name) for event in events]

    def _is_told(self, event: Event, identity: Identity) -> bool:
        """Whether an event is of a class that its place counts; what may still turn out so goes on waiting."""
        visit = identity.visits.get(event.place)
        ends = event.kind in ("left", "stayed") and visit is not None and visit.told
        told = not event.place or self._counts(event.place, identity.label) or ends
        if told and visit is not None and event.kind in ("entered", "left"):
            visit.told = event.kind == "entered"
        elif not told and event.kind == "left":
            identity.waiting = [e for e in identity.waiting if e.place != event.place]
        elif not told and (
            event.kind != "crossed" or event.timestamp >= self._now.timestamp - RECENT
        ):
            identity.waiting.append(event)
        return told

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
                name in known.visits and known.visits[name].told for known in self._known.values()
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
        identity: Identity,
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
