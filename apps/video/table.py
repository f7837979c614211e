"""What became of each input, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sipvideo.files import is_pattern
from sipvideo.summary import Summary

MOST = 100
"""Rows of a table that somebody reads; of more inputs there is a line with their number."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a summary, where its results are, and "kept" for what --resume passed over."""

    summary: Summary
    output: Path | str | None
    kept: str = ""

    @property
    def state(self) -> str:
        """How it ended."""
        return self.kept or self.summary.state


def shown_input(text: str) -> str:
    """An input in the table: the name of a file, a whole pattern, since others may end alike."""
    if "://" in text:
        return text.partition("?")[0].rstrip("/").rpartition("/")[2] or text
    return text if is_pattern(text) else Path(text).name or text


class Table:
    """Rows as they come; of many only how many there are of each state.

    Args:
        where: what tells the rest, for people.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._rows: dict[str, Row] = {}
        self._places: dict[str, int] = {}
        self.counts: Counter[str] = Counter()

    def expect(self, name: str) -> None:
        """An input by the name of its folder, in the order in which they are shown."""
        if len(self._places) <= MOST:
            self._places.setdefault(name, len(self._places))

    def add(self, name: str, row: Row) -> None:
        """What became of it."""
        self.counts[row.state] += 1
        if len(self._rows) <= MOST:
            self._rows[name] = row

    def __str__(self) -> str:
        if sum(self.counts.values()) > MOST:
            told = ", ".join(f"{count} {state}" for state, count in self.counts.most_common())
            return f"{told}: {self._where}"
        last = len(self._places)
        names = sorted(self._rows, key=lambda name: self._places.get(name, last))
        return _table([self._rows[name] for name in names])


def _table(rows: Sequence[Row]) -> str:
    """What became of each input, one line each."""
    lines = [("input", "frames", "objects", "tracks", "seconds", "fps", "state", "results")]
    for row in rows:
        one, output = row.summary, row.output
        numbers = (str(one.frames), str(one.objects or 0), str(one.identities or 0))
        speed = (f"{one.seconds:.1f}", f"{one.fps:.1f}")
        # An address has what was uploaded; of a run that failed before there is nothing to look for.
        is_there = output.exists() if isinstance(output, Path) else one.files and output
        where = str(output) if is_there else "-"
        lines.append((shown_input(one.input), *numbers, *speed, row.state, where))
    widths = [max(len(line[column]) for line in lines) for column in range(8)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 1 <= column <= 5 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
