"""``sipvideo export``: the model for other engines, checked against PyTorch on real frames.

Exit codes: 0 exported and as good as it should be; 2 wrong usage, or an export that is not good (it is left in
DIR.refused); 130 stopped by Ctrl-C, nothing is left.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo import __version__
from sipvideo.apps import command, flags
from sipvideo.apps.progress import Progress
from sipvideo.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from sipvideo.config import Config
    from sipvideo.export import Agreement
    from sipvideo.model.sipmask import SipMask
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import FloatArray, Frame

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "pedestrians.mp4"
"""What exports are checked on where no video is named; only beside the sources of the program."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parse(argv)
    return command.guarded(lambda: run(args))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line; wrong usage exits with code 2 before anything is loaded."""
    parser = flags.Parser(
        prog="sipvideo export",
        description="Writes a model for ONNX Runtime or OpenVINO. --weights DIR then runs it, without PyTorch.",
    )
    flags.add_weights_flag(parser)
    flags.add_config_flags(parser)
    parser.add_argument("--format", choices=("onnx", "openvino"), default="openvino")
    parser.add_argument(
        "--precision",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="fp16: weights take half the space, speed and results stay; int8: faster, calibrated on --calibrate",
    )
    parser.add_argument(
        "--calibrate", metavar="VIDEO", help="int8: a video like those that will be segmented"
    )
    parser.add_argument(
        "--calibration-frames",
        type=flags.count,
        default=64,
        metavar="N",
        help="spread over that video; default: 64",
    )
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--size",
        type=_size,
        metavar="WxH",
        help="of the network's input, multiples of 32; default: what frames of the checked video need",
    )
    sizes.add_argument(
        "--dynamic", action="store_true", help="frames of any aspect, and batches, may come"
    )
    _add_check_flags(parser)
    flags.add_output_flag(parser, "folder of the exported model")
    flags.add_quiet_flag(parser)
    args = parser.parse_args(argv)
    if args.output is None:
        parser.error("say where the exported model goes: --output DIR")
    if args.precision == "int8" and not args.calibrate:
        parser.error("int8 needs --calibrate VIDEO: a video like those that will be segmented")
    if args.images and not args.ap:
        parser.error("--images goes with --ap")
    return args


def _add_check_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the check against PyTorch")
    group.add_argument(
        "--check",
        metavar="VIDEO",
        help="on whose frames; default: the one of --calibrate, else the example clip",
    )
    group.add_argument(
        "--check-frames",
        type=flags.count,
        default=40,
        metavar="N",
        help="the first ones of that video; default: 40",
    )
    group.add_argument(
        "--ap", metavar="JSON", help="also the average precision of both on this dataset (slow)"
    )
    group.add_argument("--images", metavar="DIR", help="where the dataset's pictures are")


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}")
    size = int(height), int(width)
    if any(side % 32 or not 32 <= side <= 4096 for side in size):
        raise argparse.ArgumentTypeError(f"expected multiples of 32 up to 4096, got {text}")
    return size


def run(args: argparse.Namespace) -> int:
    """Exports, checks, and says how it went; returns the exit code."""
    command.require_opencv()
    video = args.check or args.calibrate or (str(EXAMPLE) if EXAMPLE.is_file() else None)
    if video is None:
        raise ConfigError("nothing to check the export on: --check VIDEO")
    frames = _frames(video, args.check_frames)

    from sipvideo.build import load, load_model
    from sipvideo.export import LIMITS
    from sipvideo.export.folder import ExportFolder
    from sipvideo.postprocess.objects import FILE, save
    from sipvideo.runtime.pytorch import object_head

    config, model = load_model(args.config, args.weights, args.overrides, args.model)
    if args.size:
        long, short = max(args.size), min(args.size)
        config = config.with_overrides([f"input.size=[{long}, {short}]"])
    size = None if args.dynamic else _input_size(args, config, frames[0])
    with ExportFolder(Path(args.output)) as folder:
        _write(args, config, model, size, folder.work)
        save(folder.work / FILE, config, object_head(model, config))
        exported = load(weights=folder.work, device="cpu")
        original = load_original(config, model)
        agreement = _checked(original, exported, frames, args)
        faults = agreement.faults(LIMITS[args.precision])
        report = _report(args, config, size, agreement, faults)
        report["check"]["video"] = Path(video).name
        if args.ap:
            report["average_precision"] = _average_precisions(args, original, exported)
        folder.report(report)
        path = folder.publish(good=not faults)
    if not args.quiet:
        print(agreement.table(LIMITS[args.precision]))
        for kind, figures in report.get("average_precision", {}).items():
            print(f"{kind}: {figures}")
    if faults:
        command.complain(f"{path}: this export is not good: {'; '.join(faults)}")
        return command.FAILED
    command.note(f"{path}: good; sipvideo video INPUT --weights {path} runs it")
    return 0


def load_original(config: Config, model: SipMask) -> VideoSegmenter:
    """The model in PyTorch, single precision, on the CPU; rearranges it."""
    from sipvideo.build import build_segmenter

    return build_segmenter(config, model, "cpu", "torch")


def _frames(video: str, most: int) -> list[Frame]:
    """The first frames of a video.

    Raises:
        SourceError: it cannot be read or has none.
    """
    from sipvideo.sources import open_source

    with open_source(video) as source:
        frames = list(islice(source, most))
    if not frames:
        raise SourceError(f"{video}: has no frames")
    return frames


def _input_size(args: argparse.Namespace, config: Config, frame: Frame) -> tuple[int, int]:
    """(height, width) of the network's input; the checked frames have to fit it.

    Raises:
        ConfigError: they do not.
    """
    from sipvideo.transforms import FrameTransform

    needed = FrameTransform(config.input).geometry(frame.size).padded_size
    if args.size and needed != args.size:
        raise ConfigError(
            f"--size {args.size[1]}x{args.size[0]}: the frames to check on need "
            f"{needed[1]}x{needed[0]}; name a video of the right aspect with --check, or take --dynamic"
        )
    return needed


def _write(
    args: argparse.Namespace,
    config: Config,
    model: SipMask,
    size: tuple[int, int] | None,
    folder: Path,
) -> None:
    """Converts, quantises where asked for, and saves the network."""
    from sipvideo.export import kept_nodes, open_graph, quantised, write_network
    from sipvideo.runtime.graph import cached_onnx_graph

    _say(args, "converting the network (some seconds for each model)")
    content = cached_onnx_graph(model, config)
    network = open_graph(content, args.format, size)
    if args.precision == "int8":
        images = _calibration_images(args, config, size)
        _say(args, f"calibrating on {len(images)} frames of {args.calibrate}")
        network = quantised(network, args.format, images, kept_nodes(content))
    write_network(network, args.format, args.precision, folder)


def _calibration_images(
    args: argparse.Namespace, config: Config, size: tuple[int, int] | None
) -> list[FloatArray]:
    """Model inputs of frames spread over the calibration video.

    Raises:
        ConfigError: its frames need another input size.
        SourceError: it has none.
    """
    from sipvideo.sources import open_source
    from sipvideo.transforms import FrameTransform

    transform = FrameTransform(config.input)
    with open_source(args.calibrate) as source:
        step = max(1, (source.frame_count or 0) // args.calibration_frames)
        frames = islice(source, 0, None, step)
        images = [transform(frame)[0][None] for frame in islice(frames, args.calibration_frames)]
    if not images:
        raise SourceError(f"{args.calibrate}: has no frames")
    if size is not None and any(image.shape[2:] != size for image in images):
        height, width = images[0].shape[2:]
        raise ConfigError(
            f"--calibrate {args.calibrate}: its frames need inputs of {width}x{height}, the export has "
            f"{size[1]}x{size[0]}; take a video of the same aspect, or --dynamic"
        )
    return images


def _checked(
    original: VideoSegmenter,
    exported: VideoSegmenter,
    frames: Sequence[Frame],
    args: argparse.Namespace,
) -> Agreement:
    from sipvideo.engine import HostEngine
    from sipvideo.export import MARGIN, compare

    engine = original.engine
    assert isinstance(engine, HostEngine)
    clear = engine.config.postprocess.score_threshold + MARGIN
    with Progress("checking", len(frames), args.quiet) as progress:
        return compare(original, exported, frames, clear, progress.advance)


def _report(
    args: argparse.Namespace,
    config: Config,
    size: tuple[int, int] | None,
    agreement: Agreement,
    faults: list[str],
) -> dict[str, Any]:
    """What report.json says."""
    from sipvideo.export import LIMITS

    engines = ("openvino", "onnxruntime", "onnx", "nncf", "torch")
    return {
        "model": config.name,
        "format": args.format,
        "precision": args.precision,
        "input_size": f"{size[1]}x{size[0]}" if size else "dynamic",
        "calibrated_on": Path(args.calibrate).name if args.precision == "int8" else None,
        "good": not faults,
        "faults": faults,
        "check": {**agreement.figures(), "limits": asdict(LIMITS[args.precision])},
        "versions": {"sipvideo": __version__, **{name: _version(name) for name in engines}},
        "machine": platform.machine(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _average_precisions(
    args: argparse.Namespace, original: VideoSegmenter, exported: VideoSegmenter
) -> dict[str, dict[str, float]]:
    """What ``sipvideo eval`` gives for both, and the difference."""
    before, after = _evaluated(args, original), _evaluated(args, exported)
    change = {name: round(after[name] - value, 4) for name, value in before.items()}
    return {"original": before, "exported": after, "difference": change}


def _evaluated(args: argparse.Namespace, segmenter: VideoSegmenter) -> dict[str, float]:
    """The average precisions of one model on the dataset."""
    from sipvideo.apps.eval import command as evaluation
    from sipvideo.apps.eval.run import SCORES

    def ready(_: argparse.Namespace) -> VideoSegmenter:
        return segmenter

    with tempfile.TemporaryDirectory() as folder:
        line = [args.ap, "--output", folder, "--no-html", "--resamples", "0", "--quiet"]
        line += ["--images", args.images] if args.images else []
        if evaluation.run(evaluation.parse(line), ready):
            raise KeyboardInterrupt
        return _precisions(json.loads((Path(folder) / SCORES).read_text(encoding="utf-8")))


def _precisions(scores: dict[str, Any]) -> dict[str, float]:
    """The average precisions anywhere in the figures of an evaluation."""
    found = {}
    for key, value in scores.items():
        if isinstance(value, dict):
            found.update({f"{key}.{name}": number for name, number in _precisions(value).items()})
        elif key.lower() in ("ap", "ap50", "ap75") and isinstance(value, float):
            found[key] = value
    return found


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.quiet:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
