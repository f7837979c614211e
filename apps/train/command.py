"""``sipvideo train``: fine-tunes a model that comes along on one's own pictures, or follows any other recipe.

A run that was stopped goes on where it was: the same command again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import command, flags
from sipvideo.apps.train.data import (
    add_data_flags,
    batch_stream,
    open_sources,
    recipe_and_data,
    some_of,
    with_objects,
)
from sipvideo.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import torch

    from sipvideo.config import Config
    from sipvideo.data import CocoPictures, YouTubeVis
    from sipvideo.model.sipmask import SipMask
    from sipvideo.training import Recipe, Trainer
    from sipvideo.training.distributed import Objective, Ranks

if "WORLD_SIZE" in os.environ:
    # Hints on speed that every process would print once. Must be set before PyTorch loads.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="sipvideo train",
        description="Trains on pictures or videos with instance masks (COCO or YouTube-VIS json). Without a recipe "
        "it fine-tunes nano on the classes of the data. The folder gets model.safetensors for --weights "
        "of the other commands, curves.png, log.csv, validation.csv, files for TensorBoard, and last.pt: after a stop "
        "the same command goes on from there.",
        epilog="example: sipvideo train horses.json --val more-horses.json -o runs/horses. "
        "Several GPUs: torchrun --nproc-per-node 4 -m sipvideo.apps.main train ...",
    )
    parser.add_argument(
        "items",
        nargs="*",
        metavar="RECIPE|JSON",
        help="a recipe (one that comes with sipvideo, or a YAML file), annotation files",
    )
    add_data_flags(parser)
    parser.add_argument("--list", action="store_true", help="list the recipes that come along")
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the model that comes with sipvideo to fine-tune: nano or small; default: the recipe's",
    )
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="what the training starts from; default: the model that comes with sipvideo, where the recipe says so",
    )
    parser.add_argument(
        "--detector",
        metavar="FILE",
        help="the NanoDet that the model is built on, as ncnn .param (its .bin beside it), to start from instead",
    )
    flags.add_set_flag(parser, "recipe", "optimiser.rate=0.001 or config.input.size=[320,320]")
    parser.add_argument(
        "--steps", type=flags.count, metavar="N", help="length; default: the recipe's"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda or auto (default): CUDA where there is one"
    )
    parser.add_argument(
        "--threads", type=flags.count, metavar="N", help="of PyTorch; default: as many as cores"
    )
    flags.add_output_flag(parser, "folder of the run", "runs/RECIPE")
    args = parser.parse_args(argv)
    if args.list:
        return command.guarded(_list)
    if not args.items and not args.data:
        parser.error("expected an annotation file")
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Trains to the end, or to a signal."""
    command.require_opencv()
    import torch

    from sipvideo.runtime.pytorch import choose_device
    from sipvideo.training.distributed import joined

    recipe, paths, weights = recipe_and_data(args)
    if args.threads:
        torch.set_num_threads(args.threads)
    with (
        joined(choose_device(args.device)) as (ranks, device),
        command.Stop() as stop,
    ):
        sources, classes = open_sources(recipe, paths, args)
        # New parts must begin alike in all processes.
        torch.manual_seed(recipe.seed)
        config, model = _model(recipe, classes, args, ranks.first)
        trainer = _trainer(recipe, (model, config), (sources, weights), args, ranks, device, stop)
        if ranks.first:
            _announce(trainer)
        through = trainer.run()
        if ranks.first:
            _conclude(trainer, through)
    return stop.exit_code(0) if not through else 0


def _list() -> int:
    from sipvideo.training import available_recipes, load_recipe

    for name in available_recipes():
        recipe = load_recipe(name)
        length = f"{recipe.schedule.length} {recipe.schedule.unit}"
        print(f"{name:16} {recipe.model}, {length} of {recipe.stream.pictures} pictures a step")
    return 0


