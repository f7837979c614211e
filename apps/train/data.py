"""What a training is asked for: its recipe, the data sets, and the batches that are made of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.apps import flags
from sipvideo.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    import torch

    from sipvideo.config import Config
    from sipvideo.data import ClipStream, CocoPictures, YouTubeVis
    from sipvideo.training import Recipe
    from sipvideo.training.distributed import Ranks

DEFAULT = "finetune"


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Where data, pictures and validation set are."""
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="JSON[=WEIGHT]",
        help="annotation file; with weights, how often each is drawn; may be repeated",
    )
    parser.add_argument(
        "--images", metavar="DIR", help="of their pictures; default: the usual places near the file"
    )
    parser.add_argument("--split", metavar="NAME", help="only pictures with this value of 'split'")
    parser.add_argument(
        "--val",
        metavar="JSON",
        help="validation set: decides which weights are kept; never trained on",
    )
    parser.add_argument(
        "--val-split",
        metavar="NAME",
        help="only pictures with this value of 'split'; without --val: of the training file",
    )
    parser.add_argument("--val-images", metavar="DIR", help="default: as --images")
    flags.add_orientation_flag(parser)


def recipe_and_data(args: argparse.Namespace) -> tuple[Recipe, list[str], list[float] | None]:
    """The recipe with its overrides; annotation files and their weights.

    Raises:
        ConfigError: unknown or wrong recipe, no data, or a wrong weight.
    """
    from sipvideo.build import packaged_weights
    from sipvideo.training import available_recipes, load_recipe

    items = list(args.items)
    first = items[0] if items else ""
    is_file = first.endswith((".json", ".json.gz"))
    named = first in available_recipes() or first.endswith((".yaml", ".yml"))
    # A word without suffix is a recipe, if a misspelt one: so says the error.
    name = (
        items.pop(0) if named or (first and not is_file and not Path(first).exists()) else DEFAULT
    )
    overrides = list(args.overrides)
    if args.steps:
        overrides += ["schedule.unit=steps", f"schedule.length={args.steps}"]
    if args.model:
        packaged_weights(args.model)
        overrides.append(f"model=sipmask_{args.model}")
    if args.seed is not None:
        overrides.append(f"seed={args.seed}")
    recipe = load_recipe(name, overrides)
    args.output = args.output if args.output != "runs/RECIPE" else f"runs/{recipe.name}"
    paths, weights = list(items), [1.0] * len(items)
    for text in args.data:
        path, weight = _path_and_weight(text)
        paths.append(path)
        weights.append(weight)
    if not paths:
        raise ConfigError(f"recipe {recipe.name}: expected an annotation file: --data JSON")
    return recipe, paths, None if set(weights) == {1.0} else weights


def _path_and_weight(text: str) -> tuple[str, float]:
    """JSON=WEIGHT, or JSON alone.

    Raises:
        ConfigError: the weight is no number above 0.
    """
    path, _, weight = text.rpartition("=")
    if not path or Path(text).exists():
        return text, 1.0
    try:
        number = float(weight)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ConfigError(f"--data {text}: expected JSON=WEIGHT, a number above 0, got {weight!r}")
    return path, number


def open_sources(
    recipe: Recipe, paths: Sequence[str], args: argparse.Namespace
) -> tuple[list[CocoPictures | YouTubeVis], tuple[str, ...] | None]:
    """The data sets, and the result's class names; None: those of the recipe's model.

    Raises:
        DatasetError: a file cannot be used, or shows no object of the classes.
    """
    from sipvideo.data import open_dataset

    def opened(path: str, classes: Sequence[str] | None = None) -> CocoPictures | YouTubeVis:
        upright = not args.ignore_orientation
        return open_dataset(path, args.images, args.split, classes, upright=upright)

    if recipe.classes == "model":
        wanted = _given(recipe, args).class_names
        found = [opened(path, wanted) for path in paths]
        return [with_objects(source) for source in found], None
    found = [opened(path) for path in paths]
    classes = tuple(dict.fromkeys(name for source in found for name in source.classes))
    if any(tuple(source.classes) != classes for source in found):
        found = [opened(path, classes) for path in paths]
    return [with_objects(source) for source in found], classes


def with_objects(source: CocoPictures | YouTubeVis) -> CocoPictures | YouTubeVis:
    """The data set itself.

    Raises:
        DatasetError: there is nothing in it to learn or to score.
    """
    if any(source.count(index) for index in range(len(source))):
        return source
    names = some_of(source.classes) or "no categories"
    raise DatasetError(f"{source.path}: no object of the model's classes is annotated ({names})")


def _given(recipe: Recipe, args: argparse.Namespace) -> Config:
    """The model's configuration: the one inside --weights where the recipe starts from a model, else the recipe's."""
    from sipvideo.model import checkpoint

    base = None
    if args.weights and recipe.weights == "package":
        base = checkpoint.read(args.weights).config
    return recipe.model_config_for(base=base)


def batch_stream(
    recipe: Recipe,
    config: Config,
    data: tuple[list[CocoPictures | YouTubeVis], list[float] | None],
    ranks: Ranks,
    device: torch.device,
) -> ClipStream:
    """The batches of data sets with the model's classes, as this process sees them; ``data``: sets and weights."""
    from sipvideo.data import ClipStream, StreamConfig
    from sipvideo.data.loading import processes_for
    from sipvideo.training.trainer import passes_per_step
    from sipvideo.transforms import FrameTransform

    section = recipe.stream
    on_card = device.type == "cuda"
    processes = processes_for(device, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    settings = StreamConfig(
        pictures=section.pictures // passes_per_step(recipe, ranks.count),
        sizes=section.sizes,
        seed=recipe.seed,
        workers=section.workers or 1,
        processes=(section.workers or processes) if on_card else 0,
        buckets=(6 if on_card else 0) if section.buckets is None else section.buckets,
        pairs=section.pairs,
    )
    return ClipStream(data[0], recipe.augmentation, FrameTransform(config.input), settings, data[1])


def some_of(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
