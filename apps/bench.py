"""``sipvideo bench``: stages of a step, runs from file to file, and growth with objects and resolution.

Every comparison runs in alternation in one process; its ratio is the figure to quote, not the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.apps import command, flags
from sipvideo.errors import SinkError
from sipvideo.results import FILES

if TYPE_CHECKING:
    from PIL.Image import Image

    from sipvideo.bench.stages import Times
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import Frame

AHEAD = 3
"""Frames in threads, as in ``sipvideo video``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: scaling(args) if args.scaling else run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = flags.Parser(
        prog="sipvideo bench",
        description="Times the stages of a step, frame in, identities out, and the whole pipeline on this machine.",
    )
    _add_frames(parser)
    _add_measurements(parser)
    flags.add_model_flags(parser)
    args = parser.parse_args(argv)
    args.kinds = tuple(FILES) if args.save == "all" else tuple(args.save.split(","))
    if unknown := set(args.kinds) - FILES.keys():
        parser.error(f"--save: unknown: {', '.join(sorted(unknown))}")
    if args.plot and not args.plot.lower().endswith(".png"):
        parser.error(f"--plot: expected a name ending in .png, got {args.plot!r}")
    return args


def _add_frames(parser: argparse.ArgumentParser) -> None:
    """What is timed, and how often."""
    add = parser.add_argument
    add(
        "input",
        nargs="?",
        metavar="INPUT",
        help="video or folder of pictures whose first frames are used; default: moving noise of --size",
    )
    add(
        "--size",
        type=_size,
        default=(720, 1280),
        metavar="WxH",
        help="without INPUT; default: 1280x720",
    )
    add("--frames", type=flags.count, default=20, metavar="N", help="timed; default: 20")
    add("--warm-up", type=flags.count, default=3, metavar="N", help="not timed; default: 3")
    add("--threads", type=flags.count, metavar="N", help="of PyTorch; default: as many as cores")


def _add_measurements(parser: argparse.ArgumentParser) -> None:
    """What is measured besides the stages, and where it goes."""
    add = parser.add_argument
    add(
        "--io",
        action="store_true",
        help="also run the whole INPUT from file to files, as sipvideo video does",
    )
    add(
        "--save",
        default="video,json,csv",
        metavar="KIND,...",
        help=f"results that --io writes: all, or some of {', '.join(FILES)}; default: video,json,csv",
    )
    add(
        "--vs",
        type=_versus,
        metavar="WHAT",
        help="also time another one in alternation: plain (the method without any shortcut: dense maps, full masks, "
        "the library's deformable convolution), runtime=NAME, config=NAME or weights=PATH",
    )
    add(
        "--scaling",
        action="store_true",
        help="instead: everything but the network, as objects grow 1, 10, 100 and frames grow 360p, 720p, 2160p; "
        "association and mask assembly with 100 objects",
    )
    add(
        "--random-weights",
        action="store_true",
        help="speed of a --config without weights; the class bias is raised until frames are full of objects",
    )
    add("--json", metavar="FILE", help="also save the figures")
    add("--plot", metavar="FILE", help="also save a picture of them (.png)")


def run(args: argparse.Namespace) -> int:
    """Measures one segmenter, or two in alternation, and prints the tables."""
    command.require_opencv()
    from sipvideo import machine
    from sipvideo.bench import stages

    total = args.frames + args.warm_up
    frames = stages.frames_of(args.input, total) if args.input else stages.noise(args.size, total)
    segmenters = _segmenters(args, frames[0])
    times = stages.measure(segmenters, frames, args.warm_up)
    values = _values(args, segmenters[0], frames, times)
    # As sipvideo video works; the first run sets the engine up once more.
    overlapping = segmenters[0].for_files()
    stages.run_in_memory(overlapping, frames[: args.warm_up], AHEAD)
    timed = frames[args.warm_up :]
    values["without_files"] = stages.run_in_memory(overlapping, timed, AHEAD)
    if args.io:
        with tempfile.TemporaryDirectory() as folder:
            clip = args.input or str(Path(folder) / "noise.mp4")
            if not args.input:
                stages.clip_of(frames, Path(clip))
            values["end_to_end"] = stages.run_files(overlapping, clip, args.kinds)
    peak = machine.peak_memory()
    values["peak_memory_mb"] = peak and round(peak)
    print(_report(args, values, times))
    _save(args, values, lambda: _picture(values, times))
    return 0


def scaling(args: argparse.Namespace) -> int:
    """Measures everything but the network on raw outputs that are made up."""
    segmenter = command.segmenter(args)
    from sipvideo import machine
    from sipvideo.bench import scaling as growth

    found = growth.measure(segmenter, args.frames)
    print(found.table())
    print(machine.line())
    _save(args, {**found.values(), "machine": machine.known()}, found.picture)
    return 0


