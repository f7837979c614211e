"""Weights that a training starts from, which may come from a model with other classes or other branches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sipvideo.errors import CheckpointError
from sipvideo.model.sipmask import SipMask

BY_CLASS = ("head.class_logits.", "head.mask_scoring.output.")
"""Layers with one output channel per class."""


@dataclass(frozen=True)
class Start:
    """What became of a model's weights.

    Attributes:
        kept_classes: names of the classes whose outputs were taken over.
        fresh: names of the tensors that begin at random, at least in part.
        unused: names of the given tensors that the model has no place for.
    """

    kept_classes: tuple[str, ...]
    fresh: tuple[str, ...]
    unused: tuple[str, ...]


@torch.no_grad()
def start_from(
    model: SipMask,
    weights: Mapping[str, Tensor],
    classes: Sequence[str],
    former_classes: Sequence[str] | None,
) -> Start:
    """Copies what fits: tensors of the same name and shape, and the outputs of classes with the same name.

    Args:
        model: changed in place; what nothing fits keeps its values.
        weights: names as in the model.
        classes: of the model, in label order.
        former_classes: of the weights; None: class outputs are not taken over, as published.
    """
    own = model.state_dict()
    former = {name: k for k, name in enumerate(former_classes or ())}
    kept = [(k, former[name]) for k, name in enumerate(classes) if name in former]
    rows = torch.tensor(kept, dtype=torch.int64).reshape(-1, 2)
    fresh, used = [], set()
    for name, tensor in own.items():
        given = weights.get(name)
        if given is None:
            fresh.append(name)
        elif name.startswith(BY_CLASS):
            used.add(name)
            if len(rows) < len(classes):
                fresh.append(name)
            if given.shape[1:] == tensor.shape[1:] and len(rows):
                tensor[rows[:, 0]] = given[rows[:, 1]].to(tensor)
        elif given.shape == tensor.shape:
            used.add(name)
            tensor.copy_(given)
        else:
            fresh.append(name)
    names = tuple(classes[k] for k, _ in kept)
    fresh = [name for name in fresh if not name.endswith("num_batches_tracked")]
    return Start(names, tuple(fresh), tuple(name for name in weights if name not in used))


def read_backbone(path: str | Path) -> dict[str, Tensor]:
    """A ResNet trained on ImageNet, as torchvision and the caffe conversions name it; its classifier is left out.

    Returns:
        Names in :class:`SipMask` to tensors.

    Raises:
        CheckpointError: unreadable, or not a ResNet.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path}: not a readable checkpoint of a backbone") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    kept = {
        f"backbone.{name}": tensor
        for name, tensor in state.items()
        if isinstance(tensor, Tensor) and name.startswith(("conv1.", "bn1.", "layer"))
    }
    if "backbone.conv1.weight" not in kept or "backbone.layer4.0.conv1.weight" not in kept:
        raise CheckpointError(f"{path}: expected a ResNet's weights (conv1, bn1, layer1..4)")
    return kept
