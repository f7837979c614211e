"""What a repair changed, one entry each, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["joined", "parted", "dropped", "filled"]


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        kind: ``joined``: ``was`` goes on as ``track_id``; ``parted``: from here on ``was`` was another object, which is
            ``track_id`` now; ``dropped``: ``was`` has no identity any more; ``filled``: ``track_id`` was put into
            frames where it had been missed.
        was: identity in the run.
        track_id: identity now; None where it was dropped.
        begin, end: seconds on the source's clock between which frames changed.
        why: the reason in words.
        cues: the numbers behind it.
    """

    kind: Kind
    was: int
    track_id: int | None
    begin: float
    end: float
    why: str
    cues: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        when = (
            f"{self.begin:.2f} s"
            if self.end == self.begin
            else f"{self.begin:.2f}-{self.end:.2f} s"
        )
        what = {
            "joined": f"id {self.was} is id {self.track_id}",
            "parted": f"id {self.was} is another object from here on, id {self.track_id}",
            "dropped": f"id {self.was} dropped",
            "filled": f"id {self.track_id} filled in",
        }[self.kind]
        return f"{when}: {what}: {self.why}"

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
