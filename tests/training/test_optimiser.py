"""Frozen parts, parameter groups, schedules and the running mean, against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sipvideo.errors import ConfigError
from sipvideo.model.sipmask import SipMask
from sipvideo.training import load_recipe
from sipvideo.training.optimiser import (
    Schedule,
    WeightMean,
    clip,
    freeze,
    parameter_groups,
    set_training,
)
from sipvideo.training.recipe import FreezeSection, OptimiserSection, ScheduleSection


def published() -> tuple[SipMask, dict[str, tuple[float, float]]]:
    """The published video model, and learning rate and weight decay of its trained parameters by name."""
    recipe = load_recipe("vis_1x")
    with torch.device("meta"):
        model = SipMask(recipe.model_config_for())
    freeze(model, recipe.freeze)
    groups = parameter_groups(model, recipe.optimiser)
    rules = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    return model, {n: rules[id(p)] for n, p in model.named_parameters() if p.requires_grad}


def test_the_published_groups_are_sixteen_biases_and_the_rest() -> None:
    _, rules = published()
    assert len(rules) == 98  # the five scales, published one by one, are one parameter
    biases = {name for name, rule in rules.items() if rule == (0.01, 0.0)}
    expected = {f"neck.{part}.{k}.bias" for part in ("lateral", "output") for k in range(3)}
    expected |= {f"neck.extra.{k}.bias" for k in range(2)} | {"head.alignment.norm.bias"}
    expected |= {f"head.{p}.0.bias" for p in ("class_logits", "box_distances", "centerness")}
    expected |= {f"head.{p}.bias" for p in ("coefficients", "basis.output", "basis.lateral.conv")}
    assert biases == expected | {"head.embedding.conv.bias"}
    assert {rule for name, rule in rules.items() if name not in biases} == {(0.005, 1e-4)}


def test_the_published_backbone_begins_to_learn_at_its_second_stage() -> None:
    model, rules = published()
    trained = [name for name in rules if name.startswith("backbone.")]
    assert trained
    assert all(
        ".layer" in name and ".layer1." not in name and ".bn" not in name for name in trained
    )
    set_training(model, FreezeSection())
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert model.head.training


def test_rates_go_by_the_longest_prefix() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    config = OptimiserSection(rate=1.0, rates={"1": 0.5, "1.bias": 0.25}, bias_rate=2)
    groups = parameter_groups(model, config)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    assert [rate[id(p)] for p in model.parameters()] == [1, 2, 0.5, 0.5, 1, 2]


def test_names_that_fit_nothing_are_refused() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="no parameter heda"):
        freeze(model, FreezeSection(prefixes=("heda",)))
    with pytest.raises(ConfigError, match="nothing is left"):
        freeze(model, FreezeSection(prefixes=("weight", "bias")))
    with pytest.raises(ConfigError, match=r"optimiser.rates: .* heda"):
        parameter_groups(model, OptimiserSection(rates={"heda": 1}))


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    schedule = Schedule(ScheduleSection(length=100, warm_up=10, warm_up_ratio=0.1), 1)
    rates = [schedule(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert np.argmax(rates) in (9, 10)
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] < 1e-3


def test_the_published_schedule() -> None:
    """Linear warm-up from 1/80 over 1000 steps, a tenth from epoch 8 on, a hundredth from epoch 11 on."""
    schedule = Schedule(load_recipe("vis_1x").schedule, epoch=1900)
    assert schedule.steps == 12 * 1900
    for t in (0, 1, 500, 999, 1000):
        expected = 1 - (1 - t / 1000) * (1 - 1 / 80)
        assert schedule(t) == pytest.approx(expected)
    for epoch, expected in ((1, 1), (7, 1), (8, 0.1), (10, 0.1), (11, 0.01)):
        assert schedule(epoch * 1900) == pytest.approx(expected)
        assert schedule(epoch * 1900 + 1899) == pytest.approx(expected)


def test_a_constant_warm_up_ends_at_once() -> None:
    schedule = Schedule(load_recipe("coco_1x").schedule, epoch=5000)
    assert {round(schedule(t), 4) for t in (0, 250, 499)} == {0.3333}
    assert schedule(500) == 1


def test_the_mean_of_the_weights_is_its_definition() -> None:
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    mean = WeightMean(model, 0.6)
    expected = model.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight += torch.randn(2, 3)
        mean.update(step)
        keep = min(0.6, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * model.weight.detach()
    assert mean.state_dict().keys() == {"weight"}
    torch.testing.assert_close(mean.state_dict()["weight"], expected)
    again = WeightMean(model, 0.6)
    again.load_state_dict(mean.state_dict())
    torch.testing.assert_close(again.state_dict(), mean.state_dict())


@pytest.mark.parametrize(("largest", "expected"), [(None, 5.0), (10.0, 5.0), (1.0, 1.0)])
def test_the_gradient_is_shortened_to_at_most_its_limit(
    largest: float | None, expected: float
) -> None:
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert clip([weight], largest) == pytest.approx(5.0)
    assert math.hypot(*weight.grad.tolist()) == pytest.approx(expected, rel=1e-4)
