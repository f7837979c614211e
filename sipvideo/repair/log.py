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
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._waiting: deque[Change] = deque()
        self._begun = False

    def __call__(self, change: Change) -> None:
        """One more change."""
        self.counts[change.kind] += 1
        self._waiting.append(change)

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
