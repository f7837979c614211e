"""``sipvideo video``: segments and tracks videos and picture sequences, saves the results.

Exit codes: 0 every input is done; 2 wrong usage, or an input failed; 130 stopped by Ctrl-C (143 by
SIGTERM, 141 where the reader of --stdout went away).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo import __version__
from sipvideo.apps import command, flags
from sipvideo.apps.inputs import Input, find_inputs
from sipvideo.apps.progress import Overall, Progress
from sipvideo.errors import SipVideoError
from sipvideo.files import is_pattern, matches
from sipvideo.jobs import (
    Executor,
    InProcess,
    Job,
    Monitor,
    SegmenterSpec,
    Spec,
    WorkerPool,
    completed,
)
from sipvideo.results import FILES
from sipvideo.showing import Showing, with_stamps
from sipvideo.summary import Summary

if TYPE_CHECKING:
    from sipvideo.structures import FrameResult

DEFAULT_KINDS = ("video", "json", "csv", "appearance")
AHEAD = 3
"""Batches that are read and segmented ahead of time: what keeps every thread busy, and little memory at 4K."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args, command.spec(args)))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = flags.Parser(
        prog="sipvideo video",
        description="Segments and tracks videos and picture sequences. Each input gets a folder of its name in DIR.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="video file; folder of videos; folder or quoted pattern of pictures (one sequence); address of a stream",
    )
    flags.add_output_flag(parser, "folder for the results")
    parser.add_argument(
        "--save",
        type=flags.result_kinds,
        default=DEFAULT_KINDS,
        metavar="KIND,...",
        help=f"results to save: {', '.join(FILES)}; default: {','.join(DEFAULT_KINDS)}",
    )
    parser.add_argument(
        "--stdout",
        action="store_true",
        help="also write one JSON line per frame to standard output",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="pass over inputs that are complete with the same settings",
    )
    parser.add_argument(
        "--fps",
        type=_rate,
        default=25.0,
        metavar="N",
        help="pictures per second of sequences; default: 25",
    )
    parser.add_argument(
        "--batch",
        type=flags.count,
        metavar="N",
        help="frames that the network sees at once; default: as many as make it faster, 1 on a CPU",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="notes are errors: an input of which something had to be chosen, changed or left out has failed",
    )
    parser.add_argument(
        "--lookahead",
        type=flags.time,
        default=0.0,
        metavar="2s",
        help="decide about identities only after so much more of the video: joins, drops and fills as sipvideo repair "
        "does, in one go; repair.log says what",
    )
    part = parser.add_argument_group("a part of each input")
    part.add_argument(
        "--from",
        dest="start",
        type=flags.time,
        default=0.0,
        metavar="TIME",
        help="begin there: 90, 1:30",
    )
    part.add_argument("--to", dest="end", type=flags.time, metavar="TIME", help="end there")
    part.add_argument(
        "--every", type=flags.count, default=1, metavar="N", help="take every N-th frame"
    )
    part.add_argument("--max-frames", type=flags.count, metavar="N", help="take N frames at most")
    flags.add_selection_flags(parser.add_argument_group("what is looked for"))
    looks = parser.add_argument_group("how it looks, and what is watched")
    flags.add_drawing_flags(looks)
    flags.add_event_flags(looks)
    many = parser.add_argument_group("many inputs")
    many.add_argument(
        "--workers",
        type=flags.count,
        metavar="N",
        help="processes, each with the model and its share of the cores and GPUs; one that dies is replaced",
    )
    many.add_argument(
        "--job-timeout",
        type=flags.time,
        metavar="TIME",
        help="an input that takes longer has failed; its results so far are kept",
    )
    flags.add_model_flags(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.end is not None and args.end <= args.start:
        parser.error(f"--to {args.end:g}: expected a time after --from {args.start:g}")
    if args.output is None and (args.zones or args.send):
        parser.error("--zones and --send: events are saved too, say where: --output DIR")
    if args.output is None and not args.stdout:
        parser.error("say where the results go: --output DIR, or --stdout")
    args.inputs = find_inputs(args.inputs)
    if args.stdout and (args.workers or args.job_timeout):
        parser.error("--stdout: --workers and --job-timeout run inputs in other processes")
    if args.stdout and len(args.inputs) > 1:
        parser.error(f"--stdout takes one input, got {len(args.inputs)}")
    return args


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 1000, got {text!r}")
    return rate


def run(args: argparse.Namespace, spec: SegmenterSpec) -> int:
    """Processes all inputs with the segmenter that the spec builds; returns the exit code."""
    command.require_opencv()
    spec = spec.sealed()
    with _executor(args, spec) as executor:
        return _run(args, spec.settings(), executor)


def _executor(args: argparse.Namespace, spec: Spec) -> Executor:
    """What the jobs run on: this process, or others where they are asked for, or may have to be killed."""
    if args.workers is None and args.job_timeout is None:
        return InProcess(spec)
    return WorkerPool(spec, args.workers or 1, args.job_timeout)


def _run(args: argparse.Namespace, model: dict[str, Any], executor: Executor) -> int:
    loaded = executor.load()
    command.recognised(args, loaded.model)
    Showing.read(flags.showing(args), loaded.class_names, args.send)  # a mistake is told once
    rows: list[Row] = []
    with command.Stop() as stop:
        jobs = _wanted((_job(single, args, model) for single in args.inputs), args, rows)
        monitor = _Monitor(stop, quiet=args.quiet)
        if not isinstance(executor, InProcess):
            monitor = _ManyMonitor(stop, lambda: len(args.inputs), quiet=args.quiet)
        outcomes = executor.run(jobs, monitor)
        rows += (Row(outcome.summary, outcome.job.folder) for outcome in outcomes)
    if not args.quiet:
        print(_table(rows), file=sys.stderr if args.stdout else sys.stdout, flush=True)
    failed = any(row.state == "failed" for row in rows)
    return stop.exit_code(command.FAILED if failed else 0)


def _wanted(jobs: Iterable[Job], args: argparse.Namespace, rows: list[Row]) -> Iterator[Job]:
    """Jobs without those that --resume passes over."""
    for job in jobs:
        kept = completed(job) if args.resume else None
        if kept is None:
            yield job
        else:
            rows.append(Row(kept, job.folder, "kept"))


class _Monitor(Monitor):
    """Shows each line once, and progress; Ctrl-C ends all.

    Args:
        stop: listens to signals.
        quiet: no progress.
    """

    def __init__(self, stop: command.Stop, *, quiet: bool) -> None:
        self._stop, self._quiet = stop, quiet
        self._told: set[str] = set()
        self._progress: Progress | None = None

    @property
    def stopped(self) -> bool:
        """See :class:`Monitor`."""
        return self._stop.asked

    def until(self, results: Iterator[FrameResult]) -> Iterator[FrameResult]:
        """See :class:`Monitor`."""
        return self._stop.until(results)

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        """See :class:`Monitor`."""
        if self._progress is None:
            self._progress = Progress(_shown(job.input), expected, self._quiet)
        self._progress.reach(frames)

    def complain(self, job: Job, error: SipVideoError) -> None:
        """See :class:`Monitor`."""
        command.complain(error)

    def note(self, job: Job, line: str) -> None:
        """See :class:`Monitor`."""
        if line not in self._told:
            self._told.add(line)
            command.note(line)

    def end(self, job: Job) -> None:
        """See :class:`Monitor`."""
        if self._progress is not None:
            self._progress.bar.close()
            self._progress = None


class _ManyMonitor(_Monitor):
    """The same with one display for all.

    Args:
        stop: listens to signals.
        total: says how many inputs there are, as far as is known.
        quiet: no progress.
    """

    def __init__(self, stop: command.Stop, total: Callable[[], int], *, quiet: bool) -> None:
        super().__init__(stop, quiet=quiet)
        self._all = Overall(total, quiet)

    def begin(self, job: Job, worker: str, tries: int) -> None:
        """See :class:`Monitor`."""
        self._all.begin(job.input)

    def advance(self, job: Job, frames: int, expected: int | None) -> None:
        """See :class:`Monitor`."""
        self._all.work(job.input, frames)

    def end(self, job: Job) -> None:
        """See :class:`Monitor`."""
        self._all.settle(job.input)


def _job(single: Input, args: argparse.Namespace, model: dict[str, Any]) -> Job:
    folder = None if args.output is None else Path(args.output) / single.name
    given = {"fps": args.fps, "batch": args.batch, "stdout": args.stdout, "strict": args.strict}
    part = {"lookahead": args.lookahead}
    part |= {"start": args.start, "end": args.end, "every": args.every, "most": args.max_frames}
    return Job(
        single.text,
        folder,
        args.save,
        settings=_settings(single, args, model),
        notes=(single.note,) if single.note else (),
        ahead=AHEAD,
        showing=flags.showing(args),
        send=tuple(args.send),
        **given,
        **part,
    )


def _settings(single: Input, args: argparse.Namespace, model: dict[str, Any]) -> dict[str, Any]:
    """What determines an input's results: equal settings, equal results."""
    return {
        "input": _stamp(single.text),
        "version": __version__,
        **model,
        "fps": args.fps,
        "save": list(args.save),
        **_unusual(args),
        **with_stamps(flags.showing(args)),
    }


def _unusual(args: argparse.Namespace) -> dict[str, Any]:
    """What of the rest was asked for; runs before these flags were there compare equal."""
    values = {
        name: getattr(args, name) for name in ("start", "end", "every", "max_frames", "lookahead")
    }
    usual = {"start": 0.0, "lookahead": 0.0, "every": 1}
    return {name: value for name, value in values.items() if value != usual.get(name)}


def _stamp(text: str | None) -> Any:
    """A text; where it names files, their paths, sizes and times, so that a changed file is noticed."""
    paths = [text or ""]
    if text is not None and os.path.isdir(text):
        with contextlib.suppress(OSError):
            paths = sorted(os.path.join(text, name) for name in os.listdir(text))
    elif text is not None and is_pattern(text):
        paths = [str(path) for path in matches(text)]
    files = [path for path in paths if os.path.isfile(path)]
    stats = [(os.path.abspath(path), os.stat(path)) for path in files]
    listing = [[path, stat.st_size, stat.st_mtime] for path, stat in stats]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest() if listing else None
    return [text, digest]


@dataclass(frozen=True)
class Row:
    """A line of the table: a summary, where its results are, and "kept" for what --resume passed over."""

    summary: Summary
    folder: Path | None
    kept: str = ""

    @property
    def state(self) -> str:
        """How it ended."""
        return self.kept or self.summary.state


def _shown(text: str) -> str:
    """An input in the table: the name of a file, a whole pattern, since others may end alike."""
    return text if is_pattern(text) else Path(text).name or text


def _table(rows: Sequence[Row]) -> str:
    """What became of each input, one line each."""
    lines = [("input", "frames", "objects", "tracks", "seconds", "fps", "state", "results")]
    for row in rows:
        one, folder = row.summary, row.folder
        numbers = (str(one.frames), str(one.objects or 0), str(one.identities or 0))
        speed = (f"{one.seconds:.1f}", f"{one.fps:.1f}")
        where = str(folder) if folder is not None and folder.exists() else "-"
        lines.append((_shown(one.input), *numbers, *speed, row.state, where))
    widths = [max(len(line[column]) for line in lines) for column in range(8)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if 1 <= column <= 5 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


if __name__ == "__main__":
    sys.exit(main())
