"""Masks on whole maps, as cards assemble them, equal those inside windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.model.mask_crops import CropWindows, mask_logits
from sipvideo.model.mask_maps import WholeMaps

SIZE = (13, 17)
BOX = st.tuples(*(st.floats(-6, 24, width=32) for _ in range(4)))
WRONG = [[5.0, 2.0, 3.0, 9.0], [30.0, 2.0, 40.0, 9.0], [4.0, 4.0, 4.0, 9.0]]


@given(st.lists(BOX, min_size=1, max_size=4), st.sampled_from([1, 2, 3]))
def test_whole_maps_divide_boxes_as_windows_do(boxes: list[list[float]], parts: int) -> None:
    places = torch.tensor(boxes, dtype=torch.float32)
    crops, maps = CropWindows.of(places, SIZE, parts), WholeMaps.of(places, SIZE, parts)
    values = torch.rand(len(boxes), *SIZE)
    flat = crops.cut(values, torch.arange(len(boxes)))
    assert torch.equal(maps.paste(values), crops.paste(flat))
    assert torch.equal(maps.counts, crops.counts)
    torch.testing.assert_close(maps.sums(values), crops.sums(flat))
    owners = torch.zeros(len(boxes), *SIZE, dtype=torch.int64)
    for n, number, rows, columns, _ in crops.sub_regions(flat):
        owners[n, rows, columns] = number
    for number in range(parts**2):
        own = maps.part(number) & maps.inside
        assert torch.equal(own, (owners == number) & maps.inside)


@pytest.mark.parametrize("shapes", [0, 6])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_logits_and_gradients_are_those_of_the_windows(shapes: int, parts: int) -> None:
    generator = torch.Generator().manual_seed(parts)
    good = torch.rand(5, 4, generator=generator) * 8 + torch.tensor([0.0, 0.0, 8.0, 4.0])
    boxes = torch.cat((good, torch.tensor(WRONG)))
    basis = torch.randn(4, *SIZE, generator=generator)
    coefficients = torch.randn(len(boxes), parts**2 * (4 + shapes), generator=generator)
    weights = torch.randn(len(boxes), *SIZE, generator=generator)
    found = []
    for windows in (CropWindows.of(boxes, SIZE, parts), WholeMaps.of(boxes, SIZE, parts)):
        inputs = [basis.clone().requires_grad_(), coefficients.clone().requires_grad_()]
        whole = windows.paste(mask_logits(*inputs, windows))
        (whole * weights).sum().backward()  # type: ignore[no-untyped-call]
        found.append([whole.detach(), *(np.asarray(one.grad) for one in inputs)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_maps_of_objects_are_spread_over_boxes_alike_and_as_a_resize_does_it() -> None:
    torch.manual_seed(0)
    boxes = torch.cat(
        (torch.tensor([[2.0, 1.0, 14.0, 11.0], [-3.0, 4.5, 9.0, 20.0]]), torch.tensor(WRONG))
    )
    own = torch.randn(len(boxes), 6, 6, requires_grad=True)
    found = []
    for windows in (CropWindows.of(boxes, SIZE), WholeMaps.of(boxes, SIZE)):
        whole = windows.paste(windows.spread(own))
        (gradient,) = torch.autograd.grad((whole * whole.detach()).sum(), own)
        found.append((whole.detach(), gradient))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
    # A box of 12 x 10 pixels that begins at whole ones is an ordinary resize.
    resized = F.interpolate(own[:1, None].detach(), (10, 12), mode="bilinear")[0, 0]
    torch.testing.assert_close(found[0][0][0, 1:11, 2:14], resized, rtol=1e-4, atol=1e-5)


def test_an_objects_own_map_is_added_to_what_it_combines() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[1.5, 2.0, 9.0, 8.5], [-2.0, 3.0, 4.0, 30.0]])
    basis, blocks, own = torch.randn(4, *SIZE), torch.randn(2, 4 * 4), torch.randn(2, 9)
    for windows in (CropWindows.of(boxes, SIZE), WholeMaps.of(boxes, SIZE)):
        together = mask_logits(basis, torch.cat((blocks, own), 1), windows, map_side=3)
        apart = mask_logits(basis, blocks, windows) + windows.spread(own.view(2, 3, 3))
        torch.testing.assert_close(windows.paste(together), windows.paste(apart))