def _model(
    recipe: Recipe, classes: tuple[str, ...] | None, args: argparse.Namespace, say: bool
) -> tuple[Config, SipMask]:
    """The network with its starting weights; says what was taken over.

    Raises:
        CheckpointError: unreadable weights, or none of them fits.
        ConfigError: the recipe needs weights that were not given.
    """
    from sipvideo.build import packaged_weights
    from sipvideo.model import checkpoint
    from sipvideo.model.nanodet import nanodet_state_dict
    from sipvideo.model.sipmask import SipMask
    from sipvideo.training.start import read_backbone, start_from

    base, former = None, None
    if args.detector:
        own = recipe.model_config_for()
        given = nanodet_state_dict(args.detector, Path(args.detector).with_suffix(".bin"), own)
        former = own.class_names
    elif recipe.weights == "random":
        given = {}
    elif recipe.weights == "backbone" and args.weights:
        given = read_backbone(args.weights)
    elif recipe.weights == "package" or args.weights:
        file = checkpoint.read(
            args.weights or packaged_weights(recipe.model.removeprefix("sipmask_"))
        )
        given, base = file.tensors, file.config if recipe.weights == "package" else None
        former = base.class_names if base else None
    else:
        raise ConfigError(
            f"recipe {recipe.name}: starts from weights that do not come with sipvideo: --weights FILE, "
            "or --set weights=random"
        )
    config = recipe.model_config_for(classes, base)
    model = SipMask(config)
    start = start_from(model, given, config.class_names, former)
    if given and not set(given) - set(start.unused):
        raise CheckpointError(f"{args.weights or args.detector}: no weights of {config.name!r}")
    if say and given:
        fresh = f"; new: {some_of(start.fresh)}" if start.fresh else ""
        unused = f"; not used: {some_of(start.unused)}" if start.unused else ""
        print(f"weights: {len(given) - len(start.unused)} tensors taken over{fresh}{unused}")
    if say and classes is not None and former is not None:
        learnt = [name for name in classes if name not in start.kept_classes]
        kept = ", ".join(start.kept_classes) or "none"
        print(f"classes: known by name: {kept}; new: {', '.join(learnt) or 'none'}")
    return config, model


def _trainer(
    recipe: Recipe,
    model: tuple[SipMask, Config],
    data: tuple[list[CocoPictures | YouTubeVis], list[float] | None],
    args: argparse.Namespace,
    ranks: Ranks,
    device: torch.device,
    stop: command.Stop,
) -> Trainer:
    from sipvideo.apps.train.validation import Validation
    from sipvideo.data import open_dataset
    from sipvideo.training import Surroundings, Trainer

    config = model[1]
    if recipe.objective == "identities" and not config.head.embedding:
        raise ConfigError(f"config {config.name!r}: has no embeddings (head.embedding) to train")
    if recipe.objective == "masks" and config.head.alignment == "classes_and_coefficients":
        raise ConfigError(
            f"config {config.name!r}: its masks share the feature alignment with the classes, so the detector "
            "cannot stay as it is; expected head.alignment coefficients or none"
        )
    validate = None
    if args.val or args.val_split:
        path = args.val or data[0][0].path
        images = args.val_images or args.images
        upright = not args.ignore_orientation
        pictures = with_objects(
            open_dataset(path, images, args.val_split, config.class_names, upright=upright)
        )
        threshold = recipe.validation.score_threshold
        validate = Validation(pictures, config, device, threshold, lambda: stop.asked)
    around = Surroundings(device=device, ranks=ranks, validate=validate, stopped=lambda: stop.asked)
    stream = batch_stream(recipe, config, data, ranks, device)
    return Trainer(model, _objective(recipe), stream, recipe, args.output, around)


def _objective(recipe: Recipe) -> Objective:
    import dataclasses

    if recipe.objective != "whole":
        frozen = recipe.masks if recipe.objective == "masks" else recipe.identities
        half = recipe.precision == "bfloat16"
        return dataclasses.replace(frozen, bfloat16=half or frozen.bfloat16)
    return dataclasses.replace(recipe.whole, precision=recipe.precision)


def _announce(trainer: Trainer) -> None:
    pictures = trainer.recipe.stream.pictures
    print(f"{len(trainer.stream)} pictures with objects, {pictures} a step, {trainer.steps} steps")
    if trainer.stream.buckets:
        sizes = ", ".join(f"{width}x{height}" for height, width in trainer.stream.buckets)
        print(f"input sizes: {sizes}")
    if trainer.ended:
        print(f"{trainer.folder}: the training is complete")
    elif trainer.step:
        print(f"going on from step {trainer.step}")
    sys.stdout.flush()


def _conclude(trainer: Trainer, through: bool) -> None:
    from sipvideo.training.trainer import RESULT

    if not through:
        print(f"stopped at step {trainer.step}; the same command goes on from there")
        return
    if trainer.best_step:
        print(f"best: step {trainer.best_step} with {trainer.best:.3f} on the validation set")
    path = trainer.folder / RESULT
    print(f"saved {path} and {trainer.folder / 'curves.png'}")
    print(f"try it: sipvideo video CLIP -o results --weights {path}")
