"""What a run that was killed left in its folder, made whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sipvideo.errors import contained
from sipvideo.results import Kind, sizes, waiting
from sipvideo.sinks.sink import Kept
from sipvideo.summary import MARK, RunMark, Summary


def recover(folder: Path) -> Summary | None:
    """Makes whole results of what a run that was killed, or whose disk was full, left in a folder.

    Returns:
        what is there now, as saved in its summary; None: there is nothing to recover.

    Raises:
        SinkError: the run is still in work, or something cannot be written; what is hidden stays then.
    """
    if not (folder / MARK).is_file():
        return None
    mark = RunMark(folder)
    left = waiting(folder)
    try:
        summary = Summary.read(folder) or Summary.read(folder, MARK) or Summary(input=folder.name)
        kept = []
        for kind, path in left:
            with contained(str(folder / kind.file)):
                kept.append((kind, kind.writer.assemble(path, folder / kind.file)))
        for new in folder.glob(".*.new"):
            new.unlink()
        _tell(summary, kept)
        summary.files = sizes(folder)
        if summary.files:
            summary.write(folder)
    finally:
        mark.release(keep=bool(waiting(folder)))
    if not summary.files:
        with suppress(OSError):
            folder.rmdir()
    return summary


def _tell(summary: Summary, kept: Sequence[tuple[Kind, Kept]]) -> None:
    """Says what was recovered."""
    summary.state = "recovered"
    summary.objects = summary.identities = None
    summary.frames = max((one.frames or 0 for _, one in kept), default=0) or summary.frames
    summary.duration = max((one.seconds or 0.0 for _, one in kept), default=0.0) or summary.duration
    for kind, one in kept:
        if one.frames is not None and one.frames < summary.frames:
            line = f"{kind.file}: {one.frames} of {summary.frames} frames"
            summary.notes.append(f"{line}, the last ones were not written yet")
