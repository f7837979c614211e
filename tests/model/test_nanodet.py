"""NanoDet's files under the names of our modules, and the packaged detectors against what ncnn gives for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sipvideo import build
from sipvideo.config import Config, config_from_values, load_config
from sipvideo.errors import CheckpointError
from sipvideo.model.ghost_pan import GhostModule, GhostPAN
from sipvideo.model.nanodet import nanodet_state_dict
from sipvideo.model.sipmask import SipMask
from tests.model.test_checkpoint import old_config
from tests.model.test_ncnn import write_model

FIXTURE = Path(__file__).parents[1] / "fixtures" / "nanodet_plus.npz"


def shuffle_unit(unit: nn.Module) -> list[nn.Conv2d]:
    """A unit with two branches as the exporter of NanoDet-Plus wrote it."""
    second = [m for m in unit.branch2 if isinstance(m, nn.Conv2d)]
    if unit.stride == 1:
        return second
    first = [m for m in unit.branch1 if isinstance(m, nn.Conv2d)]
    return [first[0], second[0], second[1], first[1], second[2]]


def of_plus(model: SipMask) -> list[nn.Conv2d]:
    """The convolutions in the order of a NanoDet-Plus file, written down by hand."""
    trunk, neck = model.backbone, model.neck
    assert isinstance(neck, GhostPAN)
    found = [trunk.conv1[0]]
    for stage in (trunk.stage2, trunk.stage3, trunk.stage4):
        for unit in stage:
            found += shuffle_unit(unit)

    def block(one: nn.Module) -> list[nn.Conv2d]:
        ghosts: list[GhostModule] = [one.expand, one.project]
        return [c for g in ghosts for c in (g.primary, g.cheap)] + list(one.shortcut)

    found += [neck.reduce[2], neck.reduce[1], *block(neck.top_down[1])]
    found += [neck.reduce[0], *block(neck.top_down[0])]
    for level in (0, 1):
        found += [neck.down[level].depthwise, neck.down[level].pointwise]
        found += block(neck.bottom_up[level])
    for unit in neck.extra:
        found += [unit.depthwise, unit.pointwise]
    towers = model.head.class_towers
    for level in range(4):
        found += [towers[level][0].depthwise, towers[level][0].pointwise]
    for level in (3, 2, 1, 0):
        found += [towers[level][1].depthwise, towers[level][1].pointwise, prediction(model, level)]
    return found


def of_m(model: SipMask) -> list[nn.Conv2d]:
    """The same of a NanoDet-m file."""
    found = [m for part in (model.backbone, model.neck) for m in part.modules()]
    found = [m for m in found if isinstance(m, nn.Conv2d)]
    for level, tower in enumerate(model.head.class_towers):
        found += [conv for unit in tower for conv in (unit.depthwise, unit.pointwise)]
        found.append(prediction(model, level))
    return found


def prediction(model: SipMask, level: int) -> nn.Conv2d:
    """Classes and box distributions in one convolution."""
    parts = [model.head.class_logits[level], model.head.box_distances[level]]
    joined = nn.Conv2d(parts[0].in_channels, sum(p.out_channels for p in parts), 1)
    joined.weight.data = torch.cat([p.weight.data for p in parts])
    joined.bias.data = torch.cat([p.bias.data for p in parts])
    return joined


def configs() -> dict[str, Config]:
    """Small relatives of the three detectors."""
    changed = {"classes": ("a", "b", "c")}
    old = old_config().model_dump(exclude_unset=True)
    plus = load_config("sipmask_nano").model_dump(exclude_unset=True)
    return {
        "m": config_from_values({**old, **changed}, "m"),
        "plus": config_from_values({**plus, **changed}, "plus"),
    }


@pytest.mark.parametrize("kind", ["m", "plus"])
def test_nanodet_weights_get_the_names_of_our_modules(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = SipMask(configs()[kind])
    convolutions = of_m(model) if kind == "m" else of_plus(model)
    state = nanodet_state_dict(*write_model(tmp_path, convolutions, 0), configs()[kind])
    expected = model.state_dict()
    parts = (
        "backbone.",
        "neck.",
        "head.class_towers.",
        "head.class_logits.",
        "head.box_distances.",
    )
    assert state.keys() == {name for name in expected if name.startswith(parts)}
    for name, value in state.items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_another_detector_is_not_taken_for_the_models_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    files = write_model(tmp_path, of_plus(SipMask(configs()["plus"])), 0)
    with pytest.raises(CheckpointError, match="not the detector of 'sipmask_nano'"):
        nanodet_state_dict(*files, configs()["m"])


@pytest.mark.parametrize("model", build.MODELS)
def test_a_packaged_detector_gives_what_ncnn_gives_for_its_file(model: str) -> None:
    network = build.load_model(model=model)[1].eval()
    expected = np.load(FIXTURE)
    with torch.inference_mode():
        image = torch.from_numpy(expected["image"])[None]
        pyramid, _ = network.pyramid(image)
        for level, feature in enumerate(pyramid):
            stride = network.head.strides[level]
            tower = network.head.class_towers[level](feature)
            scores = network.head.class_logits[level](tower)[0].sigmoid()
            sides = network.head.box_distances[level](tower)[0]
            close = {"rtol": 1e-4, "atol": 1e-4}
            np.testing.assert_allclose(scores, expected[f"{model}.{stride}.scores"], **close)
            np.testing.assert_allclose(sides, expected[f"{model}.{stride}.sides"], **close)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (96, 160)])
def test_ghost_pan_keeps_its_strides(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    channels = (4, 6, 8)
    features = [
        torch.randn(2, c, size[0] // s, size[1] // s)
        for c, s in zip(channels, (8, 16, 32), strict=True)
    ]
    levels = GhostPAN(channels, 10)(features)
    assert len(levels) == len(GhostPAN.strides)
    for level, stride in zip(levels, GhostPAN.strides, strict=True):
        assert level.shape == (2, 10, -(-size[0] // stride), -(-size[1] // stride))
