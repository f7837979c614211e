"""A document written out: every kind of result that a run knows, and other programs' formats, edits applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from sipvideo.errors import DatasetError, SinkError
from sipvideo.exchange import FORMATS, Collection, Placer, Target, collected
from sipvideo.results import FILES, Results, is_ours
from sipvideo.structures import FrameResult
from sipvideo.studio.document import Document
from sipvideo.studio.index import Progress
from sipvideo.studio.video import RunVideo
from sipvideo.summary import Summary

PICTURES = ("video", "prores", "pictures")
"""Kinds of results that need the source."""
OF_THE_RUN = ("explain", "events")
"""Kinds of results that only a run itself can make."""
KINDS = tuple(kind for kind in FILES if kind not in OF_THE_RUN)
"""Kinds of results that can be exported."""
WRITTEN = tuple(name for name, one in FORMATS.items() if one.write is not None)
"""Formats of other programs."""
TOLERANCE = 1.0
"""Pixels that polygons may leave their masks."""


def silent(share: float) -> None:
    """Tells nobody."""


def export_kinds(
    document: Document,
    folder: Path,
    kinds: Sequence[str],
    video: RunVideo | None = None,
    progress: Progress = silent,
) -> list[str]:
    """Writes results of the edited run as a run would have, with a summary; gives notes for people.

    Args:
        document: the run with its edits.
        folder: for the results; new, empty, or with results of ours, which are replaced.
        kinds: of :data:`KINDS`.
        video: the run's pictures, for what is drawn.
        progress: is told which share is done.

    Raises:
        SipVideoError: a kind cannot be made, or something cannot be written.
    """
    check(document, kinds, folder)
    summary = _summary(document)
    drawn = any(kind in PICTURES for kind in kinds)
    with contextlib.ExitStack() as stack:
        clip = None if video is None or not drawn else video.clip()
        if drawn and clip is None:
            raise DatasetError(
                f"{document.folder}: what it was made from is not there, to be drawn on"
            )
        source = _NoClip() if clip is None else stack.enter_context(clip)
        found: Iterable[FrameResult] = document.results()
        if drawn and video is not None:
            found = stack.enter_context(contextlib.closing(video.under(found)))
        total = document.table.frame_count
        names = tuple(document.class_names)
        results = Results(source, names, folder, kinds, summary=summary)
        _write(results, summary, found, lambda count: progress(count / total))
    summary.notes = [*document.notes, *results.notes]
    if summary.frames < total:
        summary.notes.append(f"its source has only {summary.frames} of the run's {total} frames")
    summary.state = "complete"
    results.finish()
    return summary.notes


def export_format(
    document: Document,
    folder: Path,
    kind: str,
    *,
    tolerance: float = TOLERANCE,
    pictures: Path | None = None,
    name: str = "",
) -> list[str]:
    """Writes the edited run in another program's format; gives what is lost, one line each.

    Args:
        document: the run with its edits.
        folder: empty.
        kind: of :data:`WRITTEN`.
        tolerance: pixels that polygons may leave the masks.
        pictures: the film whose frames are placed where the format wants them; None: they stay where they are.
        name: of the film there; by default the folder's.

    Raises:
        DatasetError: the format cannot hold it.
    """
    target = FORMATS[kind]
    if target.write is None:
        raise DatasetError(f"{kind}: can only be read; expected one of {', '.join(WRITTEN)}")
    collection = as_collection(document, name)
    collection.films[0].movie = pictures
    placer = None
    if target.pictures and pictures is not None:
        placer = Placer(collection, document.folder)
    lost = target.write(collection, Target(folder, tolerance, placer))
    told = [
        *document.notes,
        *collection.notes,
        *lost,
        *(placer.notes if placer is not None else ()),
    ]
    return list(dict.fromkeys(told))


def as_collection(document: Document, name: str = "") -> Collection:
    """The edited run in the form in which formats are exchanged; track k + 1 is the identity k."""
    name = name or document.folder.resolve().name
    return collected(document.results(), name, lambda: document.class_names)


def check(document: Document, kinds: Iterable[str], folder: Path) -> None:
    """Raises SipVideoError where kinds cannot be made, or the folder may not be written into."""
    for kind in kinds:
        if kind not in KINDS:
            why = "only a run itself can make it" if kind in OF_THE_RUN else "is no kind of result"
            raise DatasetError(f"{kind}: {why}; expected some of {', '.join(KINDS)}")
    if folder.resolve() == document.folder.resolve():
        raise SinkError(f"{folder}: are the results that were edited; they stay as they are")
    if folder.exists() and not is_ours(folder) and any(folder.iterdir()):
        raise SinkError(f"{folder}: exists already and holds no results of ours")


def _summary(document: Document) -> Summary:
    former = Summary.read(document.folder)
    settings = {"edited": str(document.folder), "revision": document.revision}
    summary = Summary(input="" if former is None else former.input, settings=settings)
    summary.covered = None if former is None else former.covered
    return summary


def _write(
    results: Results, summary: Summary, found: Iterable[FrameResult], progress: Progress
) -> None:
    identities, first = set[int](), None
    with results:
        for result in found:
            results.write(result)
            identities.update(result.track_ids.tolist())
            summary.count(len(result.track_ids), len(identities))
            first = result.frame.timestamp if first is None else first
            summary.duration = round(result.frame.timestamp - first, 3)
            progress(summary.frames)


class _NoClip:
    """Stands for a source that nothing is drawn on."""

    path = stream = frame_count = duration = fps = start = time_base = None
    clock_start = 0.0
    pixel_aspect = Fraction(1)
    is_live = False
    hardware = ""
