"""What turns gradients into changes: frozen parts, parameter groups, learning rates, the mean of the weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sipvideo.errors import ConfigError
from sipvideo.model.sipmask import SipMask
from sipvideo.training.recipe import FreezeSection, OptimiserSection, ScheduleSection


def freeze(model: nn.Module, rules: FreezeSection) -> None:
    """Marks what is trained (``requires_grad``), and nothing else.

    Raises:
        ConfigError: a prefix that no parameter has, or nothing left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in (*rules.prefixes, *rules.trained):
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(f"freeze: the model has no parameter {prefix}...")
    for name, parameter in model.named_parameters():
        chosen = not rules.trained or name.startswith(rules.trained)
        parameter.requires_grad_(chosen and not name.startswith(rules.prefixes))
    if rules.batch_norms:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("freeze: nothing is left to train")


def set_training(model: SipMask, rules: FreezeSection) -> None:
    """Training mode; batch norms keep their statistics where the rules say so."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(not rules.batch_norms)


def parameter_groups(model: nn.Module, config: OptimiserSection) -> list[dict[str, Any]]:
    """The trained parameters by learning rate ("lr" and its "factor") and weight decay.

    Raises:
        ConfigError: a prefix of ``rates`` that no trained parameter has.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for prefix in config.rates:
        if not any(name.startswith(prefix) for name in trained):
            raise ConfigError(f"optimiser.rates: no trained parameter is named {prefix}...")
    norms = _norm_parameters(model)
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in trained.items():
        fitting = [prefix for prefix in config.rates if name.startswith(prefix)]
        rate = config.rates[max(fitting, key=len)] if fitting else 1.0
        decay = 1.0
        bias = name.endswith("bias") and (name not in norms or name.startswith(config.as_bias))
        if bias:
            rate, decay = rate * config.bias_rate, config.bias_decay
        elif name in norms or parameter.ndim <= 1:
            decay = config.norm_decay
        groups.setdefault((rate, decay * config.weight_decay), []).append(parameter)
    return [
        {"params": parameters, "lr": config.rate * rate, "weight_decay": decay, "factor": rate}
        for (rate, decay), parameters in groups.items()
    ]


def _norm_parameters(model: nn.Module) -> set[str]:
    return {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if isinstance(module, (nn.GroupNorm, nn.BatchNorm2d))
        for name, _ in module.named_parameters(recurse=False)
    }


def build_optimiser(model: nn.Module, config: OptimiserSection) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW over :func:`parameter_groups`."""
    groups = parameter_groups(model, config)
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.rate, momentum=config.momentum)
    return torch.optim.AdamW(groups, lr=config.rate)


class Schedule:
    """The share of the learning rate at each step.

    Args:
        config: its shape.
        epoch: steps per epoch.

    Attributes:
        steps: length of the training in steps.
    """

    def __init__(self, config: ScheduleSection, epoch: int) -> None:
        unit = epoch if config.unit == "epochs" else 1
        self.config = config
        self.steps = config.length * unit
        self.milestones = [place * unit for place in config.milestones]

    def __call__(self, step: int) -> float:
        """Factor 0..1 of step ``step``, 0-based."""
        config = self.config
        if config.kind == "cosine":
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        else:
            share = config.factor ** sum(step >= place for place in self.milestones)
        if step >= config.warm_up:
            return share
        risen = step / config.warm_up if config.warm_up_kind == "linear" else 0.0
        return share * (config.warm_up_ratio + (1 - config.warm_up_ratio) * risen)


class WeightMean:
    """Running (exponential) mean of the trained weights.

    Args:
        model: the network; parameters that are frozen are not followed.
        decay: share of the mean that a step keeps; it is less in the first steps, (1 + n) / (10 + n) after n.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._weights: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._means = [p.detach().clone() for p in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the weights after ``step`` steps into the mean."""
        keep = min(self.decay, (1 + step) / (10 + step))
        # One call for all parameters: a loop over hundreds of small ones costs as much as a layer.
        torch._foreach_lerp_(self._means, self._weights, 1 - keep)

    @torch.no_grad()
    def copy_of(self, model: SipMask) -> SipMask:
        """A copy of the model with the mean weights."""
        result = copy.deepcopy(model)
        result.load_state_dict(self.state_dict(), strict=False)
        return result

    def state_dict(self) -> dict[str, Tensor]:
        """Parameter name to mean."""
        return dict(zip(self._names, self._means, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of :meth:`state_dict`."""
        for name, mean in zip(self._names, self._means, strict=True):
            mean.copy_(state[name])


def clip(parameters: Sequence[Tensor], largest: float | None) -> Tensor:
    """Norm of the gradient, a scalar, before it is shortened to at most ``largest``."""
    return torch.nn.utils.clip_grad_norm_(parameters, math.inf if largest is None else largest)
