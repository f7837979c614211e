"""Where the changes of a repair are written: a text for people, JSON lines for programs."""

from __future__ import annotations

import json
from collections import Counter, deque
from pathlib import Path

from sipvideo.errors import SinkError
from sipvideo.repair.changes import Change

LOG, LOG_LINES = "repair.log", "repair.jsonl"


class ChangeLog:
    """Takes changes, and adds them to the files of a folder when asked to: it may be told before there is a folder.

    Attributes:
        counts: changes by kind.
        told: number of changes, with those of the run that this one goes on with.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.told = 0
        self._waiting: deque[Change] = deque()
        self._begun = False

    def __call__(self, change: Change) -> None:
        """One more change."""
        self.counts[change.kind] += 1
        self.told += 1
        self._waiting.append(change)

    def go_on(self, folder: Path, count: int) -> None:
        """Goes on with the files of an earlier run after so many changes. Raises SinkError."""
        try:
            for path in (folder / LOG, folder / LOG_LINES):
                with path.open("r+b") as file:
                    for _ in range(count):
                        file.readline()
                    file.truncate()
        except OSError as error:
            raise SinkError(f"{folder / LOG}: cannot be written: {error.strerror}") from error
        self._begun, self.told = True, count

    def save(self, folder: Path) -> None:
        """Writes what was told since the last time. Raises SinkError."""
        if self._begun and not self._waiting:
            return
        mode = "a" if self._begun else "w"
        try:
            with (
                (folder / LOG).open(mode, encoding="utf-8") as text,
                (folder / LOG_LINES).open(mode, encoding="utf-8") as lines,
            ):
                self._begun = True
                while self._waiting:
                    change = self._waiting.popleft()
                    text.write(f"{change}\n")
                    lines.write(json.dumps(change.record()) + "\n")
        except OSError as error:
            raise SinkError(f"{folder / LOG}: cannot be written: {error.strerror}") from error
