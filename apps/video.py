"""``sipvideo video``: segments and tracks videos and picture sequences, saves the results.

Exit codes: 0 every input is done; 2 wrong usage, or an input failed; 130 stopped by Ctrl-C (143 by
SIGTERM, 141 where the reader of --stdout went away).
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo import __version__
from sipvideo.apps import command
from sipvideo.apps.inputs import Input, find_inputs
from sipvideo.apps.progress import Progress
from sipvideo.errors import SinkError, SipVideoError, SourceError, failure
from sipvideo.results import FILES, SUMMARY, Results
from sipvideo.stages import Behind

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.sources import Source
    from sipvideo.structures import FrameResult

DEFAULT_KINDS = ("video", "json", "csv", "appearance")
AHEAD, BEHIND = 3, 2
"""Frames that wait between reading and segmenting, and between that and writing: what keeps every thread busy, and
little memory at 4K."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args, command.segmenter(args).for_files()))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = command.Parser(
        prog="sipvideo video",
        description="Segments and tracks videos and picture sequences. Each input gets a folder of its name in DIR.",
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="video file; folder of videos; folder or quoted pattern of pictures (one sequence); address of a stream",
    )
    command.add_output_flag(parser, "folder for the results")
    parser.add_argument(
        "--save",
        type=command.result_kinds,
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
        type=command.count,
        metavar="N",
        help="frames that the network sees at once; default: as many as make it faster, 1 on a CPU",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="notes are errors: an input of which something had to be chosen, changed or left out has failed",
    )
    command.add_model_flags(parser)
    command.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.output is None and not args.stdout:
        parser.error("say where the results go: --output DIR, or --stdout")
    args.inputs = find_inputs(args.inputs)
    if args.stdout and len(args.inputs) > 1:
        parser.error(f"--stdout takes one input, got {len(args.inputs)}")
    return args


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 1000, got {text!r}")
    return rate


@dataclass
class Outcome:
    """What became of one input; saved as summary.json in the folder of its results.

    Attributes:
        state: "complete", "failed" or "interrupted"; in the table also "kept", for inputs passed over by --resume.
        problem: the first error's line.
        objects: with an identity, sum over all frames.
        seconds: wall time, opening and saving included.
        settings: what determines the results, for --resume.
        notes: what was chosen, changed or left out on the way from the input to the files, one line each.
        identities: of all objects.
    """

    input: str
    settings: dict[str, Any]
    state: str = "complete"
    problem: str = ""
    frames: int = 0
    objects: int = 0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    identities: set[int] = field(default_factory=set)

    @property
    def fps(self) -> float:
        """Frames per second of wall time."""
        return self.frames / self.seconds if self.seconds else 0.0

    def count(self, result: FrameResult) -> None:
        """One more frame is done."""
        ids = result.track_ids[result.track_ids >= 0].tolist()
        self.identities.update(ids)
        self.frames += 1
        self.objects += len(ids)

    def fail(self, error: SipVideoError) -> None:
        """Shows the error and keeps the first one."""
        command.complain(error)
        if self.state != "failed":
            self.state, self.problem = "failed", str(error)

    def tell(self, notes: Iterable[str], *, strict: bool) -> None:
        """Keeps the notes of a run that ended, each once, and shows them; if ``strict``, they are its failure."""
        self.notes += [line for line in dict.fromkeys(notes) if line not in self.notes]
        for line in self.notes:
            if strict:
                self.fail(SipVideoError(f"--strict: {line}"))
            else:
                command.note(line)

    def save(self, folder: Path) -> None:
        """Writes the summary; where that fails, no summary is left and the outcome is a failure."""
        known = {k: v for k, v in vars(self).items() if k != "identities"}
        content = json.dumps(known | {"tracks": len(self.identities)}, indent=2)
        partial = folder / f".{SUMMARY}.partial"
        try:
            partial.write_text(content + "\n", encoding="utf-8")
            partial.replace(folder / SUMMARY)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            self.fail(SinkError(f"{folder / SUMMARY}: cannot be written: {error.strerror}"))


def run(args: argparse.Namespace, segmenter: VideoSegmenter) -> int:
    """Processes all inputs one after the other with a ready segmenter; returns the exit code."""
    rows = []
    with command.Stop() as stop:
        for single in args.inputs:
            folder = None if args.output is None else Path(args.output) / single.name
            outcome = Outcome(single.text, _settings(single, args))
            if args.resume and folder is not None and _is_complete(folder, outcome, args.strict):
                outcome.state = "kept"
            else:
                _process(args, segmenter, folder, outcome, stop)
            rows.append((outcome, folder))
            if stop.asked:
                break
    if not args.quiet:
        print(_table(rows), file=sys.stderr if args.stdout else sys.stdout, flush=True)
    failed = any(outcome.state == "failed" for outcome, _ in rows)
    return stop.exit_code(command.FAILED if failed else 0)


