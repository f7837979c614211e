"""``sipvideo recover``: whole results of runs and recordings that were killed, or whose disk was full.

Exit codes: 0 nothing is left to recover; 2 wrong usage, or something could not be recovered; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sipvideo.apps import command, flags
from sipvideo.errors import SipVideoError, SourceError, contained
from sipvideo.summary import MARK, Summary


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo recover",
        description="Makes whole files of what runs and recordings that were killed (power, kill -9, a full disk) left "
        "in their folders. Runs that are in work are left alone, and so is everything else.",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        type=flags.folder_on_disk,
        metavar="DIR",
        help="folder of results, or one with such folders anywhere in it",
    )
    flags.add_quiet_flag(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Recovers everything in the folders; returns the exit code."""
    command.require_opencv()
    from sipvideo.recovery import recover

    failed = False
    count = 0
    for folder in args.folders:
        if not folder.is_dir():
            raise SourceError(f"{folder}: no such folder")
    for folder in (left for place in args.folders for left in _left(place)):
        try:
            with contained(str(folder)):
                summary = recover(folder)
        except SipVideoError as error:
            command.complain(error)
            failed = True
            continue
        if summary is not None:
            count += 1
            if not args.quiet:
                print(_told(folder, summary), flush=True)
    if not count and not failed and not args.quiet:
        command.note("there is nothing to recover")
    return command.FAILED if failed else 0


def _left(place: Path) -> Iterator[Path]:
    """Folders of runs that did not end, in order; links are not followed, so that loops end."""
    for folder, inside, files in os.walk(place):
        inside.sort()
        if MARK in files:
            yield Path(folder)


def _told(folder: Path, summary: Summary) -> str:
    """For instance ``out/street: recovered 250 frames (10.0 s): video.mp4, results.json``."""
    if not summary.files:
        return f"{folder}: nothing was written yet"
    length = f"{summary.frames} frames ({summary.duration:.1f} s)" if summary.frames else "results"
    notes = "".join(
        f"; {note}" for note in summary.notes if note.partition(":")[0] in summary.files
    )
    return f"{folder}: recovered {length}: {', '.join(summary.files)}{notes}"


if __name__ == "__main__":
    sys.exit(main())
