"""Identities decided anew with what came later: tracklets joined, parted and dropped."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from sipvideo.config import RepairConfig
from sipvideo.repair.changes import Change
from sipvideo.structures import FloatArray, FrameResult, IntArray
from sipvideo.tracker.joining import Link, join
from sipvideo.tracker.similarity import unit
from sipvideo.tracker.tracklets import Tracklet, Tracklets

FEW_TRACKLETS = 3
"""Number of tracklets from which their mean look is believed to be common to all."""
SHORTER = 0.13
"""How much more the best score of an identity must be that is seen for no time than of one seen for long."""
MOSTLY = 0.5
"""Share of its sightings above which an identity counts as covered by another."""


@dataclass(eq=False)
class Identity:
    """One object as it is told from now on.

    Attributes:
        track_id: its identity; -1: dropped.
        tracklets: that show it, so far.
    """

    track_id: int
    tracklets: list[Tracklet] = field(default_factory=list)

    @property
    def label(self) -> int:
        """The label with most votes."""
        votes = Counter[int]()
        for tracklet in self.tracklets:
            votes.update(tracklet.votes)
        return max(votes, key=votes.__getitem__)


@dataclass(frozen=True, eq=False)
class Settled:
    """A tracklet, and whom it shows."""

    tracklet: Tracklet
    identity: Identity


class Identities:
    """Decides who is who, tracklet by tracklet; what is settled once does not change any more.

    ``observe`` takes frames as they come, ``relabel`` gives them back in the same order with the identities that
    fit all that was observed by then. Memory is bounded by what began or ended within ``join_seconds``.

    Args:
        config: what is joined and dropped.
        changed: called with every change.
        ahead: seconds between ``observe`` and ``relabel`` of a frame, if there is a limit.
    """

    def __init__(
        self, config: RepairConfig, changed: Callable[[Change], None], ahead: float = math.inf
    ) -> None:
        self.config = config
        # What has just begun cannot have been seen for longer than is looked ahead.
        self._ghost_seconds = min(config.ghost_seconds, ahead / 2)
        self._changed = changed
        self._tracklets = Tracklets()
        self._numbers: deque[IntArray] = deque()
        self._settled: dict[int, Settled] = {}
        self._open: dict[int, Tracklet] = {}
        self._links: dict[int, Link] | None = None
        self._used: set[int] = set()
        self._next_id = 0
        self.waiting: deque[FrameResult] = deque()

    def observe(self, result: FrameResult) -> None:
        """The next frame."""
        self._numbers.append(self._tracklets.observe(result))
        self._next_id = max(self._next_id, int(result.track_ids.max(initial=-1)) + 1)
        self._links = None

    def relabel(self, result: FrameResult) -> FrameResult:
        """The oldest observed frame that was not given back yet, with its identities and classes."""
        numbers = self._numbers.popleft()
        self._settle(int(numbers.max(initial=-1)), result.frame.timestamp)
        track_ids, labels = result.track_ids.copy(), result.detections.labels.copy()
        for k, number in enumerate(numbers.tolist()):
            if number >= 0:
                identity = self._settled[number].identity
                track_ids[k] = identity.track_id
                if identity.track_id >= 0:
                    labels[k] = identity.label
        detections = replace(result.detections, labels=labels)
        return replace(result, detections=detections, track_ids=track_ids)

    def delayed(
        self, results: Iterable[FrameResult], seconds: float
    ) -> Generator[FrameResult, None, None]:
        """Every frame, once ``seconds`` more have been seen."""
        waiting = self.waiting

        def due() -> bool:
            return waiting[-1].frame.timestamp - waiting[0].frame.timestamp >= seconds

        while waiting and due():  # where a run goes on
            yield self.relabel(waiting.popleft())
        for result in results:
            self.observe(result)
            waiting.append(result)
            while due():
                yield self.relabel(waiting.popleft())
        while waiting:
            yield self.relabel(waiting.popleft())

    def state(self) -> dict[str, Any]:
        """All that is known of the frames so far but for those that wait: see :meth:`restore`."""
        settled = self._settled.values()
        identities = list({id(one.identity): one.identity for one in settled}.values())
        numbers = {id(one): k for k, one in enumerate(identities)}
        live = [*(s.tracklet for s in settled), *self._open.values()]
        ended = [tracklet for one in identities for tracklet in one.tracklets]
        return {
            "tracklets": self._tracklets.state(live, ended),
            "numbers": list(self._numbers),
            "identities": [[i.track_id, [t.number for t in i.tracklets]] for i in identities],
            "settled": [
                [k, s.tracklet.number, numbers[id(s.identity)]] for k, s in self._settled.items()
            ],
            "open": list(self._open),
            "links": None if self._links is None else [asdict(k) for k in self._links.values()],
            "used": sorted(self._used),
            "next_id": self._next_id,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where another one with the same settings was. Raises LookupError, TypeError, ValueError."""
        known = self._tracklets.restore(state["tracklets"])
        self._numbers = deque(state["numbers"])
        identities = [Identity(i, [known[k] for k in ks]) for i, ks in state["identities"]]
        self._settled = {k: Settled(known[t], identities[i]) for k, t, i in state["settled"]}
        self._open = {k: known[k] for k in state["open"]}
        links = state["links"]
        self._links = None if links is None else {k["later"]: Link(**k) for k in links}
        self._used, self._next_id = set(state["used"]), state["next_id"]

    def _settle(self, number: int, now: float) -> None:
        """Decides about all tracklets up to a number, the last one that a frame at ``now`` shows."""
        begun = self._tracklets.begun
        if not begun or begun[0].number > number:
            return
        self._forget(begun[0].begin - self.config.join_seconds)
        if self._links is None:
            candidates = [*self._open.values(), *begun]
            links = join(candidates, list(begun), _common(candidates), self.config)
            self._links = {link.later: link for link in links if link.chosen}
        while begun and begun[0].number <= number:
            tracklet = begun.popleft()
            link = self._links.get(tracklet.number)
            earlier = self._settled.get(link.earlier) if link else None
            if link is None or earlier is None or earlier.identity.track_id < 0:
                identity = self._begin([tracklet, *self._followers(tracklet)])
            else:
                identity = earlier.identity
                self._open.pop(link.earlier, None)
                self._tell_link(earlier, tracklet, link)
            self._settled[tracklet.number] = Settled(tracklet, identity)
            identity.tracklets.append(tracklet)
            if identity.track_id >= 0:
                self._open[tracklet.number] = tracklet

    def _followers(self, tracklet: Tracklet) -> list[Tracklet]:
        """What a tracklet will be joined to as far as is known now."""
        assert self._links is not None
        later = {link.earlier: link.later for link in self._links.values()}
        by_number = {t.number: t for t in self._tracklets.begun}
        found, number = [], tracklet.number
        while (number := later.get(number, -1)) in by_number:
            found.append(by_number[number])
        return found

    def _begin(self, chain: Sequence[Tracklet]) -> Identity:
        """A new identity, or none where the tracklets do not show an object."""
        first = chain[0]
        why = self._ghost(chain)
        if why:
            end = max(t.end for t in chain)
            self._changed(Change("dropped", first.track_id, None, first.begin, end, why))
            return Identity(-1)
        track_id = first.track_id
        if track_id in self._used:
            track_id = self._next_id
            why = "nothing ties it to what had this identity before"
            change = Change("parted", first.track_id, track_id, first.begin, chain[-1].end, why)
            self._changed(change)
        self._used.add(track_id)
        self._next_id = max(self._next_id, track_id + 1)
        return Identity(track_id)

    def _ghost(self, chain: Sequence[Tracklet]) -> str:
        """Why some tracklets together are taken for no object; empty: they are one."""
        config = self.config
        seconds, best = sum(t.seconds for t in chain), max(t.best_score for t in chain)
        share = min(seconds / config.ghost_seconds, 1.0) if config.ghost_seconds else 1.0
        if best >= config.ghost_score + SHORTER * (1 - share):
            return ""
        about = f"seen for {seconds:.2f} s in all, best score {best:.2f}"
        if seconds < self._ghost_seconds:
            return about
        covered = Counter[int]()
        for tracklet in chain:
            covered.update(tracklet.covered_by)
        if seconds < config.copy_seconds and covered.total() > MOSTLY * sum(t.hits for t in chain):
            return f"{about}, mostly inside id {covered.most_common(1)[0][0]}"
        return ""

    def _tell_link(self, earlier: Settled, tracklet: Tracklet, link: Link) -> None:
        """Says what a join changes: an identity, or one that would have been parted otherwise."""
        identity = earlier.identity
        if identity.track_id == tracklet.track_id:
            return
        away = tracklet.begin - earlier.tracklet.end
        looks = f", likeness {link.cues['likeness']:.2f}" if "likeness" in link.cues else ""
        why = f"away for {away:.2f} s{looks}, log odds {link.odds:.1f}"
        cues = {name: round(value, 4) for name, value in link.cues.items()}
        ends = tracklet.begin, tracklet.end
        self._changed(
            Change(
                "joined",
                tracklet.track_id,
                identity.track_id,
                *ends,
                why,
                cues | {"odds": round(link.odds, 4)},
            )
        )

    def _forget(self, oldest: float) -> None:
        """Drops what ended too long ago to be joined to anything."""
        self._open = {k: t for k, t in self._open.items() if t.end >= oldest}
        self._settled = {k: s for k, s in self._settled.items() if s.tracklet.end >= oldest}


def _common(tracklets: Sequence[Tracklet]) -> FloatArray:
    """What the looks of all have in common, float32 [E]; few are not enough to tell."""
    looks = unit(np.array([t.look for t in tracklets], np.float32))
    return np.asarray(looks.sum(0) / np.float32(len(looks) + FEW_TRACKLETS), np.float32)
