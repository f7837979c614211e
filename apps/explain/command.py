"""``sipvideo explain``: why objects have the identities that they have, as text and as a strip of pictures.

Exit codes: 0 done; 2 wrong usage, or nothing that could be explained.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.apps.explain import story as explain_story
from sipvideo.errors import DatasetError, SipVideoError

if TYPE_CHECKING:
    from sipvideo.apps.explain.story import Json, Moment

ABOUT = """Says why objects have the identities that they have: of one identity, how it began, where the choice was
close, why it was lost and what it became; of one moment, every candidate pair with its cues, weights and the decision.

DIR is the folder of a run that was made with --save explain. The moments are also drawn side by side, on the source's
pictures where those are still there."""
EXAMPLES = """examples:
  sipvideo video street.mp4 -o out --save video,lines,explain
  sipvideo explain out/street --id 7             what made id 7 become 12?
  sipvideo explain out/street --at 12.3          every pair of that frame
  sipvideo explain out/street --at 12.3 --id 7   those of id 7"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo explain",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=flags.folder_on_disk, help="folder with the results of a run"
    )
    parser.add_argument("--id", type=int, dest="track_id", metavar="N", help="an identity")
    parser.add_argument("--at", type=flags.time, metavar="TIME", help="a moment: 12.3, 1:30")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="picture of the moments, .png or .jpg; default: explain.png beside DIR, named like it",
    )
    parser.add_argument("--source", metavar="INPUT", help="what DIR was made from")
    parser.add_argument("--no-picture", action="store_true", help="only text")
    args = parser.parse_args(argv)
    if args.track_id is None and args.at is None:
        parser.error("say what to explain: --id N, --at TIME, or both")
    if args.output is not None and args.output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        parser.error(f"--output: expected a name ending in .png or .jpg, got {args.output}")
    return args


def run(args: argparse.Namespace) -> int:
    """Explains; returns the exit code."""
    from sipvideo.results_reader import read_explanations

    names = _class_names(args.folder)
    if args.at is not None:
        record = _nearest(args.folder, args.at)
        story = list(explain_story.frame(record, names, args.track_id))
    else:
        story = list(explain_story.life(args.track_id, read_explanations(args.folder), names))
    if not story or (args.track_id is not None and len(story) == 1):
        where = "" if args.at is None else f" at {args.at:g} s"
        raise DatasetError(f"{args.folder}: id {args.track_id} is not there{where}")
    for line, _ in story:
        print(line)
    moments = [moment for _, moment in story if moment is not None]
    if not args.no_picture:
        _draw(args, moments)
    return 0


def _nearest(folder: Path, second: float) -> Json:
    from sipvideo.results_reader import read_explanations

    best = min(
        read_explanations(folder),
        key=lambda record: abs(record["timestamp"] - second),
        default=None,
    )
    if best is None:
        raise DatasetError(f"{folder}: nothing was explained")
    return best


def _class_names(folder: Path) -> tuple[str, ...]:
    """Names in label order as far as the results tell; reading them all is worth the words."""
    from sipvideo.results_reader import SavedRun

    try:
        saved = SavedRun(folder)
        for _ in saved.results():
            pass
    except SipVideoError:
        return ()
    return saved.class_names


def _draw(args: argparse.Namespace, moments: Sequence[Moment]) -> None:
    from sipvideo.apps.explain.strip import save_strip
    from sipvideo.results_reader import source_of

    command.require_opencv()
    folder = args.folder.resolve()
    target = args.output or folder.with_name(f"{folder.name}-explain.png")
    source = source_of(folder, args.source)
    if save_strip(target, moments, source, args.track_id):
        print(target)
        return
    if args.source is not None:
        raise DatasetError(f"{args.source}: does not show the frames of {args.folder}")
    command.note(f"the source {source or ''} is not there: drawn without its pictures")
    print(target)
