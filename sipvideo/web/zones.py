"""Zones and lines that visitors draw: what is taken of them, and where those of the server's sources are kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sipvideo.errors import ConfigError, SipVideoError
from sipvideo.events import EventWatch, Rules, load_rules, rules_from_values, rules_text
from sipvideo.live.recording import file_name

MOST_PLACES = 50
"""Zones and lines of one picture."""
LONGEST_NAME = 60
LONGEST_MEMORY = 60.0
"""Seconds that a visitor may have somebody out of sight be remembered for."""
LONGEST_TEXT = 64_000
"""Bytes of all of them as JSON."""
MOST_TRIALS = 8
"""Visitors who try zones of their own on one source at once."""


def drawn_rules(values: Any, class_names: Sequence[str]) -> Rules:
    """The rules that a visitor sent, which may be none.

    Raises:
        ConfigError: what is wrong with them, in one line.
    """
    if not isinstance(values, dict):
        raise ConfigError("zones: expected an object with zones and lines")
    places = [values.get(kind) or {} for kind in ("zones", "lines")]
    if all(isinstance(part, dict) and not part for part in places):
        return Rules()
    rules = rules_from_values(values, "zones", class_names)
    if len(rules.places) > MOST_PLACES:
        raise ConfigError(f"zones: expected {MOST_PLACES} zones and lines at most")
    if rules.gone_after > LONGEST_MEMORY:
        raise ConfigError(f"zones: gone_after: expected {LONGEST_MEMORY:g} seconds at most")
    words = [word for line in rules.lines.values() for word in line.directions]
    for name in (*rules.places, *words):
        if len(name) > LONGEST_NAME or not name.isprintable():
            raise ConfigError(f"zones: {name[:20]!r}...: expected a name of one short line")
    return rules


def read_drawn_rules(text: str, class_names: Sequence[str]) -> Rules:
    """The same from JSON. Raises ConfigError."""
    if len(text) > LONGEST_TEXT:
        raise ConfigError(f"zones: expected {LONGEST_TEXT} bytes at most")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError("zones: expected JSON") from error
    return drawn_rules(values, class_names)


def as_values(rules: Rules) -> dict[str, Any]:
    """Rules as plain values for JSON, the form of :func:`drawn_rules`."""
    return rules.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class KeptZones:
    """The zones that were drawn for the server's sources, a YAML file each.

    Args:
        folder: where the files are.

    Attributes:
        turn: held while somebody's zones are written and come into force, so that of two changes at once the later one
            is kept, and is the one that counts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.turn = asyncio.Lock()

    def path(self, source: str) -> Path:
        """The file of a source of this name."""
        # Names that differ in signs alone must not share a file.
        mark = hashlib.sha256(source.encode()).hexdigest()[:8]
        return self.folder / f"{file_name(source)}-{mark}.yaml"

    def read(self, source: str, class_names: Sequence[str]) -> Rules | None:
        """What was drawn for a source last, by this server or one before; None: nothing ever was.

        Raises:
            ConfigError: the file cannot be read, or holds something else.
        """
        path = self.path(source)
        if not path.exists():
            return None
        if path.is_file() and not path.stat().st_size:
            return Rules()  # all zones were removed
        return load_rules(path, class_names)

    def write(self, source: str, rules: Rules) -> None:
        """Keeps what was drawn. Raises SipVideoError: the disk does not take it."""
        path = self.path(source)
        new = path.with_suffix(".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            new.write_text(rules_text(rules) if rules.places else "", encoding="utf-8")
            os.replace(new, path)
        except OSError as error:
            raise SipVideoError(f"zones: they cannot be kept: {error.strerror}") from error


class Trials:
    """Zones that visitors try on one source, each for themselves."""

    def __init__(self) -> None:
        self._watches: dict[object, EventWatch] = {}

    @property
    def watches(self) -> list[EventWatch]:
        """All of them, for whoever has results."""
        return list(self._watches.values())

    def set(self, visitor: object, rules: Rules, class_names: Sequence[str]) -> EventWatch:
        """The visitor's rules from now on.

        Raises:
            SipVideoError: as many visitors as the server takes are trying zones.
        """
        watch = self._watches.get(visitor)
        if watch is not None:
            watch.change(rules)
            return watch
        if len(self._watches) >= MOST_TRIALS:
            raise SipVideoError(
                f"zones: {MOST_TRIALS} visitors are trying zones on this source: try again later"
            )
        watch = self._watches[visitor] = EventWatch(rules, class_names)
        return watch

    def end(self, visitor: object) -> None:
        """The visitor has left, or tries nothing any more."""
        self._watches.pop(visitor, None)
