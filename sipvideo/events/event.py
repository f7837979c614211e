"""One thing that happened."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

Kind = Literal[
    "appeared",
    "vanished",
    "returned",
    "entered",
    "left",
    "stayed",
    "crossed",
    "crowded",
    "cleared",
]
KINDS: tuple[str, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that an object did, or that a zone counted. Fields that do not belong to the kind are empty.

    Attributes:
        kind: "appeared", "vanished", "returned": an identity; "entered", "left", "stayed": an identity and a zone;
            "crossed": an identity and a line; "crowded", "cleared": a zone holds more objects than allowed, or no
            longer.
        timestamp: when it happened, seconds on the source's clock. It is told later, once it has lasted.
        frame: index of the frame with that timestamp.
        number: 0, 1, 2, ... within the run, in the order of telling: with the run it names the event for good.
        track_id: the identity, -1 for events of a zone.
        class_name: of the identity when the event was told.
        place: name of the zone or line.
        direction: of a crossing: the line's word for it.
        seconds: stayed: how long it has been inside; left: how long it was; returned: how long it was away.
        count: crowded, cleared: objects inside.
    """

    kind: Kind
    timestamp: float
    frame: int
    number: int = -1
    track_id: int = -1
    class_name: str = ""
    place: str = ""
    direction: str = ""
    seconds: float | None = None
    count: int | None = None

    def record(self) -> dict[str, Any]:
        """As plain values for JSON; what does not belong to the kind is left out."""
        given = dataclasses.asdict(self)
        if self.track_id < 0:
            del given["track_id"]
        return {key: value for key, value in given.items() if value not in ("", None)}
