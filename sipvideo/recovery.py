"""What a run that was killed left in its folder, made whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sipvideo.errors import SinkError, SipVideoError, failure
from sipvideo.results import FILES, Kind, take_stock, waiting
from sipvideo.sinks.sink import Kept
from sipvideo.summary import CHECKPOINT, MARK, RunMark, Summary

DAMAGE = (ValueError, LookupError, TypeError, AttributeError, EOFError, csv.Error)
"""What reading a file ends in whose bytes are others than were written."""


def recover(folder: Path) -> Summary | None:
    """Makes whole results of what a run that was killed, or whose disk was full, left in a folder.

    Returns:
        what is there now, as saved in its summary; None: there is nothing to recover.

    Raises:
        SipVideoError: the run is still in work, or something cannot be written: that stays hidden, the rest is saved.
    """
    if not (folder / MARK).is_file():
        return None
    mark = RunMark(folder)
    left = waiting(folder)
    try:
        summary = Summary.read(folder) or Summary.read(folder, MARK) or Summary(input=folder.name)
        problems: list[SipVideoError] = []
        kept = [(kind, _assembled(kind, path, folder / kind.file, problems)) for kind, path in left]
        for new in (*folder.glob(".*.new"), *folder.glob(f"{CHECKPOINT}*")):
            new.unlink()
        _tell(summary, kept)
        summary.objects, summary.identities = _count(folder)
        take_stock(folder, summary)
        if summary.files:
            summary.write(folder)
        if problems:
            raise problems[0]
    finally:
        mark.release(keep=bool(waiting(folder)))
    if not summary.files:
        with suppress(OSError):
            folder.rmdir()
    return summary


def _assembled(kind: Kind, partial: Path, path: Path, problems: list[SipVideoError]) -> Kept:
    """One result; what keeps it from being made is added to the problems."""
    try:
        return kind.writer.assemble(partial, path)
    except DAMAGE as error:
        reason = str(error).partition("\n")[0]
        problems.append(SinkError(f"{path}: what the run left of it is damaged: {reason}"))
    except Exception as error:
        problems.append(failure(error, str(path)))
    return Kept()


def _tell(summary: Summary, kept: Sequence[tuple[Kind, Kept]]) -> None:
    """Says what was recovered."""
    summary.state = "recovered"
    summary.frames = max((one.frames or 0 for _, one in kept), default=0) or summary.frames
    summary.duration = max((one.seconds or 0.0 for _, one in kept), default=0.0) or summary.duration
    for kind, one in kept:
        if one.frames is not None and one.frames < summary.frames:
            line = f"{kind.file}: {one.frames} of {summary.frames} frames"
            summary.notes.append(f"{line}, the last ones were not written yet")


def _count(folder: Path) -> tuple[int | None, int | None]:
    """Objects and identities, as far as one of the results tells them row by row, undamaged."""
    with suppress(*DAMAGE):
        return _counted(folder)
    return None, None


def _counted(folder: Path) -> tuple[int | None, int | None]:
    table, lines = folder / FILES["csv"], folder / FILES["lines"]
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            ids = [row["track_id"] for row in csv.DictReader(file)]
    elif lines.is_file():
        with lines.open(encoding="utf-8") as file:
            found = (one["track_id"] for line in file for one in json.loads(line)["objects"])
            ids = [track_id for track_id in found if track_id is not None]
    else:
        return None, None
    return len(ids), len(set(ids))
