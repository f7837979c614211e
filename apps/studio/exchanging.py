"""Edited runs written out, and work of other programs taken in, without the page."""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.apps.progress import Progress
from sipvideo.errors import SinkError

if TYPE_CHECKING:
    from sipvideo.studio import Document
    from sipvideo.studio.video import RunVideo


def add_flags(group: argparse._ActionsContainer) -> None:
    """--save, --to, --import."""
    group.add_argument(
        "--save",
        type=flags.result_kinds,
        default=(),
        metavar="KIND,...",
        help="results of the edited run, as sipvideo video saves them",
    )
    group.add_argument(
        "--to",
        type=_format,
        metavar="FORMAT",
        help="the edited run in another program's format: cvat, coco, ytvis, davis, mots, ...",
    )
    group.add_argument(
        "--import",
        dest="taken",
        type=flags.on_disk,
        metavar="FILE",
        help="what was done in another program on an export of this run: it becomes edits (file, folder or zip)",
    )


def _format(text: str) -> str:
    from sipvideo.studio.exporting import WRITTEN

    if text not in WRITTEN:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(WRITTEN)}, got {text!r}")
    return text


def run(args: argparse.Namespace, folder: Path) -> int:
    """Takes in first, so that what is written has it; returns the exit code."""
    command.require_opencv()
    from sipvideo.studio.document import Document
    from sipvideo.studio.video import RunVideo

    document = Document(folder)
    if args.taken:
        _take(args, document)
    if not (args.save or args.to):
        return 0
    video = RunVideo(document.index)
    if args.source is not None:
        video.point(args.source)
    target = Path(args.output)
    if target.suffix.lower() != ".zip":
        _write(args, document, video, target)
    else:
        with tempfile.TemporaryDirectory(prefix="sipvideo-") as name:
            inside = Path(name) / "out"
            _write(args, document, video, inside)
            _zip(inside, target)
    if not args.quiet:
        print(target)
    return 0


def _take(args: argparse.Namespace, document: Document) -> None:
    from sipvideo.apps.studio.command import user
    from sipvideo.studio.importing import edits_of, unpacked

    path = Path(args.taken)
    with tempfile.TemporaryDirectory(prefix="sipvideo-") as name:
        if path.is_file() and zipfile.is_zipfile(path):
            copy = Path(name) / path.name
            copy.write_bytes(path.read_bytes())
            path = unpacked(copy, 1 << 34)
        records, notes = edits_of(document, path)
    for line in notes:
        command.note(line)
    if records:
        document.edit(records, document.revision, args.author or user())
    if not args.quiet:
        print(f"{args.taken}: {len(records)} edits", file=sys.stderr)


def _write(args: argparse.Namespace, document: Document, video: RunVideo, folder: Path) -> None:
    """Results go into the folder itself; another program's format too, or beside them where both are asked for."""
    from sipvideo.studio.exporting import export_format, export_kinds

    notes = []
    if args.save:
        with Progress(document.folder.name, document.table.frame_count, args.quiet) as progress:
            notes += export_kinds(
                document, folder, args.save, video, lambda share: progress.advance()
            )
    if args.to:
        place = folder / args.to if args.save else folder
        try:
            place.mkdir(parents=True, exist_ok=True)
            if any(place.iterdir()):
                raise SinkError(f"{place}: is there already; expected a new or empty folder")
        except OSError as error:
            raise SinkError(f"{place}: cannot be written: {error.strerror}") from error
        notes += export_format(document, place, args.to, pictures=video.path)
    for line in dict.fromkeys(notes):
        command.note(line)


def _zip(folder: Path, target: Path) -> None:
    """A folder as a zip; whole, or not at all."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder))
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise SinkError(f"{target}: cannot be written: {error.strerror}") from error
