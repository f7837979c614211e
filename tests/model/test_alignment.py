"""What is read over an object's box."""

from __future__ import annotations

import torch

from sipvideo.config import GRID_MARGIN
from sipvideo.model.alignment import ObjectMap
from sipvideo.model.mask_crops import CropWindows, mask_logits
from tests.networks import small_config


def test_a_map_of_an_object_sees_the_logits_that_its_coefficients_give() -> None:
    torch.manual_seed(0)
    head = small_config(
        alignment="box_grid", grid_side=4, shape_maps=True, object_map=True, bases=5
    ).head
    own = ObjectMap(head, 48)
    # A box on a basis of the map's own size, so that its places are the basis' pixels.
    side = head.map_side
    basis, blocks = torch.randn(5, side, side), torch.randn(1, 4 * (5 + 6))
    windows = CropWindows.of(torch.tensor([[0.0, 0.0, side, side]]), (side, side))
    expected = mask_logits(basis, blocks, windows)
    found = own.combined(basis.flatten(1).t()[None], blocks)
    # The published rule gives the pixels right behind the middle to the first part.
    apart = torch.arange(side) != side // 2
    found, expected = (one.reshape(side, side)[apart][:, apart] for one in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_masks_of_models_with_such_maps_reach_as_far_as_the_taps() -> None:
    with_map = small_config(alignment="box_grid", grid_side=4, object_map=True).head
    assert (with_map.map_side, with_map.mask_margin) == (8, GRID_MARGIN)
    assert with_map.coefficient_count == 4 * with_map.bases + 64
    without = small_config(alignment="box_grid").head
    assert (without.map_side, without.mask_margin) == (0, 0)
