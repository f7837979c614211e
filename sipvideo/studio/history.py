"""Which edits of a log count: those that are not undone."""

from __future__ import annotations

from sipvideo.annotations import Json
from sipvideo.studio.log import BEGIN


class History:
    """Reads the lines of a log one after the other."""

    def __init__(self) -> None:
        self._edits: dict[int, list[Json]] = {}
        self._undone: set[int] = set()
        self._authors: dict[int, str] = {}
        self._may_redo: dict[str, list[int]] = {}

    def add(self, line: Json) -> None:
        """The next line."""
        op, n, author = line["op"], int(line["n"]), str(line.get("author", ""))
        if op == BEGIN:
            return
        if op == "undo":
            self._undone.add(line["of"])
            self._may_redo.setdefault(author, []).append(line["of"])
        elif op == "redo":
            self._undone.discard(line["of"])
            waiting = self._may_redo.get(author, [])
            if line["of"] in waiting:
                waiting.remove(line["of"])
        else:
            first = int(line.get("with", n))
            self._edits.setdefault(first, []).append(line)
            self._authors[first] = author
            self._may_redo.pop(author, None)

    @property
    def active(self) -> list[Json]:
        """The edits that are not undone, in the order in which they were made."""
        kept = [lines for first, lines in self._edits.items() if first not in self._undone]
        return [line for lines in kept for line in lines]

    def target(self, op: str, author: str) -> int | None:
        """Which edit an author's undo or redo is about; None: there is none."""
        if op == "redo":
            waiting = self._may_redo.get(author)
            return waiting[-1] if waiting else None
        own = (first for first in reversed(self._edits) if self._authors[first] == author)
        return next((first for first in own if first not in self._undone), None)
