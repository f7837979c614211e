"""A small data set, and trainers of the small default model on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sipvideo.data import ClipStream, CocoPictures, StreamConfig
from sipvideo.model.sipmask import SipMask
from sipvideo.training import MasksOnFrozenDetector, Recipe, Surroundings, Trainer, load_recipe
from sipvideo.training.trainer import passes_per_step
from sipvideo.transforms import FrameTransform
from tests.media import write_coco

TRAINED = ("head.coefficients", "head.basis", "head.track_tower", "head.embedding")
OBJECTIVE = MasksOnFrozenDetector(min_iou=0.05)
SMALL = (
    "schedule.length=6",
    "schedule.warm_up=2",
    "stream.pictures=2",
    "stream.sizes=[64, 96]",
    f"freeze.trained=[{', '.join(TRAINED)}]",
)
Make = Callable[..., Trainer]


@pytest.fixture
def pictures(tmp_path: Path) -> CocoPictures:
    return CocoPictures(write_coco(tmp_path))


def small(*overrides: str) -> Recipe:
    """The default model's recipe, in small."""
    return load_recipe("nano", [*SMALL, *overrides])


def make_trainer(
    recipe: Recipe, pictures: CocoPictures, folder: Path, objective: Any, **around: Any
) -> Trainer:
    """A trainer with the same random weights every time."""
    config = recipe.model_config_for(("cat", "dog"))
    torch.manual_seed(7)
    model = SipMask(config)
    surroundings = replace(
        Surroundings(save_seconds=0, report=lambda line: None),
        **around,
    )
    section = recipe.stream
    share = section.pictures // passes_per_step(recipe, surroundings.ranks.count)
    stream = ClipStream(
        [pictures],
        recipe.augmentation,
        FrameTransform(config.input),
        StreamConfig(share, section.sizes, recipe.seed),
    )
    return Trainer((model, config), objective, stream, recipe, folder, surroundings)


@pytest.fixture
def make(pictures: CocoPictures, tmp_path: Path) -> Make:
    """Makes a trainer in a folder of that name."""

    def trainer(
        folder: str, *overrides: str, objective: object = OBJECTIVE, **around: object
    ) -> Trainer:
        return make_trainer(small(*overrides), pictures, tmp_path / folder, objective, **around)

    return trainer
