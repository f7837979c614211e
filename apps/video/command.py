"""``sipvideo video``: segments and tracks videos and picture sequences, saves the results.

Exit codes: 0 every input is done; 2 wrong usage, or an input failed; 130 stopped by Ctrl-C (143 by
SIGTERM, 141 where the reader of --stdout went away).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence

from sipvideo.apps import command, flags
from sipvideo.apps.inputs import find_inputs
from sipvideo.apps.video.run import run
from sipvideo.remote import is_remote_listing
from sipvideo.results import FILES

DEFAULT_KINDS = ("video", "json", "csv", "appearance")


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
        nargs="*",
        metavar="INPUT",
        help="video file; folder of videos; folder or quoted pattern of pictures (one sequence); address of a stream; "
        "each of the first three in a bucket, too: s3://, gs://, az:// (docs/buckets.md)",
    )
    flags.add_output_flag(
        parser,
        "folder for the results, on the disk or in a bucket: s3://bucket/folder",
        remote=True,
    )
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
        help="pass over inputs that are complete with the same settings, and go on with long ones that were cut off",
    )
    parser.add_argument(
        "--checkpoint",
        type=flags.time,
        default=60.0,
        metavar="TIME",
        help="how often a long run writes down where it is, for --resume to go on from; 0: never; default: 1min",
    )
    parser.add_argument(
        "--fps",
        type=flags.rate,
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
    _add_many_flags(parser.add_argument_group("many inputs"))
    flags.add_model_flags(parser)
    flags.add_segmenter_flag(parser)
    flags.add_hwaccel_flag(parser)
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.end is not None and args.end <= args.start:
        parser.error(f"--to {args.end:g}: expected a time after --from {args.start:g}")
    if args.output is None and flags.watches(args):
        parser.error("--zones and --send: events are saved too, say where: --output DIR")
    if args.output is None and not args.stdout:
        parser.error("say where the results go: --output DIR, or --stdout")
    if not args.inputs and args.list is None:
        parser.error("name an INPUT, or a list of them: --list FILE")
    others = args.workers or args.job_timeout or args.on
    if args.stdout and (others or args.list or args.recursive):
        parser.error("--stdout takes one input, which this process runs")
    if args.on is None and (args.cpus_per_worker, args.gpus_per_worker) != (None, None):
        parser.error("--cpus-per-worker and --gpus-per-worker are for Ray: --on")
    many = args.list or args.recursive or any(map(is_remote_listing, args.inputs))
    args.found = None if many else find_inputs(args.inputs)
    if args.stdout and (args.found is None or len(args.found) > 1):
        parser.error(f"--stdout takes one input, got {len(args.found or ()) or 'many'}")
    return args


def _add_many_flags(many: argparse._ActionsContainer) -> None:
    many.add_argument(
        "--list",
        metavar="FILE|-",
        help="file with an input on each line, or a JSON object with settings of its own, such as "
        '{"input": "a.mp4", "from": 10, "to": 20, "classes": ["person"]}; - reads standard input',
    )
    many.add_argument(
        "--recursive",
        action="store_true",
        help="folders stand for what is in folders below them, too",
    )
    add_executor_flags(many)


def add_executor_flags(many: argparse._ActionsContainer) -> None:
    """--workers and --job-timeout: what inputs are run on."""
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
    many.add_argument(
        "--on",
        type=_ray,
        metavar="ray|ADDRESS",
        help="spread inputs with Ray: ray starts one on this machine; ray://HOST:PORT is a cluster, HOST:PORT or auto "
        "one that this machine is part of (extra: ray)",
    )
    many.add_argument(
        "--cpus-per-worker",
        type=_amount,
        metavar="N",
        help="with --on: CPUs of each worker; default: its share",
    )
    many.add_argument(
        "--gpus-per-worker",
        type=_amount,
        metavar="N",
        help="with --on: GPUs of each worker, such as 0.25; default: 1 where there are any",
    )


def _ray(text: str) -> str:
    if text in ("ray", "auto") or re.fullmatch(r"(ray://)?[^/\s:@]+:\d+", text):
        return text
    raise argparse.ArgumentTypeError(
        f"expected ray, auto, HOST:PORT or ray://HOST:PORT, got {text!r}"
    )


def _amount(text: str) -> float:
    amount = float(text)
    if not (0 <= amount <= 1 or amount.is_integer()) or amount < 0:
        raise argparse.ArgumentTypeError(f"expected a part of one, or a whole number, got {text!r}")
    return amount


if __name__ == "__main__":
    sys.exit(main())
