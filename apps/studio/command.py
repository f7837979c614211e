"""``sipvideo studio``: a page on which the results of runs are looked at and corrected; what was corrected written out.

Exit codes: 0 done; 2 wrong usage, or something cannot be read or written; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from sipvideo.apps import command, flags, listening
from sipvideo.apps.studio import exchanging, links, opening
from sipvideo.errors import ConfigError

if TYPE_CHECKING:
    from sipvideo.studio.shelf import Studio

ABOUT = """Opens a page on which the results of runs are looked at and corrected: identities are joined, cut and
swapped, classes and masks mended. Results stay as they are: every edit is a line in edits.jsonl beside them.

WHAT is a folder with the results of a run (results.jsonl, of --save lines; or results.json, best with objects.csv or
objects.parquet beside it), or with several; a video or a folder of pictures, which is segmented first; or annotations
of another program, which become a run first."""
EXAMPLES = """examples:
  sipvideo studio results --open
  sipvideo studio street.mp4 --open                       segments it first, into street-studio
  sipvideo studio annotations.xml --source street.mp4     goes on with what was annotated elsewhere
  sipvideo studio results/street --save video,csv -o corrected
  sipvideo studio results/street --to cvat -o for-cvat.zip
  sipvideo studio results/street --import from-cvat.zip
  sipvideo studio results --invite ann:0-899 --invite bob:900-1800 --viewer eve --host 0.0.0.0"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo studio",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        metavar="WHAT",
        type=flags.on_disk,
        help="run, folder of runs, video, or annotations",
    )
    parser.add_argument(
        "--source",
        metavar="INPUT",
        help="what the run was made from, where it was moved; of annotations: their video or pictures",
    )
    flags.add_output_flag(
        parser,
        f"where a video's results or a run of annotations go (default: NAME{opening.SUFFIX} beside it), or what is "
        "exported: a folder, or a file ending in .zip",
    )
    parser.add_argument(
        "--author", default="", metavar="NAME", help="your name in the log; default: the user's"
    )
    exchanging.add_flags(
        parser.add_argument_group("edited runs for other programs, without the page")
    )
    links.add_flags(parser.add_argument_group("links for others"))
    listening.add_flags(parser)
    flags.add_model_flags(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if (args.save or args.to) and args.output is None:
        parser.error("say where the edited run goes: --output DIR, or FILE.zip")
    return args


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C, or exports and imports; returns the exit code."""
    folder, code = opening.opened(args)
    if folder is None:
        return code
    if args.save or args.to or args.taken:
        return exchanging.run(args, _only(folder))
    return _serve(args, folder)


def _serve(args: argparse.Namespace, folder: Path) -> int:
    from sipvideo.studio.shelf import Studio, places_in
    from sipvideo.web.server import StudioState, create_studio_app, listen, make_server
    from sipvideo.web.settings import Settings

    author = args.author or user()
    studio = Studio(
        lambda: places_in(folder), load=lambda: command.segmenter(args), owner=True, author=author
    )
    people = links.people(args, folder)
    token = listening.token(args, needed=bool(people))
    own = {} if token is None else {token: links.owner(author)}
    settings = Settings(host=args.host, token=token, people={**people, **own})
    with listen(args.host, args.port) as listener:
        state = StudioState(studio, settings)
        server = make_server(create_studio_app(state), state, args.tls)
        page = f"{listening.address(args, listener)}studio"
        only = list(places_in(folder))
        if len(only) == 1:
            page += f"?run={quote(only[0])}"
        if args.source is not None:
            _point(studio, only, args.source)
        links.tell(people, page)
        return listening.serve(server, listener, args, page, token)


def _point(studio: Studio, keys: list[str], source: str) -> None:
    """Tells the only run where its source is now. Raises SipVideoError."""
    if len(keys) != 1:
        raise ConfigError(f"--source: is of one run, found {len(keys)}")
    studio.run(keys[0]).video.point(source)


def _only(folder: Path) -> Path:
    """The only run in a folder."""
    from sipvideo.studio.shelf import places_in

    found = list(places_in(folder).values())
    if len(found) != 1:
        names = ", ".join(place.name for place in found[:5])
        raise ConfigError(f"{folder}: holds {len(found)} runs ({names} ...), name one of them")
    return found[0].folder


def user() -> str:
    """Name of the user, for the log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
