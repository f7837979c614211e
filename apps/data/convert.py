"""``sipvideo data convert``: annotations and results from one program's format to another's, losses told."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.errors import SinkError

if TYPE_CHECKING:
    from sipvideo.exchange import Collection

TOLERANCE = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    from sipvideo.exchange import FORMATS

    known = "\n".join(f"  {name:8} {one.about}" for name, one in FORMATS.items())
    parser = flags.Parser(
        prog="sipvideo data convert",
        description="Converts annotations, or the results of a run, to another program's format. What a format cannot"
        " hold is told, in numbers.",
        epilog=f"formats:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="annotation file or folder, or a run's folder"
    )
    parser.add_argument(
        "--to",
        required=True,
        choices=[k for k, one in FORMATS.items() if one.write],
        help="format wanted",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="a new or empty folder"
    )
    parser.add_argument(
        "--from", dest="kind", choices=FORMATS, help="format of SOURCE; default: as it looks"
    )
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="folder, tar or zip file of the pictures; default: where the format has them",
    )
    parser.add_argument("--split", metavar="NAME", help="only entries with this value of 'split'")
    parser.add_argument(
        "--tolerance",
        type=_pixels,
        default=TOLERANCE,
        metavar="PX",
        help="pixels that polygons may leave the masks, for fewer corners; 0: exact; default: %(default)s",
    )
    parser.add_argument(
        "--no-pictures",
        action="store_true",
        help="leave pictures where they are, also where a format has a place for them (davis, fiftyone, labelme, yolo)",
    )
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def _pixels(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"expected pixels from 0 to 100, got {text!r}")
    return value


def run(args: argparse.Namespace) -> int:
    """Reads, writes, tells."""
    command.require_opencv()
    from sipvideo.exchange import FORMATS, Placer, Request, Target, read, recognised

    source, folder = Path(args.source), Path(args.output)
    kind = args.kind or recognised(source)
    target = FORMATS[args.to]
    assert target.write is not None
    with _new(folder) as place:
        images = Path(args.images) if args.images else None
        collection = read(Request(source, images, args.split), kind)
        placer = Placer(collection, source) if target.pictures and not args.no_pictures else None
        notes = [
            *collection.notes,
            *target.write(collection, Target(place, args.tolerance, placer)),
        ]
        notes += placer.notes if placer is not None else []
    for line in dict.fromkeys(notes):
        command.note(line)
    if not args.quiet:
        stay = "" if placer is not None else "; pictures stay where they are"
        print(f"{_counts(collection)}: {kind} -> {args.to}: {folder}{stay}", file=sys.stderr)
    return 0


@contextlib.contextmanager
def _new(folder: Path) -> Iterator[Path]:
    """A folder beside the wanted one that takes its place once all is written.

    Raises:
        SinkError: the wanted one has something in it, or nothing can be written there.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SinkError(f"{folder}: is there already; expected a new or empty folder")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _counts(collection: Collection) -> str:
    films = [film for film in collection.films if not film.still]
    frames = sum(len(film.frames) for film in films)
    objects = sum(len(track.shapes) for film in collection.films for track in film.tracks)
    tracks = sum(len(film.tracks) for film in films)
    parts = []
    if films:
        parts.append(f"{len(films)} films of {frames} frames with {tracks} identities")
    if len(films) < len(collection.films):
        parts.append(f"{len(collection.films) - len(films)} pictures")
    return f"{', '.join(parts) or 'nothing'}, {objects} objects"
