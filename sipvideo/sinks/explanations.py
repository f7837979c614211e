"""Why every frame's objects have the identities that they have, as the tracker told it."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from sipvideo.sinks.sink import Kept, Mark, Sink, cut_to_whole_lines, replacing
from sipvideo.structures import FrameResult


class Explanations(Sink):
    """One JSON object per frame and line, compressed by gzip: what ``sipvideo explain`` reads.

    Keys: ``frame`` (index), ``name`` of a picture, ``size`` ([height, width]) and the fields of
    :class:`sipvideo.tracker.explain.Explanation`, numbers with four digits. Frames that nobody explained are left out.

    Args:
        path: a ``.jsonl.gz`` file.
    """

    def __init__(self, path: str | Path, *, mark: Mark | None = None) -> None:
        super().__init__(path, mark=mark)
        self._file = self._open_text()

    def _write(self, result: FrameResult) -> None:
        if result.explanation is None:
            return
        frame = result.frame
        about = {"frame": frame.index, "name": frame.name, "size": list(frame.size)}
        told = _rounded(dataclasses.asdict(result.explanation))
        told["timestamp"] = frame.timestamp
        self._file.write(json.dumps(about | told, separators=(",", ":")) + "\n")

    def _finish(self) -> None:
        if self.frames_written and not self._file.tell():
            self.notes.append("nothing was explained: only the tracker sipvideo tells its reasons")

    @classmethod
    def assemble(cls, partial: Path, path: Path, *, keep: bool = False) -> Kept:
        """See :meth:`Sink.assemble`."""
        cut_to_whole_lines(partial)
        with replacing(path) as new, partial.open("rb") as text, gzip.open(new, "wb", 6) as packed:
            shutil.copyfileobj(text, packed)
        if not keep:
            partial.unlink()
        return Kept()


def _rounded(value: Any) -> Any:
    """Plain values with four significant decimals at most."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value
