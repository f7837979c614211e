"""Zones and lines in a small YAML file, strictly checked.

    zones:
      queue: {polygon: [[0.1, 0.4], [0.5, 0.4], [0.5, 1], [0.1, 1]], classes: [person], stay: 30, more_than: 5}
    lines:
      door: {from: [0.3, 0.9], to: [0.7, 0.9], directions: [in, out]}

Points are parts of the picture: x from 0 (left) to 1 (right), y from 0 (top) to 1 (bottom).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, model_validator

from sipvideo.classes import labels_of
from sipvideo.config import Section, section_from_values
from sipvideo.errors import ConfigError
from sipvideo.yaml_files import yaml_mapping

Part = Annotated[float, Field(ge=0, le=1)]
Point = tuple[Part, Part]
Seconds = Annotated[float, Field(gt=0, le=86400)]
ClipSeconds = Annotated[
    float,
    BeforeValidator(
        lambda value: value.strip().removesuffix("s") if isinstance(value, str) else value
    ),
    Field(ge=0, le=60),
]
"""Length of a clip: 4, or "4s"."""
SMALLEST = 1e-6
"""Least area of a zone and length of a line, in parts of the picture: anything smaller is a mistake."""


class Place(Section):
    """Something in the picture that objects meet."""

    classes: tuple[str | int, ...] = ()
    """Only objects of these count; empty: all."""
    picture: bool | None = None
    """Whether a picture of each of its events is kept; None: as the rules say for all."""
    clip: ClipSeconds | None = None
    """Seconds of a clip of each of its events, half of them before it; 0: none, None: as the rules say for all."""


class Zone(Place):
    """A polygon that objects are in or not."""

    polygon: tuple[Point, ...] = Field(min_length=3, max_length=200)
    when: Literal["foot", "touch", "share"] = "foot"
    """What makes an object be inside: its foot (middle of the mask's lowest rows), any pixel of its mask, or at
    least ``share`` of it."""
    share: float = Field(default=0.5, gt=0, le=1)
    stay: Seconds | None = None
    """Seconds inside after which "stayed" is told, once a visit."""
    more_than: int | None = Field(default=None, ge=0)
    """Number of objects above which "crowded" is told."""

    @model_validator(mode="after")
    def _has_an_area(self) -> Zone:
        following = (*self.polygon[1:], self.polygon[0])
        doubled = sum(
            x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(self.polygon, following, strict=True)
        )
        if abs(doubled) / 2 < SMALLEST:
            raise ValueError("polygon: it has no area")
        return self


class Line(Place):
    """A directed line that objects cross."""

    begin: Point = Field(alias="from")
    end: Point = Field(alias="to")
    when: Literal["foot", "centre"] = "foot"
    """The point of an object that has to cross: its foot, or the middle of its mask's window."""
    directions: tuple[str, str] = ("forward", "backward")
    """Words for a crossing from the line's left to its right, as seen from ``from`` towards ``to``, and for the way
    back. (On a line from left to right, forward is downwards in the picture.)"""

    @model_validator(mode="after")
    def _has_a_length(self) -> Line:
        (x0, y0), (x1, y1) = self.begin, self.end
        if (x1 - x0) ** 2 + (y1 - y0) ** 2 < SMALLEST:
            raise ValueError("from, to: the line has no length")
        if self.directions[0] == self.directions[1] or "" in self.directions:
            raise ValueError("directions: expected two different words")
        return self


class Rules(Section):
    """What a run watches for. All times are seconds, so that a file and a camera tell the same."""

    zones: dict[str, Zone] = Field(default_factory=dict)
    lines: dict[str, Line] = Field(default_factory=dict)
    settle: float = Field(default=0.3, ge=0, le=60)
    """A change that does not last so long did not happen: who sways on a border neither enters nor leaves."""
    lasting: float = Field(default=0.5, ge=0, le=60)
    """Identities that were known for less time tell nothing: most of them are false alarms."""
    gone_after: Seconds = 2.0
    """An identity that was not seen for so long has vanished, and left its zones when it was last seen."""
    picture: bool = False
    """Whether a picture of every event is kept."""
    clip: ClipSeconds = 0.0
    """Seconds of a clip of every event, half of them before it; 0: none."""

    @property
    def places(self) -> dict[str, Place]:
        """Zones and lines by name."""
        return {**self.zones, **self.lines}

    @model_validator(mode="after")
    def _names_are_unique(self) -> Rules:
        if both := sorted(self.zones.keys() & self.lines.keys()):
            raise ValueError(f"{both[0]}: is a zone and a line; one name, one place")
        if empty := [name for name in (*self.zones, *self.lines) if not name.strip()]:
            raise ValueError(f"zones, lines: {empty[0]!r} is no name")
        return self


def load_rules(path: str | Path, class_names: Sequence[str]) -> Rules:
    """Reads zones and lines from a YAML file.

    Args:
        path: the file.
        class_names: of the model, in label order; classes of zones are checked against them.

    Raises:
        ConfigError: unreadable, unknown key or class (with the nearest known one), a point outside of the picture, a
            polygon without area, a line without length.
    """
    values = yaml_mapping(Path(path), "the zones", "zones and lines")
    return rules_from_values(values, str(path), class_names)


def rules_from_values(values: dict[str, Any], where: str, class_names: Sequence[str]) -> Rules:
    """Checks plain values, as from YAML or from the page; ``where`` names them in errors. Raises ConfigError."""
    rules = section_from_values(Rules, values, where)
    if not rules.zones and not rules.lines:
        raise ConfigError(f"{where}: expected zones or lines, there are none")
    for name, place in rules.places.items():
        labels_of(place.classes, class_names, f"{where}: {name}: ")
    return rules


def rules_text(rules: Rules) -> str:
    """The YAML that :func:`load_rules` reads as these rules."""
    values = rules.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text: str = yaml.safe_dump(
        values, default_flow_style=None, sort_keys=False, allow_unicode=True, width=120
    )
    return text