def _segmenters(args: argparse.Namespace, frame: Frame) -> list[VideoSegmenter]:
    """The one that the flags ask for, and the one of ``--vs``."""
    from sipvideo import build
    from sipvideo.bench.stages import plain_form
    from sipvideo.config import load_config

    if args.threads:
        import torch

        torch.set_num_threads(args.threads)
    what, value = args.vs or ("", "")
    asked = {key: getattr(args, key) for key in ("config", "weights", "runtime", "model")}
    # Other weights bring their own configuration.
    changed = {**asked, "config": None, "model": None} if what == "weights" else asked
    result: list[VideoSegmenter] = []
    for chosen in [asked, {**changed, what: value}][: 1 if what in ("", "plain") else 2]:
        name, weights, runtime = chosen["config"], chosen["weights"], chosen["runtime"]
        own = chosen["model"]
        if not args.random_weights and what != "plain":
            result.append(
                build.load(name, weights, args.device, args.overrides, runtime, model=own)
            )
            continue
        if args.random_weights:
            name = name or f"sipmask_{own or build.DEFAULT_MODEL}"
            config = load_config(name, args.overrides)
            model = build.with_random_weights(config, frame)
        else:
            config, model = build.load_model(name, weights, args.overrides, own)
        # Made first: the baseline keeps the network as it was trained.
        plain = [plain_form(model, config)] if what == "plain" else []
        result += [build.build_segmenter(config, model, args.device, runtime), *plain]
    return result


def _values(
    args: argparse.Namespace,
    segmenter: VideoSegmenter,
    frames: Sequence[Frame],
    times: Sequence[Times],
) -> dict[str, Any]:
    from sipvideo import machine
    from sipvideo.bench.stages import ratio
    from sipvideo.engine import HostEngine

    engine = segmenter.engine
    width, height = engine.input_size or (0, 0)
    if isinstance(engine, HostEngine):
        height, width = engine.transform.geometry(frames[0].size).padded_size
    values = {
        "machine": machine.known(),
        "runtime": engine.about,
        "config": engine.model,
        "frame_size": f"{frames[0].size[1]}x{frames[0].size[0]}",
        "input_size": f"{width}x{height}",
        "frames": len(frames) - args.warm_up,
        **times[0].values(),
    }
    if args.vs:
        name = "=".join(part for part in args.vs if part)
        values["versus"] = {"name": name, **times[1].values(), "ratio": ratio(times[0], times[1])}
    return values


def _report(args: argparse.Namespace, values: dict[str, Any], times: Sequence[Times]) -> str:
    """The figures for people; every fps says what it includes."""
    from sipvideo import machine

    step = values["step_ms"]["p50"]
    lines = [times[0].table(), f"{1000 / step:.1f} steps per second, one after the other"]
    if args.vs:
        other = values["versus"]
        lines += [
            "",
            other["name"],
            times[1].table(),
            f"ours / {other['name']}: {other['ratio']:.3f}",
        ]
    lines.append("")
    for name in ("without_files", "end_to_end"):
        if name in values:
            run = values[name]
            lines.append(
                f"{run['fps']:.1f} fps, {run['cores_busy']:.2f} cores busy: {run['includes']}"
            )
    if memory := values.get("end_to_end", {}).get("memory_mb"):
        lines.append(
            f"memory: {memory['after_a_quarter']} MB after a quarter of the file, {memory['end']} MB at its end, "
            f"{memory['highest']} MB at most"
        )
    lines += [
        f"highest memory of the process: {values['peak_memory_mb']} MB",
        f"{values['frames']} frames of {values['frame_size']} as {values['input_size']}, "
        f"{values['objects']:.1f} objects per frame; {values['config']}, {values['runtime']}",
        machine.line(),
    ]
    return "\n".join(lines)


def _picture(values: dict[str, Any], times: Sequence[Times]) -> Image:
    """Percentiles per stage as bars, and the whole step over the frames."""
    import numpy as np

    from sipvideo import charts

    rows = [*values["stages_ms"].items(), ("whole step", values["step_ms"])]
    named = [(name, list(row.values())) for name, row in rows]
    series = {}
    for name, one in zip(("", values.get("versus", {}).get("name", "")), times, strict=False):
        steps = np.array(one.steps)
        series[name] = (np.arange(len(steps), dtype=np.float64), steps)
    bars = charts.bars("milliseconds per stage", named, list(values["step_ms"]))
    return charts.stacked(
        [bars, charts.drawn([charts.Panel("whole step, ms", series, across="frame")])]
    )


def _save(args: argparse.Namespace, values: dict[str, Any], picture: Any) -> None:
    """Writes what --json and --plot ask for.

    Raises:
        SinkError: it cannot be written.
    """
    try:
        if args.json:
            Path(args.json).write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        if args.plot:
            picture().save(args.plot, "PNG")
    except OSError as error:
        where = error.filename or args.json
        raise SinkError(f"{where}: cannot be written: {error.strerror}") from error


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    return int(height), int(width)


def _versus(text: str) -> tuple[str, str]:
    what, _, value = text.partition("=")
    if text != "plain" and (what not in ("runtime", "config", "weights") or not value):
        raise argparse.ArgumentTypeError(
            f"expected plain, runtime=NAME, config=NAME or weights=PATH, got {text!r}"
        )
    return what, value


if __name__ == "__main__":
    sys.exit(main())
