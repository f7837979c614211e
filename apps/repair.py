"""``sipvideo repair``: decides anew about the identities of a finished run, now that all of it is known.

Exit codes: 0 done; 2 wrong usage, or results that cannot be read; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.apps import command, flags
from sipvideo.apps.progress import Progress
from sipvideo.errors import SinkError, SipVideoError, SourceError
from sipvideo.results import FILES, Results, is_ours
from sipvideo.summary import Summary

if TYPE_CHECKING:
    from sipvideo.repair import ChangeLog
    from sipvideo.results_reader import SavedRun
    from sipvideo.sources import Source
    from sipvideo.structures import FrameResult

SUFFIX = "-repaired"
PICTURES = {"video", "pictures"}
"""Kinds of results that need the source once more."""
OF_THE_RUN = {"explain", "events"}
"""Kinds of results that only a run itself can make."""
WORDS = {"joined": "joined", "parted": "parted", "dropped": "dropped", "filled": "gaps filled"}
ABOUT = """Decides anew about the identities of a finished run, now that all of it is known: identities that show one
object are joined, those that turned into another object are parted, doubtful ones that were seen only briefly are
dropped, and short gaps are filled. DIR stays as it is: a new folder gets every kind of result that DIR has, and
repair.log says what was changed and why (repair.jsonl says it for programs).

Needs results.jsonl (--save lines), or results.json with objects.csv or objects.parquet beside it. Identities are told
apart by their looks where the run has appearance.npz, otherwise by motion alone. Where the source is still there, gaps
are filled by the motion of its pictures, and the video is drawn anew."""
EXAMPLES = """examples:
  sipvideo video street.mp4 -o out && sipvideo repair out/street
  sipvideo repair out/street --source /films/street.mp4 -o out/street-2
  sipvideo repair out/street --set repair.join_odds=-2     joins less"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2."""
    parser = flags.Parser(
        prog="sipvideo repair",
        description=ABOUT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folder", metavar="DIR", type=flags.folder_on_disk, help="folder with the results of a run"
    )
    flags.add_output_flag(parser, f"new folder for the repaired results; default: DIR{SUFFIX}")
    parser.add_argument(
        "--source",
        metavar="INPUT",
        help="what DIR was made from; default: what it says itself, if that is still there",
    )
    flags.add_set_flag(parser)
    flags.add_quiet_flag(parser)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    """Repairs one run; returns the exit code."""
    from sipvideo.config import Config, section_from_values
    from sipvideo.repair import ChangeLog, Repair
    from sipvideo.results_reader import SavedRun

    saved = SavedRun(args.folder)
    target = _target(args)
    config = section_from_values(Config, {"name": "repair"}, "--set", args.overrides).repair
    settings = {"repaired": str(args.folder), "repair": config.model_dump()}
    summary = Summary(input=args.source or saved.source or "", settings=settings)
    summary.covered = saved.covered
    log = ChangeLog()
    repair = Repair(config, log)
    with command.Stop() as stop, contextlib.ExitStack() as stack:
        frames = 0
        for result in stop.until(saved.results()):
            repair.observe(result)
            frames += 1
        source = _source(args, saved, stack)
        if stop.asked:
            return stop.exit_code(0)
        summary.notes = list(_missing(saved, source))
        left_out = OF_THE_RUN if source is not None else OF_THE_RUN | PICTURES
        kinds = [kind for kind in saved.kinds if kind not in left_out]
        clip: Any = source or _NoClip()
        results = Results(clip, saved.class_names, target, kinds, summary=summary)
        again = saved.results() if source is None else saved.on(source)
        repaired = repair.repaired(again, pictures=source is not None)
        _write(stop.until(repaired), results, log, Progress(saved.folder.name, frames, args.quiet))
        summary.notes += [*results.notes, f"repaired: {_told(log.counts)}"]
        summary.state = "interrupted" if stop.asked else "complete"
        results.finish()
    for line in summary.notes[:-1]:
        command.note(line)
    if not args.quiet:
        print(f"{summary.frames} frames, {summary.identities} identities: {_told(log.counts)}")
        print(target)
    return stop.exit_code(0)


def _target(args: argparse.Namespace) -> Path:
    target = Path(args.output or f"{args.folder.resolve()}{SUFFIX}")
    if target.resolve() == args.folder.resolve():
        raise SinkError(f"{target}: are the results to repair; choose another --output")
    if target.exists() and not is_ours(target) and any(target.iterdir()):
        raise SinkError(f"{target}: exists already and holds no results of ours")
    return target


def _source(
    args: argparse.Namespace, saved: SavedRun, stack: contextlib.ExitStack
) -> Source | None:
    """What the run was made from, opened; None where it is not there any more."""
    from sipvideo.results_reader import source_of
    from sipvideo.sources import open_source

    text = source_of(saved.folder, args.source)
    if text is None:
        return None
    if args.source is None and "://" not in text and not Path(text).exists():
        return None
    try:
        command.require_opencv()
        source = stack.enter_context(open_source(text))
    except SipVideoError:
        if args.source is not None:
            raise
        return None
    if source.is_live:
        if args.source is not None:
            raise SourceError(f"{text}: is live, the frames of the run are gone")
        return None
    return source


def _missing(saved: SavedRun, source: Source | None) -> Iterator[str]:
    """What a repair has to do without."""
    yield from (f"{saved.folder}: {line}" for line in saved.notes)
    lost = [FILES[kind] for kind in saved.kinds if kind in OF_THE_RUN]
    if lost:
        yield f"{saved.folder}: {' and '.join(lost)} can only be made by a run itself: not repaired"
    if not saved.embeddings:
        yield (
            f"{saved.folder}: has no {FILES['appearance']}: identities are joined by motion, class and size alone"
        )
    if source is None:
        lost = [FILES[kind] for kind in saved.kinds if kind in PICTURES]
        drawn = f", and {' and '.join(lost)} cannot be drawn anew" if lost else ""
        why = (
            "was made with privacy"
            if saved.covered
            else f"its source {saved.source or ''} is not there"
        )
        yield f"{saved.folder}: {why}: gaps are filled by interpolation{drawn}"


class _NoClip:
    """Stands for a source that is not there any more."""

    path = frame_count = duration = fps = start = time_base = None


def _write(
    repaired: Iterable[FrameResult],
    results: Results,
    log: ChangeLog,
    progress: Progress,
) -> None:
    """Writes what comes; the summary counts it."""
    summary, identities = results.summary, set[int]()
    assert summary is not None
    assert results.folder is not None
    begun, first = time.perf_counter(), None
    with results, progress:
        for result in repaired:
            results.write(result)
            log.save(results.folder)
            ids = result.track_ids[result.track_ids >= 0].tolist()
            identities.update(ids)
            summary.count(len(ids), len(identities))
            first = result.frame.timestamp if first is None else first
            summary.duration = round(result.frame.timestamp - first, 3)
            progress.advance()
        if summary.frames:
            log.save(results.folder)
    summary.seconds = round(time.perf_counter() - begun, 3)


def _told(counts: Counter[str]) -> str:
    """What was changed, in a few words."""
    parts = [f"{counts[kind]} {word}" for kind, word in WORDS.items() if counts[kind]]
    return ", ".join(parts) or "nothing changed"


if __name__ == "__main__":
    sys.exit(main())
