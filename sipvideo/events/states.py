"""What is known of the identities of a video: where each is, and since when."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from sipvideo.events import geometry
from sipvideo.events.event import Event

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
class Visit:
    """An identity and a zone."""

    inside: Settled[bool] = field(default_factory=lambda: Settled(False))
    since: Moment | None = None
    stayed: bool = False
    told: bool = False
    """Whether its beginning was told, so that its end will be."""


@dataclass
class Passage:
    """An identity and a line: the side it is on, and whether its way to the other side led through the line."""

    side: Settled[int]
    point: geometry.Point
    through: bool = False


@dataclass
class Identity:
    """What is known of an identity."""

    first: Moment
    last: Moment
    label: int
    told: bool = False
    away: float = 0.0
    """As the frame before told it: the tracker marks a return for a while, and it is told once."""
    visits: dict[str, Visit] = field(default_factory=dict)
    passages: dict[str, Passage] = field(default_factory=dict)
    waiting: list[Event] = field(default_factory=list)
    """Events that are told once the identity has lasted."""


@dataclass
class Memory:
    """All that a watch carries from frame to frame."""

    known: dict[int, Identity]
    crowds: dict[str, Settled[bool]]
    visits: dict[str, Counter[str]]
    crossed: list[tuple[str, str, Counter[str]]]
    number: int
    now: Moment
    part: int = 0
