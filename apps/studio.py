"""``sipvideo studio``: a page on which the results of runs are looked at and corrected."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from urllib.parse import quote

from sipvideo.apps import command, flags, listening
from sipvideo.errors import DatasetError

ABOUT = """Opens a page on which the results of runs are looked at and corrected: identities are joined, cut and
swapped, classes and masks mended. Results stay as they are: every edit is a line in edits.jsonl beside them.

Needs results.jsonl (--save lines), or results.json with objects.csv or objects.parquet beside it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo studio",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=flags.folder_on_disk,
        help="folder with the results of a run, or of several in folders of their own",
    )
    parser.add_argument(
        "--author", default="", metavar="NAME", help="name for the log; default: the user's"
    )
    listening.add_flags(parser)
    flags.add_model_flags(parser)
    flags.add_quiet_flag(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C; returns the exit code."""
    from sipvideo.studio.shelf import Studio, places_in
    from sipvideo.web.server import StudioState, create_studio_app, listen, make_server
    from sipvideo.web.settings import Settings

    if not places_in(args.folder):
        raise DatasetError(f"{args.folder}: holds no results that can be read back")
    settings = Settings(host=args.host, token=listening.token(args))
    studio = Studio(
        lambda: places_in(args.folder),
        load=lambda: command.segmenter(args),
        owner=True,
        author=args.author or _user(),
    )
    with listen(args.host, args.port) as listener:
        state = StudioState(studio, settings)
        server = make_server(create_studio_app(state), state, args.tls)
        page = f"{listening.address(args, listener)}studio"
        only = list(places_in(args.folder))
        if len(only) == 1:
            page += f"?run={quote(only[0])}"
        return listening.serve(server, listener, args, page, settings.token)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
