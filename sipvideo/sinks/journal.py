"""Lines for outputs that can only be made at the end, when all of a track is known: they wait on disk, not in memory.

A journal is a hidden text file. ``[...]`` begins a video with its settings; then come, for each frame, its objects
(fields parted by spaces, the first of them a number) and ``# index timestamp``. A frame without that last line was cut
off while it was written, and does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from sipvideo.sinks.sink import Kept, whole_lines
from sipvideo.structures import Frame


class Journal:
    """Writes one.

    Args:
        file: open for text.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def begin(self, *settings: Any) -> None:
        """What follows is a video with these settings, plain values."""
        self._file.write(json.dumps(settings) + "\n")

    def add(self, *fields: Any) -> None:
        """An object of the current frame; only the last field may have spaces."""
        self._file.write(" ".join(map(str, fields)) + "\n")

    def end_frame(self, frame: Frame) -> None:
        """All objects of the frame are there."""
        self._file.write(f"# {frame.index} {frame.timestamp}\n")


@dataclass
class JournalFrame:
    """One frame of a journal.

    Attributes:
        settings: of its video; the same object for all its frames.
        index: of the frame; -1 where only a video begins.
        objects: place of each line in the file, and the line.
    """

    settings: list[Any]
    index: int = -1
    objects: list[tuple[int, bytes]] = field(default_factory=list)


class JournalReader:
    """Reads the whole frames of a journal, wherever it was cut off.

    Args:
        path: the file.

    Attributes:
        kept: what came so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kept = Kept(0)

    def __iter__(self) -> Iterator[JournalFrame]:
        """A frame with index -1 for the beginning of each video, then its frames."""
        settings: list[Any] = []
        objects: list[tuple[int, bytes]] = []
        frames, first, last = 0, None, 0.0
        for place, line in whole_lines(self._path):
            if line.startswith(b"["):
                settings = json.loads(line)
                yield JournalFrame(settings)
            elif line.startswith(b"#"):
                _, index, timestamp = line.split()
                frames, last = frames + 1, float(timestamp)
                first = last if first is None else first
                self.kept = Kept(frames, last - first)
                yield JournalFrame(settings, int(index), objects)
                objects = []
            else:
                objects.append((place, line))
