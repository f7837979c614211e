"""The raw outputs of the dense network as a flat list of named arrays, as engines know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from sipvideo.errors import ConfigError
from sipvideo.postprocess.outputs import DenseOutputs
from sipvideo.structures import FloatArray

INPUT = "images"
MULTIPLE = 32
"""Sides of inputs are multiples of this."""


def flat(outputs: Any) -> list[tuple[str, Any]]:
    """Name and value of every map of a ``DenseOutputs`` or ``HeadOutputs``: ``class_logits.0``, ``basis_masks``, ..."""
    pairs = []
    for field in fields(outputs):
        value = getattr(outputs, field.name)
        if isinstance(value, list):
            pairs += [(f"{field.name}.{level}", one) for level, one in enumerate(value)]
        else:
            pairs.append((field.name, value))
    return pairs


def gathered(arrays: Mapping[str, FloatArray]) -> DenseOutputs:
    """The inverse of :func:`flat`."""

    def levels(name: str) -> list[FloatArray]:
        count = sum(key.startswith(f"{name}.") for key in arrays)
        return [arrays[f"{name}.{level}"] for level in range(count)]

    return DenseOutputs(
        class_logits=levels("class_logits"),
        centerness_logits=levels("centerness_logits"),
        box_distances=levels("box_distances"),
        coefficient_features=levels("coefficient_features"),
        basis_masks=arrays["basis_masks"],
        embedding_features=levels("embedding_features"),
    )


def problem(names: Iterable[str]) -> str:
    """What is wrong with the names of a network's outputs; empty if nothing is."""
    given = set(names)
    wanted = {"basis_masks", "class_logits.0", "box_distances.0", "coefficient_features.0"}
    missing = sorted(wanted - given)
    return f"no output {missing[0]}" if missing else ""


def in_singles(
    runtime: Callable[[FloatArray], DenseOutputs], images: FloatArray, fixed: tuple[int, ...]
) -> DenseOutputs:
    """Runs a batch on a network whose batch is fixed to 1.

    Raises:
        ConfigError: the network's size is another one.
    """
    if images.shape[1:] != fixed[1:] or fixed[0] != 1:
        wanted, got = (f"{shape[3]}x{shape[2]}" for shape in (fixed, images.shape))
        raise ConfigError(
            f"this exported network takes inputs of {wanted}, these frames need {got}: export with "
            f"--size {got} or --dynamic"
        )
    parts = [dict(flat(runtime(images[i : i + 1]))) for i in range(len(images))]
    return gathered({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
