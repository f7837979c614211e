"""``sipvideo eval``: runs a model over a dataset, or takes its results, and scores them.

Exit codes: 0 done, also where nothing is annotated; 2 wrong usage or damaged files; 130 stopped by Ctrl-C (143 by
SIGTERM), the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo import __version__
from sipvideo.apps import command, flags
from sipvideo.apps.eval.parts import Dataset, Json
from sipvideo.apps.eval.run import PAGE, RESULTS, ZIP, ClassMap, SavedParts, run_parts, stamp
from sipvideo.errors import DatasetError

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter

OUTPUT = "runs/evaluation"
ABOUT = """Scores video instance segmentation as YouTube-VIS does, and tells why the figures are what they are.

Without --results a model runs over all videos first; its results go to DIR/results.json, with the dataset's own
ids. A run that was stopped goes on where it was. A dataset of still pictures (COCO's layout) gets COCO's figures
of boxes and masks.

Tracks in the forms of MOT (text of boxes) and MOTS (text of masks, or 16-bit PNGs) are scored too: DATASET and
--results are then text files, or folders with one file, or one folder of PNGs, for each sequence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = flags.Parser(
        prog="sipvideo eval",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset",
        type=flags.on_disk,
        metavar="DATASET",
        help="annotation file (json), or MOT and MOTS files",
    )
    flags.add_dataset_flags(parser)
    _add_run_flags(parser)
    _add_score_flags(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.results or args.compare:
        model_flags = (
            args.model,
            args.weights,
            args.config,
            args.overrides,
            args.restart,
            args.fps,
        )
        if any(model_flags) or args.classes_per_track != 1:
            parser.error("flags of the model do not go with results that exist already")
        if args.zip and not (args.results and args.output):
            parser.error("--zip needs one file of results and --output")
    elif args.output is None:
        args.output = OUTPUT
    return args


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running a model")
    flags.add_model_flags(group)
    flags.add_segmenter_flag(group)
    flags.add_output_flag(
        group,
        f"folder for all that is saved; default: {OUTPUT}, and none with --results or --compare",
    )
    group.add_argument(
        "--restart", action="store_true", help="forget the results that an earlier run left in DIR"
    )
    group.add_argument(
        "--fps",
        type=_positive,
        metavar="N",
        help="frames per second of videos that do not say it themselves; default: 6, as in YouTube-VIS",
    )
    group.add_argument(
        "--classes-per-track",
        type=flags.count,
        default=1,
        metavar="N",
        help="list a track under up to N classes, each with its share of the score; default: 1, as published: "
        "the class of most of its frames and the mean of their scores",
    )
    group.add_argument(
        "--zip", action="store_true", help=f"also write {ZIP} for an evaluation server"
    )


def _add_score_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("scoring")
    files = group.add_mutually_exclusive_group()
    files.add_argument(
        "--results",
        type=flags.on_disk,
        metavar="FILE",
        help="score this file of results; no model runs",
    )
    files.add_argument(
        "--compare",
        nargs=2,
        type=flags.on_disk,
        metavar=("A", "B"),
        help="score two files, say which differences are significant",
    )
    group.add_argument(
        "--mode",
        choices=("strict", "compat"),
        default="strict",
        help="strict (default) refuses what the published evaluator scores silently wrong; compat scores it as it does",
    )
    group.add_argument(
        "--kind",
        choices=("segm", "bbox"),
        default="segm",
        help="masks (default) or boxes of tracks",
    )
    group.add_argument(
        "--score-threshold",
        type=float,
        default=None,
        metavar="X",
        help="least score of a track that HOTA and its relatives look at; default: 0.5, for MOT and MOTS files 0",
    )
    group.add_argument(
        "--resamples",
        type=_whole,
        default=1000,
        metavar="N",
        help="draws of videos for confidence intervals; 0: none; default: 1000",
    )
    group.add_argument("--per-class", action="store_true", help="list every class, however many")
    group.add_argument(
        "--html",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write {PAGE} into DIR; default: yes",
    )
    group.add_argument(
        "--worst",
        type=_whole,
        default=6,
        metavar="N",
        help="videos that the report shows; default: 6",
    )


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {text!r}")
    return int(text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number above 0, up to 1000, got {text!r}")
    return number


def run(
    args: argparse.Namespace,
    load: Callable[[argparse.Namespace], VideoSegmenter] = command.segmenter,
) -> int:
    """Does what the command line asks for; returns the exit code.

    Args:
        args: of :func:`parse`.
        load: makes the segmenter, if one is needed.
    """
    from sipvideo.apps.eval import mot as eval_mot
    from sipvideo.apps.eval.score import compare, score

    mot = eval_mot.is_mot(args.dataset)
    if args.score_threshold is None:
        args.score_threshold = 0.0 if mot else 0.5
    if mot:
        if not args.results:
            raise DatasetError(f"{args.dataset}: MOT and MOTS files are scored with --results")
        return eval_mot.score(args)
    data = Dataset.of(args)
    if args.compare:
        return compare(data)
    if args.results:
        return score(data, Path(args.results))
    command.require_opencv()
    with command.Stop() as stop:
        figures = _segment(data, load, stop)
        if figures is None:
            return stop.exit_code(command.INTERRUPTED)
    return score(data, Path(args.output) / RESULTS, figures)


def _segment(
    data: Dataset, load: Callable[[argparse.Namespace], VideoSegmenter], stop: command.Stop
) -> Json | None:
    """Runs the model over what is missing and writes all results; None if a signal came."""
    args = data.args
    parts = data.parts()
    segmenter = load(args)
    classes = ClassMap.of(segmenter.class_names, data.content["categories"])
    if len(classes.missing) == len(classes.names):
        raise DatasetError(
            f"{args.dataset}: none of its classes ({_listed(classes.unknown)}) is known to the model"
            f" ({_listed(classes.names)}): there is nothing to score"
        )
    if classes.unknown:
        lost = data.count(classes.unknown)
        command.note(
            f"the model does not know these classes of the dataset: {_listed(classes.unknown, 40)};"
            f" they have {lost} of its {data.count()} objects"
        )
    if classes.missing:
        command.note(f"the dataset lacks these classes of the model: {_listed(classes.missing)}")
    saved = SavedParts(Path(args.output), _settings(args), restart=args.restart)
    failed = run_parts(parts, saved, segmenter, classes, stop, quiet=args.quiet)
    if stop.asked:
        done = sum(map(saved.has, parts))
        command.note(f"{done} of {len(parts)} parts are done; the same command goes on")
        return None
    if failed:
        # Figures without them would look like those of the whole dataset.
        raise DatasetError(
            f"{args.dataset}: {failed} of {len(parts)} parts failed, so nothing is scored; the others are kept in"
            f" {args.output}, and the same command tries the failed ones again"
        )
    figures = saved.merge(parts)
    if figures["left_out"]:
        several = [f"{name} {count}" for name, count in figures["left_out"].items()]
        command.note(f"results in classes that the dataset lacks were left out: {_listed(several)}")
    return {**figures, "unknown_classes": list(classes.unknown)}


def _settings(args: argparse.Namespace) -> Json:
    """What determines the results: equal settings, equal results."""
    from sipvideo.build import packaged_weights

    return {
        "dataset": stamp(args.dataset),
        "images": args.images,
        "split": args.split,
        "weights": stamp(args.weights or packaged_weights(args.model)),
        "config": stamp(args.config) if args.config else None,
        "overrides": args.overrides,
        "ignore_orientation": args.ignore_orientation or None,
        "fps": args.fps,
        "classes_per_track": args.classes_per_track,
        "version": __version__,
    }


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