def _settings(single: Input, args: argparse.Namespace) -> dict[str, Any]:
    """What determines an input's results: equal settings, equal results."""
    return {
        "input": _stamp(single.text),
        "config": _stamp(args.config),
        "model": args.model,
        "weights": _stamp(args.weights),
        "version": __version__,
        "overrides": args.overrides,
        "runtime": args.runtime,
        "fps": args.fps,
        "save": list(args.save),
    }


def _stamp(text: str | None) -> Any:
    """A text; where it names files, their paths, sizes and times, so that a changed file is noticed."""
    if text is None or glob.has_magic(text) or not os.path.isdir(text):
        paths = sorted(glob.glob(text)) if text and glob.has_magic(text) else [text or ""]
    else:
        paths = sorted(os.path.join(text, name) for name in os.listdir(text))
    files = [path for path in paths if os.path.isfile(path)]
    stats = [(os.path.abspath(path), os.stat(path)) for path in files]
    listing = [[path, stat.st_size, stat.st_mtime] for path, stat in stats]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest() if listing else None
    return [text, digest]


def _is_complete(folder: Path, outcome: Outcome, strict: bool) -> bool:
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if strict and summary.get("notes"):
            return False
        return bool(summary["state"] == "complete" and summary["settings"] == outcome.settings)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _process(
    args: argparse.Namespace,
    segmenter: VideoSegmenter,
    folder: Path | None,
    outcome: Outcome,
    stop: command.Stop,
) -> None:
    """One input from opening to summary; its errors end in the outcome."""
    from sipvideo.sources import open_source

    started = time.perf_counter()
    source: Source | None = None
    results: Results | None = None
    try:
        with open_source(outcome.input, fps=args.fps) as source:
            names = segmenter.class_names
            results = Results(source, names, folder, args.save, stdout=args.stdout)
            with results, Progress(Path(source.name).name, _length(source), args.quiet) as progress:

                def write(result: FrameResult) -> None:
                    results.write(result)
                    outcome.count(result)
                    progress.advance()

                found = segmenter.run(source, AHEAD, batch=args.batch)
                try:
                    with contextlib.closing(found), Behind(write, most=BEHIND) as written:
                        for result in stop.until(found):
                            written.put(result)
                        if stop.asked:
                            written.drop()  # whoever stops the run does not want to wait for them
                except SourceError as error:
                    # The sinks close as after a good end: the frames before the damage are results.
                    outcome.fail(error)
    except BrokenPipeError:
        outcome.state = "interrupted"
        raise
    except Exception as error:
        outcome.fail(failure(error, outcome.input))
    finally:
        outcome.tell(_notes(segmenter, source, results), strict=args.strict)
        outcome.seconds = time.perf_counter() - started
        if stop.asked and outcome.state == "complete":
            outcome.state = "interrupted"
        if folder is not None and outcome.frames:
            outcome.save(folder)


def _notes(
    segmenter: VideoSegmenter, source: Source | None, results: Results | None
) -> Iterator[str]:
    """What every part of a run has to tell, with its name: the one place where notes come together."""
    yield from segmenter.engine.notes
    if source is not None:
        yield from (f"{source.name}: {note}" for note in source.notes)
    if results is not None:
        yield from results.notes


def _length(source: Source) -> int | None:
    """Number of frames as far as it is known or can be reckoned."""
    if source.frame_count is None and source.duration and source.fps:
        return round(source.duration * source.fps)
    return source.frame_count


def _table(rows: Sequence[tuple[Outcome, Path | None]]) -> str:
    """What became of each input, one line each."""
    lines = [("input", "frames", "objects", "tracks", "seconds", "fps", "state", "results")]
    for outcome, folder in rows:
        numbers = (str(outcome.frames), str(outcome.objects), str(len(outcome.identities)))
        speed = (f"{outcome.seconds:.1f}", f"{outcome.fps:.1f}")
        where = str(folder) if folder is not None and folder.exists() else "-"
        lines.append(
            (Path(outcome.input).name or outcome.input, *numbers, *speed, outcome.state, where)
        )
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
