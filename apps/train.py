"""``sipvideo train``: masks and embeddings for a detector that already works and stays as it is.

This is the recipe of the default model. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sipvideo.apps import command

TRAINED = (
    "head.mask_tower",
    "head.alignment",
    "head.coefficients",
    "head.basis",
    "head.track_tower",
    "head.embedding",
)
RESULT = "model.safetensors"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="sipvideo train",
        description="Trains masks and embeddings on still pictures with instance masks; the detector, boxes "
        "and classes, is not changed. The folder gets model.safetensors, log.csv and last.pt.",
    )
    parser.add_argument("data", nargs="+", metavar="JSON", help="annotation files in COCO's format")
    parser.add_argument(
        "--images", metavar="DIR", help="default: the folder images beside each file"
    )
    parser.add_argument("--split", metavar="NAME", help="only pictures with this value of 'split'")
    parser.add_argument(
        "--detector",
        metavar="FILE",
        help="NanoDet-m as ncnn .param (its .bin beside it) to start from; default: --weights, "
        "whose masks are then trained on",
    )
    parser.add_argument(
        "--steps", type=command.count, default=12_500, metavar="N", help="default: 12500"
    )
    parser.add_argument(
        "--pictures", type=command.count, default=1, metavar="N", help="per step; default: 1"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=2e-3,
        metavar="X",
        help="highest learning rate; default: 0.002",
    )
    parser.add_argument(
        "--bfloat16",
        action="store_true",
        help="faster on CPUs with native bfloat16; losses stay in float32",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--threads", type=command.count, metavar="N", help="of PyTorch; default: as many as cores"
    )
    command.add_output_flag(parser, "folder of the run", "runs/train")
    command.add_weights_flag(parser)
    command.add_config_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Trains to the end and saves the result in the own format, half precision."""
    command.require_opencv()
    import torch

    from sipvideo.build import load_model
    from sipvideo.config import load_config
    from sipvideo.data import Augmentation, CocoPictures
    from sipvideo.errors import CheckpointError, ConfigError
    from sipvideo.model import checkpoint
    from sipvideo.model.ncnn import nanodet_state_dict
    from sipvideo.model.sipmask import SipMask
    from sipvideo.training import MasksOnFrozenDetector, PairStream, Trainer, TrainingConfig
    from sipvideo.transforms import FrameTransform

    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if args.detector:
        config = load_config(args.config or "sipmask_nano", args.overrides)
        model = SipMask(config)
        detector = nanodet_state_dict(args.detector, Path(args.detector).with_suffix(".bin"))
        fit = model.load_state_dict(detector, strict=False)
        lost = [name for name in fit.missing_keys if not name.startswith(TRAINED)]
        if lost or fit.unexpected_keys:
            first = (lost + fit.unexpected_keys)[0]
            raise CheckpointError(
                f"{args.detector}: not the detector of configuration {config.name!r} ({first})"
            )
    else:
        config, model = load_model(args.config, args.weights, args.overrides)
    if config.head.alignment == "classes_and_coefficients":
        raise ConfigError(
            f"config {config.name!r}: its masks share the feature alignment with the classes, so the detector "
            "cannot stay as it is; expected head.alignment coefficients or none"
        )
    settings = TrainingConfig(
        steps=args.steps,
        pictures=args.pictures,
        learning_rate=args.rate,
        trained=TRAINED,
        seed=args.seed,
    )
    pictures = [
        CocoPictures(path, args.images, split=args.split, classes=config.class_names)
        for path in args.data
    ]
    stream = PairStream(pictures, Augmentation(), FrameTransform(config.input), settings)
    print(f"{len(stream)} pictures with objects", flush=True)
    trainer = Trainer(model, MasksOnFrozenDetector(bfloat16=args.bfloat16), stream, args.output)
    trainer.run()
    result = trainer.folder / RESULT
    checkpoint.save(result, model, config, half=True)
    print(f"saved {result}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
