"""What zones and lines have counted at one moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sipvideo.events.rules import Rules


@dataclass(frozen=True)
class ZoneCount:
    """What a zone has counted: class name -> objects inside now, and visits so far."""

    inside: dict[str, int]
    visits: dict[str, int]


@dataclass(frozen=True)
class LineCount:
    """What a line has counted: direction -> class name -> crossings so far."""

    crossed: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Counts:
    """What all places of a watch have counted at one moment."""

    rules: Rules
    zones: dict[str, ZoneCount]
    lines: dict[str, LineCount]

    def record(self) -> dict[str, Any]:
        """As plain values for JSON, without the rules."""
        return {
            "zones": {name: dataclasses.asdict(count) for name, count in self.zones.items()},
            "lines": {name: count.crossed for name, count in self.lines.items()},
        }
