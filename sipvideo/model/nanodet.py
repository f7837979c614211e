"""Trained NanoDet detectors (RangiLyu, github.com/RangiLyu/nanodet, Apache-2.0) under the names of our modules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from sipvideo.config import Config
from sipvideo.errors import CheckpointError
from sipvideo.model.ghost_pan import GhostPAN
from sipvideo.model.ncnn import read_convolutions
from sipvideo.model.sipmask import SipMask

PREDICTION = "head.prediction"
"""One convolution in the files, two in our head: classes first, then box distributions."""


def nanodet_state_dict(param: str | Path, weights: str | Path, config: Config) -> dict[str, Tensor]:
    """The detector of a NanoDet-m, NanoDet-Plus-m or NanoDet-Plus-m-1.5x that a configuration is built on.

    Args:
        param: ncnn's text file.
        weights: its .bin file.
        config: says which of the three it must be.

    Returns:
        ``backbone.*``, ``neck.*``, ``head.class_towers.{level}.{unit}.{depthwise,pointwise}.*``,
        ``head.class_logits.{level}.*`` (sigmoid = joint class and quality score) and
        ``head.box_distances.{level}.*`` (4 sides x 8 bins), float32.

    Raises:
        CheckpointError: as :func:`read_convolutions`, or another detector than the configuration's.
    """
    shapes = _shapes(config)
    convolutions = read_convolutions(param, weights)
    if [c.weight.shape for c in convolutions] != list(shapes.values()):
        raise CheckpointError(
            f"{param}: not the detector of {config.name!r}: its convolutions have other shapes"
        )
    state = {}
    for name, convolution in zip(shapes, convolutions, strict=True):
        for kind, array in (("weight", convolution.weight), ("bias", convolution.bias)):
            values = torch.from_numpy(array)
            if name.startswith(PREDICTION):
                level = name.rpartition(".")[2]
                classes = len(config.class_names)
                state[f"head.class_logits.{level}.{kind}"] = values[:classes].clone()
                state[f"head.box_distances.{level}.{kind}"] = values[classes:].clone()
            else:
                state[f"{name}.{kind}"] = values
    return state


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and weight shape of every convolution, in the order of the files."""
    with torch.device("meta"):
        model = SipMask(config)
    modules = dict(model.named_modules())
    if isinstance(model.neck, GhostPAN):
        names = [*_trunk_of_plus(model.backbone), *_ghost_pan(model.neck), *_towers_of_plus(model)]
    else:
        names = [*_convolutions("backbone", model.backbone), *_convolutions("neck", model.neck)]
        for level in range(len(model.head.strides)):
            names += _convolutions(
                f"head.class_towers.{level}", modules[f"head.class_towers.{level}"]
            )
            names.append(f"{PREDICTION}.{level}")
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        if name.startswith(PREDICTION):
            out = len(config.class_names) + 4 * config.head.distance_bins
            shapes[name] = (out, config.neck.channels, 1, 1)
        else:
            shapes[name] = tuple(modules[name].weight.shape)
    return shapes


def _convolutions(prefix: str, module: nn.Module) -> Iterator[str]:
    for name, child in module.named_modules(prefix=prefix):
        if isinstance(child, nn.Conv2d):
            yield name


def _trunk_of_plus(trunk: nn.Module) -> Iterator[str]:
    """Units with two branches take turns: the depthwise convolution of the first, two of the second, the rest."""
    found = list(_convolutions("backbone", trunk))
    while found:
        if ".branch1." not in found[0]:
            yield found.pop(0)
            continue
        unit, found = found[:5], found[5:]
        yield from (unit[k] for k in (0, 2, 3, 1, 4))


def _ghost_pan(neck: GhostPAN) -> Iterator[str]:
    """Each reduction stands where its result is first used."""

    def of(name: str) -> Iterator[str]:
        return _convolutions(f"neck.{name}", neck.get_submodule(name))

    coarsest = len(neck.reduce) - 1
    yield f"neck.reduce.{coarsest}"
    for level in range(coarsest - 1, -1, -1):
        yield f"neck.reduce.{level}"
        yield from of(f"top_down.{level}")
    for level in range(coarsest):
        yield from of(f"down.{level}")
        yield from of(f"bottom_up.{level}")
    yield from of("extra")


def _towers_of_plus(model: SipMask) -> Iterator[str]:
    """The first unit of all levels, then level by level from the coarsest the second unit and the prediction."""
    levels = range(len(model.head.strides))
    for level in levels:
        yield from (f"head.class_towers.{level}.0.{part}" for part in ("depthwise", "pointwise"))
    for level in reversed(levels):
        yield from (f"head.class_towers.{level}.1.{part}" for part in ("depthwise", "pointwise"))
        yield f"{PREDICTION}.{level}"
