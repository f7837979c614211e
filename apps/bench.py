"""``sipvideo bench``: how long each stage of a step takes, as medians, and as a ratio to a baseline in the same run."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from sipvideo.apps import command


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="sipvideo bench",
        description="Times the stages of a step on this machine. Reading and writing videos is not included.",
    )
    parser.add_argument(
        "input",
        nargs="?",
        metavar="INPUT",
        help="video or folder of pictures whose first frames are used; default: moving noise of --size",
    )
    parser.add_argument(
        "--size",
        type=_size,
        default=(720, 1280),
        metavar="WxH",
        help="without INPUT; default: 1280x720",
    )
    parser.add_argument(
        "--frames", type=command.count, default=20, metavar="N", help="timed; default: 20"
    )
    parser.add_argument(
        "--warm-up", type=command.count, default=3, metavar="N", help="not timed; default: 3"
    )
    parser.add_argument(
        "--threads", type=command.count, metavar="N", help="of PyTorch; default: as many as cores"
    )
    parser.add_argument(
        "--vs",
        choices=["plain"],
        help="also time the method without any shortcut, in alternation: dense maps, full masks, the library's "
        "deformable convolution",
    )
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="speed of a --config without weights; the class bias is raised until frames are full of objects",
    )
    parser.add_argument("--json", metavar="FILE", help="also save the figures")
    command.add_model_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures and prints the table."""
    command.require_opencv()
    import torch

    from sipvideo import benchmark
    from sipvideo.build import build_segmenter, load_model, with_random_weights
    from sipvideo.config import load_config

    if args.threads:
        torch.set_num_threads(args.threads)
    total = args.frames + args.warm_up
    frames = (
        benchmark.frames_of(args.input, total) if args.input else benchmark.noise(args.size, total)
    )
    if args.random_weights:
        config = load_config(args.config or "sipmask_nano", args.overrides)
        model = with_random_weights(config, frames[0])
    else:
        config, model = load_model(args.config, args.weights, args.overrides)
    # Made first: the baseline keeps the network as it was trained.
    plain = benchmark.plain_form(model, config) if args.vs == "plain" else None
    segmenter = build_segmenter(config, model, args.device, args.runtime)
    report = benchmark.measure(segmenter, frames, args.warm_up, plain)
    print(report.table())
    print(
        f"{len(frames) - args.warm_up} frames of {frames[0].size[1]}x{frames[0].size[0]}, medians; "
        f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}, {platform.machine()}"
    )
    if args.json:
        Path(args.json).write_text(json.dumps(report.values(), indent=1) + "\n", encoding="utf-8")
    return 0


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    return int(height), int(width)


if __name__ == "__main__":
    sys.exit(main())
