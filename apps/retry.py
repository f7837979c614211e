"""``sipvideo retry``: runs again what failed or was cut off in a folder of results, with the same settings.

Exit codes as of ``sipvideo video``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from sipvideo.apps import command, flags, video
from sipvideo.errors import SipVideoError
from sipvideo.jobs import SegmenterSpec, read_ledger, storage
from sipvideo.remote import is_remote


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo retry",
        description="Runs again what failed or was cut off in a folder of results, with the settings of the run that "
        "had it, and from the folder in which that was started. What another run has in work is left alone.",
    )
    parser.add_argument(
        "folder", metavar="DIR", help="folder or address of sipvideo video --output"
    )
    parser.add_argument(
        "--send",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="receivers of events again, where their addresses have passwords",
    )
    video.add_executor_flags(parser)
    flags.add_quiet_flag(parser)
    return parser.parse_args(argv)


def run(
    args: argparse.Namespace,
    spec_of: Callable[[argparse.Namespace], SegmenterSpec] = command.spec,
) -> int:
    """Runs again what is not complete; returns the exit code."""
    # Runs are started in other folders.
    output = args.folder if is_remote(str(args.folder)) else os.path.abspath(args.folder)
    with read_ledger(storage.local(output)) as ledger:
        for line in ledger.notes:
            command.note(line)
        runs = ledger.unfinished()
        known = {run: ledger.options_of(run) for run in runs}
    if not runs and not args.quiet:
        command.note(f"{args.folder}: nothing has failed")
    codes = [0]
    for run_number, options in known.items():
        if options is None:
            raise SipVideoError(
                f"{args.folder}: how these {runs[run_number]} inputs were run is not known: name them again, with "
                "sipvideo video --resume"
            )
        codes.append(_again(args, output, run_number, options, spec_of))
        if codes[-1] > command.FAILED:
            break
    return max(codes)


def _again(
    args: argparse.Namespace,
    output: str,
    number: int,
    options: tuple[dict[str, object], str],
    spec_of: Callable[[argparse.Namespace], SegmenterSpec],
) -> int:
    """The entries of one run that are not complete."""
    kept, started_in = options
    try:
        os.chdir(started_in)  # names of inputs, zones and weights are told from there
    except OSError as error:
        raise SipVideoError(f"{started_in}: the run was started there: {error.strerror}") from error
    again = video.restored(video.parse(["-o", output, "again"]), kept)
    again.found, again.resume = None, True
    if args.send:
        again.send = tuple(args.send)
    elif kept.get("hidden"):
        raise SipVideoError(
            "its receivers of events had passwords, which no ledger keeps: --send ADDRESS"
        )
    for name in vars(args).keys() - {"folder", "send"}:
        setattr(again, name, getattr(args, name))
    with read_ledger(storage.local(output)) as ledger:
        return video.run(again, spec_of(again), ledger.entries(number))


if __name__ == "__main__":
    sys.exit(main())
