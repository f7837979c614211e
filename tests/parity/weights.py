"""The deterministic weights of the reference runs, rebuilt from names and shapes with numpy alone.

Every value is drawn from numpy's legacy generator seeded by the tensor's published name, so the same weights
exist on every machine; a few calibrated values (batch statistics, class bias) come from a small file.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

# Standard deviations as functions of the fan-in; the order of operations decides the last bit.
_HEAD_FAN_IN_STD: dict[str, Callable[[int], float]] = {
    "fcos_reg.weight": lambda n: 0.9 / np.sqrt(n * 0.5),
    "fcos_centerness.weight": lambda n: 1.0 / np.sqrt(n * 0.5),
    "fcos_cls.weight": lambda n: 1.0 / np.sqrt(n * 0.5),
    "sip_cof.weight": lambda n: 0.8 / np.sqrt(n * 0.5),
    "sip_mask_lat0.weight": lambda n: np.sqrt(2.0 / n),
    "sip_mask_lat.weight": lambda n: np.sqrt(2.0 / n),
    "sipmask_track.weight": lambda n: 1.0 / np.sqrt(n),
}
_HEAD_STD = {
    "feat_align.conv_offset.weight": 0.15,
    "sip_cof.bias": 0.1,
    "sip_mask_lat0.bias": 0.1,
    "sip_mask_lat.bias": 0.1,
    "sipmask_track.bias": 0.0,
    "fcos_cls.bias": 0.0,
}
_HEAD_FIXED = {"fcos_reg.bias": [2.6, 2.2, 2.9, 2.4], "fcos_centerness.bias": [0.5]}
_LEVEL_SCALES = [1.0, 0.9, 1.1, 0.8, 1.2]


def _normal(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


def _uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> NDArray[Any]:
    seed = (zlib.crc32(name.encode()) + 104729) & 0xFFFFFFFF
    return np.random.RandomState(seed).uniform(low, high, shape)


def _value(name: str, shape: tuple[int, ...], normless: bool) -> NDArray[Any]:
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if name.endswith("running_mean"):
        return np.zeros(shape)
    if name.endswith("running_var"):
        return np.ones(shape)
    if name.startswith("backbone."):
        last_norm = ".bn3." in name
        if len(shape) == 4:
            return _normal(name, shape) * np.sqrt(2.0 / fan_in)
        if name.endswith(".weight"):
            return _uniform(name, shape, *((0.15, 0.5) if last_norm else (0.6, 1.4)))
        return _normal(name, shape) * (0.05 if last_norm else 0.15)
    if name.startswith("neck."):
        return _normal(name, shape) * (1.0 / np.sqrt(fan_in) if len(shape) == 4 else 0.05)
    return _head_value(name, shape, fan_in, normless)


def _head_value(name: str, shape: tuple[int, ...], fan_in: int, normless: bool) -> NDArray[Any]:
    part = name.removeprefix("bbox_head.")
    if ".gn." in part or part.startswith("feat_align.norm"):
        if part.endswith("weight"):
            return _uniform(name, shape, 0.6, 1.4)
        return _normal(name, shape) * 0.2
    if part.startswith("scales."):
        return np.float32([_LEVEL_SCALES[int(part.split(".")[1])]]).reshape(shape)
    if part in _HEAD_FIXED:
        return np.float32(_HEAD_FIXED[part])
    if part in _HEAD_STD:
        return _normal(name, shape) * _HEAD_STD[part]
    if part in _HEAD_FAN_IN_STD:
        return _normal(name, shape) * _HEAD_FAN_IN_STD[part](fan_in)
    if part.endswith("conv.bias"):
        return _normal(name, shape) * 0.05
    if normless and ("_convs." in part or "conv_adaption" in part):
        return _normal(name, shape) * np.sqrt(2.0 / fan_in)
    return _normal(name, shape) * (1.0 / np.sqrt(fan_in))


def reference_state_dict(
    shapes: Mapping[str, tuple[int, ...]], calibration: Mapping[str, NDArray[Any]]
) -> dict[str, torch.Tensor]:
    """Published name -> tensor.

    Args:
        shapes: published name -> shape.
        calibration: values that replace a tensor (by name) or multiply it (name + "#scale").
    """
    normless = not any(".gn." in name for name in shapes)
    state = {}
    for name, shape in shapes.items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
            continue
        value = _value(name, shape, normless).astype(np.float32)
        if name + "#scale" in calibration:
            value = (value * calibration[name + "#scale"]).astype(np.float32)
        state[name] = torch.from_numpy(np.array(calibration.get(name, value))).reshape(shape)
    return state
