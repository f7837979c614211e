"""Small networks for tests: random weights, lively enough that objects of many sizes appear."""

from __future__ import annotations

import copy
import fcntl
from pathlib import Path

import numpy as np
import torch

from sipvideo.config import Config, config_from_values
from sipvideo.engine import HostEngine
from sipvideo.model.sipmask import SipMask
from sipvideo.runtime.cache import Cache
from sipvideo.runtime.graph import cached_onnx_graph
from sipvideo.runtime.pytorch import TorchRuntime, object_head
from sipvideo.structures import Frame

HEADS: list[dict[str, object]] = [
    {},
    {"alignment": "coefficients", "tower_bias": True},
    {"alignment": "none", "sub_regions": 3},
    {"unit": "separable", "levels_share_towers": False, "tower_bias": True, "embedding": 0}
    | {"alignment": "coefficients", "box_units": 0, "centerness": False}
    | {
        "box_distances": "distribution",
        "basis_source": "pyramid",
        "basis_upsample": 2,
        "mask_units": 1,
    },
    {"unit": "separable", "tower_bias": True, "box_units": 0, "centerness": False}
    | {"basis_source": "pyramid", "basis_upsample": 2, "basis_units": 2, "mask_units": 1}
    | {"mask_pyramid": True, "alignment": "box_grid", "grid_side": 5, "grid_hidden": 16},
    {"unit": "separable", "tower_bias": True, "box_units": 0, "centerness": False}
    | {"basis_source": "pyramid", "basis_upsample": 2, "basis_units": 1, "mask_units": 1}
    | {"mask_pyramid": True, "alignment": "box_grid", "grid_side": 3, "grid_hidden": 16}
    | {"mask_channels": 24, "tower_kernel": 5, "cell_point": "corner", "shape_maps": True}
    | {"grid_quality": True, "basis_detail": True, "basis_residuals": 1},
    {"unit": "separable", "tower_bias": True, "box_units": 0, "centerness": False}
    | {"basis_source": "pyramid", "basis_upsample": 2, "basis_units": 1, "mask_units": 1}
    | {"mask_pyramid": True, "alignment": "box_grid", "grid_side": 3, "grid_hidden": 16}
    | {"shape_maps": True, "grid_quality": True, "object_map": True},
]
"""Every way to get coefficients."""


def converted(model: SipMask, config: Config, folder: Path) -> bytes:
    """The network in ONNX, from a cache that processes share: none begins while another one is at it."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return cached_onnx_graph(model, config, Cache(folder))


def small_config(**head: object) -> Config:
    """The default model's kind of network with few classes; weights are random."""
    values = {
        "name": "small",
        "classes": ("a", "b", "c"),
        "input": {"size": (160, 160), "std": (57.0, 57.0, 57.0)},
        "backbone": {"name": "shufflenet_v2_x1_0"},
        "neck": {"name": "ghost_pan" if head.get("grid_quality") else "pan", "channels": 32},
        "head": {
            "norm": "none",
            "basis_channels": 16,
            "bases": 8,
            "embedding": 8,
            "box_distances": "relu",
            **head,
        },
        "postprocess": {"score_threshold": 0.02, "max_detections": 20},
    }
    return config_from_values(values, "test")


def lively(config: Config) -> SipMask:
    """Random weights large enough that objects of many sizes appear."""
    torch.manual_seed(3)
    model = SipMask(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            fan_in = max(1, parameter[0].numel())
            torch.nn.init.normal_(parameter, std=1.2 / fan_in**0.5)
    for conv in model.head.class_logits:
        torch.nn.init.constant_(conv.bias, -2.0)
    for conv in model.head.box_distances:
        torch.nn.init.constant_(conv.bias, 1.5)
    return model


def picture(height: int = 120, width: int = 160, seed: int = 0) -> Frame:
    """Coarse coloured noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    image = np.kron(coarse, np.ones((height // 8 + 1, width // 8 + 1, 1), np.uint8))
    return Frame(np.ascontiguousarray(image[:height, :width]), 0, 0.0)


def segmenter(model: SipMask, config: Config, runtime: str = "torch") -> HostEngine:
    """A copy of a network on the CPU, put together as commands do it."""
    ready = TorchRuntime(copy.deepcopy(model), torch.device("cpu"), runtime)
    return HostEngine(ready, object_head(model, config), config)
