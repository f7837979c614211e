"""Recipes are strict, complete and found by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sipvideo.config import available
from sipvideo.errors import ConfigError
from sipvideo.model.sipmask import SipMask
from sipvideo.training import Recipe, available_recipes, load_recipe
from sipvideo.training.optimiser import Schedule, build_optimiser, freeze


@pytest.mark.parametrize("name", available_recipes())
def test_every_recipe_fits_its_model(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    with torch.device("meta"):
        model = SipMask(recipe.model_config_for())
    freeze(model, recipe.freeze)
    build_optimiser(model, recipe.optimiser)
    assert Schedule(recipe.schedule, 10).steps >= 12
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert not set(available()) & set(available_recipes())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimiser.rat=1", "optimiser.rat: unknown key; did you mean 'rate'"),
        (
            "whole.losses.mask_los=bce",
            "whole.losses.mask_los: unknown key; did you mean 'mask_loss'",
        ),
        ("augmentation.zom=1", "augmentation.zom: unknown key; did you mean 'zoom'"),
        ("optimiser.name=adam", "optimiser.name: "),
        ("schedule.milestones=[99999]", "schedule.milestones: expected places before"),
        ("precision=half", "precision: objective masks knows single and bfloat16"),
        ("ema", "expected section.key=value"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("nano", [override])
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 200


def test_unknown_recipes_name_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe 'finetun': .* did you mean 'finetune'"):
        load_recipe("finetun")
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path / "none.yaml")


def test_a_recipe_of_ones_own_may_change_the_model(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("model: sipmask_nano\nconfig: {head: {sub_regions: 1}}\n")
    recipe = load_recipe(path, ["config.input.size=[320, 320]"])
    config = recipe.model_config_for(("cat",))
    assert recipe.name == "one"
    assert (config.head.sub_regions, config.head.bases) == (1, 32)
    assert (config.input.size, config.input.mean[0]) == ((320, 320), 103.53)
    assert config.class_names == ("cat",)
    with pytest.raises(ConfigError, match=r"head.sub_region: unknown key"):
        load_recipe(path, ["config.head.sub_region=1"]).model_config_for()
