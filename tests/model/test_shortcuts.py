"""Each exact shortcut of the network against the plain form."""

from __future__ import annotations

import pytest
import torch

from sipvideo.config import HeadConfig, load_config
from sipvideo.model import plain
from sipvideo.model.alignment import BoxGrid
from sipvideo.model.basis import PyramidSum
from sipvideo.model.ops import conv_at, deformable_conv
from sipvideo.model.shufflenet import ShuffleNetV2, UnshuffledStage
from sipvideo.model.winograd import WinogradConv
from sipvideo.runtime.layout import flat
from tests.networks import lively, small_config

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.mark.parametrize("groups", [1, 2, 4])
@torch.inference_mode()
def test_row_gathering_equals_the_librarys_deformable_convolution(groups: int) -> None:
    torch.manual_seed(0)
    feature, weight = torch.randn(2, 16, 9, 13), torch.randn(6, 16, 3, 3)
    # Offsets far outside the map, exactly on its border and on cell centres are all met.
    offsets = torch.randn(2, groups * 18, 9, 13) * 6
    offsets[0, ::3] = offsets[0, ::3].round()
    expected = plain.deform_conv2d(feature, offsets, weight, padding=1)
    torch.testing.assert_close(deformable_conv(feature, offsets, weight, groups), expected, **CLOSE)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_at_chosen_cells_equals_the_dense_one(kernel: int) -> None:
    conv = torch.nn.Conv2d(6, 5, kernel, padding=kernel // 2)
    feature = torch.randn(6, 7, 9)
    rows, columns = torch.tensor([0, 6, 3, 0]), torch.tensor([0, 8, 4, 8])
    expected = conv(feature[None])[0][:, rows, columns].t()
    torch.testing.assert_close(conv_at(feature, conv, rows, columns), expected, **CLOSE)


@pytest.mark.parametrize(("height", "width"), [(30, 30), (31, 33), (48, 80)])
@torch.inference_mode()
def test_winograds_convolution_equals_the_direct_one(height: int, width: int) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(256, 256, 3, padding=1)
    assert WinogradConv.suits(conv)
    x = torch.randn(2, 256, height, width).relu()
    expected = conv.double()(x.double()).float()
    ours = WinogradConv(conv.float())(x)
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, rtol=0, atol=5e-5)


def test_winograds_convolution_leaves_training_and_small_maps_to_the_direct_one() -> None:
    conv = torch.nn.Conv2d(256, 256, 3, padding=1)
    fast = WinogradConv(conv)
    x = torch.randn(1, 256, 40, 40)
    torch.testing.assert_close(fast(x), conv(x), rtol=0, atol=0)
    with torch.inference_mode():
        small = x[:, :, :8, :8]
        torch.testing.assert_close(fast(small), conv(small), rtol=0, atol=0)


def test_convolving_before_upsampling_equals_concatenating_first() -> None:
    branch = PyramidSum(6, 5)
    features = [torch.randn(2, 6, 16, 24), torch.randn(2, 6, 8, 12), torch.randn(2, 6, 4, 6)]
    torch.testing.assert_close(branch(features), plain.concatenated(branch, features), **CLOSE)


@pytest.mark.parametrize("alignment", ["coefficients", "none"])
def test_coefficients_in_a_row_of_cells_equal_the_maps(alignment: str) -> None:
    head = lively(small_config(alignment=alignment, mask_units=1)).head
    pyramid = [torch.randn(2, 32, size, size + 2) for size in (8, 4, 2)]
    outputs = head(pyramid, [torch.zeros(2, 24, 16, 20)])
    maps = [level.flatten(2).transpose(1, 2) for level in head.coefficient_maps(outputs)]
    at = torch.tensor([103, 0, 79, 80, 81, 111])
    for item in range(2):
        found = head.coefficients_in_row(outputs, item, at)
        torch.testing.assert_close(found, torch.cat(maps, 1)[item, at], **CLOSE)


def test_a_grid_reads_the_basis_under_its_taps() -> None:
    """A basis mask that is a ramp in x gives back the taps' columns."""
    grid = BoxGrid(HeadConfig(bases=1, grid_side=3, grid_hidden=4), channels=1)
    seen = []
    grid.reduce.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    ramp = (torch.arange(40.0) + 0.5).expand(1, 30, 40) * 4
    boxes = torch.tensor([[20.0, 30.0, 80.0, 60.0]])
    grid(torch.zeros(1, 15, 20), 8, ramp, 4, boxes)
    expected = 50 + torch.tensor([-1.0, 0.0, 1.0]) * 60 / 3 * 1.2
    torch.testing.assert_close(seen[0][0, :, 1].view(3, 3), expected.expand(3, 3))


@pytest.mark.parametrize("overrides", [[], ["neck.name=pan"], ["head.mask_pyramid=false"]])
@torch.inference_mode()
def test_a_network_without_shuffles_gives_the_same(overrides: list[str]) -> None:
    model = lively(load_config("sipmask_nano", overrides))
    images = torch.randn(2, 3, 64, 96)
    expected = flat(model(images))
    for _ in range(2):  # a network may be made ready more than once
        found = flat(model.simplified()(images))
        for (_, ours), (_, theirs) in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, **CLOSE)
    assert isinstance(model.backbone, ShuffleNetV2)
    for stage in (model.backbone.stage2, model.backbone.stage3, model.backbone.stage4):
        assert isinstance(stage, UnshuffledStage)
        assert sorted(stage.order) == list(range(len(stage.order))) != stage.order
