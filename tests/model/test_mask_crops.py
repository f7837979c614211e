"""Masks computed inside boxes equal those cut from full maps, in value and gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sipvideo.model.mask_crops import CropWindows, mask_logits


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz") as file:
        return dict(file)


def sub_region(x: int, low: float, high: float, parts: int) -> int:
    """Number of the part of low..high in which pixel x lies, as the published kernel counts, or -1 outside."""
    start, end = np.float32(low), np.float32(high)
    if not start <= np.float32(x) < end:
        return -1
    size = np.float32((np.float64(end - start) + 0.1) / parts)
    return int((np.float32(x) - start) / size)


def full_map_logits(basis: Tensor, coefficients: Tensor, boxes: Tensor, parts: int) -> Tensor:
    """[N, H, W] the plain way: parts * parts full maps per object, each pixel from its part's map, 0 outside."""
    count, (bases, height, width) = len(boxes), basis.shape
    maps = torch.einsum("khw,nqk->nqhw", basis, coefficients.view(count, parts * parts, bases))
    number = torch.full((count, height, width), -1)
    for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        for y in range(height):
            for x in range(width):
                column, row = sub_region(x, x0, x1, parts), sub_region(y, y0, y1, parts)
                if column >= 0 and row >= 0:
                    number[n, y, x] = row * parts + column
    picked = maps.gather(1, number.clamp(min=0).unsqueeze(1)).squeeze(1)
    return torch.where(number >= 0, picked, 0.0)


def example(seed: int, parts: int, count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Basis [3, 13, 17], coefficients and boxes, some of which leave the map or are inverted; float64."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(3, 13, 17, generator=generator, dtype=torch.float64)
    coefficients = torch.randn(count, parts * parts * 3, generator=generator, dtype=torch.float64)
    corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([21.0, 17.0]) - 2
    ordered = corners.sort(1).values if count else corners
    boxes = ordered.flatten(1)
    boxes[: count // 6] = boxes[: count // 6, [2, 1, 0, 3]]
    return basis, coefficients, boxes


def test_every_pixel_is_in_the_sub_region_of_the_published_example(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    boxes = torch.from_numpy(reference["cs_all_boxes"])
    expected = reference["cs_all_cells"].transpose(2, 0, 1)
    windows = CropWindows.of(boxes, (24, 30))
    flat = torch.empty(sum(windows.areas))
    for _, number, _, _, part in windows.sub_regions(flat):
        part.fill_(number + 1)
    np.testing.assert_array_equal(windows.paste(flat).numpy(), expected)


def test_masks_and_gradients_equal_the_published_example(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    # The example's maps are arbitrary; as a basis of 4 N maps each sub-region picks its own with coefficient 1.
    maps = torch.from_numpy(reference["cs_data"])
    count = maps.shape[-1]
    basis = maps.permute(3, 0, 1, 2).reshape(4 * count, 24, 30).clone().requires_grad_()
    coefficients = torch.eye(4 * count).view(count, 16 * count).requires_grad_()
    windows = CropWindows.of(torch.from_numpy(reference["cs_boxes"]), (24, 30))
    full = windows.paste(mask_logits(basis, coefficients, windows))
    np.testing.assert_array_equal(full.detach().numpy(), reference["cs_out"].transpose(2, 0, 1))
    upstream = torch.from_numpy(reference["cs_gout"]).permute(2, 0, 1)
    (gradient,) = torch.autograd.grad(full, basis, upstream)
    gradient = gradient.view(count, 4, 24, 30).permute(1, 2, 3, 0)
    np.testing.assert_array_equal(gradient.numpy(), reference["cs_gin"])


def test_annotated_masks_are_cut_as_in_the_published_example(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    maps = torch.from_numpy(reference["csgt_data"]).permute(2, 0, 1)
    windows = CropWindows.of(torch.from_numpy(reference["cs_boxes"]), (24, 30))
    cut = windows.paste(windows.cut(maps, torch.arange(len(maps))))
    np.testing.assert_array_equal(cut.numpy(), reference["csgt_out"].transpose(2, 0, 1))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_values_and_gradients_equal_those_of_full_maps(parts: int) -> None:
    results = []
    for crops in (True, False):
        basis, coefficients, boxes = example(parts, parts)
        basis.requires_grad_()
        coefficients.requires_grad_()
        windows = CropWindows.of(boxes, (13, 17), parts)
        full = (
            windows.paste(mask_logits(basis, coefficients, windows))
            if crops
            else full_map_logits(basis, coefficients, boxes, parts)
        )
        gradients = torch.autograd.grad(full.square().sum(), (basis, coefficients))
        results.append((full, *gradients))
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain)
    assert results[0][0].any()


def test_gradients_equal_finite_differences() -> None:
    basis, coefficients, boxes = example(0, 2, 3)
    windows = CropWindows.of(boxes, (13, 17))
    inputs = (basis.requires_grad_(), coefficients.requires_grad_())
    assert torch.autograd.gradcheck(lambda b, c: mask_logits(b, c, windows), inputs)


SIDE = st.floats(-5, 25, width=32)


@given(st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), max_size=4), st.integers(1, 4))
def test_every_pixel_is_in_exactly_its_own_sub_region(
    boxes: list[tuple[float, float, float, float]], parts: int
) -> None:
    windows = CropWindows.of(torch.tensor(boxes).reshape(-1, 4), (11, 15), parts)
    flat = torch.zeros(sum(windows.areas))
    for _, number, _, _, part in windows.sub_regions(flat):
        part += number + 1
    found = windows.paste(flat)
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        for y in range(11):
            for x in range(15):
                column = min(sub_region(x, x0, x1, parts), parts - 1)
                row = min(sub_region(y, y0, y1, parts), parts - 1)
                expected = row * parts + column + 1 if column >= 0 and row >= 0 else 0
                assert found[n, y, x] == expected


def test_flat_values_split_sum_and_paste_consistently() -> None:
    boxes = torch.tensor([[2.0, 1.0, 5.5, 4.0], [8.0, 8.0, 3.0, 9.0], [-4.0, -4.0, 2.0, 3.0]])
    windows = CropWindows.of(boxes, (10, 12))
    assert windows.windows[0] == (2, 1, 6, 4)
    assert windows.windows[2] == (0, 0, 2, 3)
    assert windows.areas == [12, 0, 6]
    flat = torch.arange(18.0)
    assert [piece.numel() for piece in windows.split(flat)] == [12, 0, 6]
    assert windows.sums(flat).tolist() == [66.0, 0.0, 87.0]
    maps = windows.paste(flat)
    assert maps.sum((1, 2)).tolist() == [66.0, 0.0, 87.0]
    assert torch.equal(windows.cut(maps, torch.arange(3)), flat)
    assert maps[0, 1:4, 2:6].flatten().tolist() == list(range(12))


def test_cut_takes_the_map_that_the_index_names() -> None:
    windows = CropWindows.of(torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 3), (4, 4))
    maps = torch.stack((torch.zeros(4, 4), torch.ones(4, 4)))
    assert windows.sums(windows.cut(maps, torch.tensor([1, 0, 1]))).tolist() == [4.0, 0.0, 4.0]


def test_no_boxes_give_empty_results_that_still_have_a_gradient() -> None:
    windows = CropWindows.of(torch.zeros(0, 4), (5, 6))
    basis = torch.ones(2, 5, 6, requires_grad=True)
    flat = mask_logits(basis, torch.zeros(0, 8), windows)
    assert len(windows) == 0
    assert flat.shape == (0,)
    assert windows.split(flat) == []
    assert windows.paste(flat).shape == (0, 5, 6)
    assert windows.cut(torch.zeros(0, 5, 6), torch.zeros(0).long()).shape == (0,)
    sums = windows.sums(flat)
    assert sums.shape == (0,)
    (gradient,) = torch.autograd.grad(sums.sum(), basis)
    assert not gradient.any()


def test_shape_maps_are_powers_of_the_place_in_the_box_and_join_the_basis() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[1.5, 2.0, 9.0, 8.5], [-2.0, 3.0, 4.0, 30.0]])
    basis = torch.randn(4, 12, 16)
    coefficients = torch.randn(2, 4 * (4 + 6))
    windows = CropWindows.of(boxes, (12, 16))
    found = windows.paste(mask_logits(basis, coefficients, windows))
    parts = coefficients.view(2, 2, 2, 10)
    for n, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        xs, ys = windows.columns[n], windows.rows[n]
        for y in range(ys[0], ys[-1]):
            for x in range(xs[0], xs[-1]):
                u = 2 * (x + 0.5 - x0) / (x1 - x0) - 1
                v = 2 * (y + 0.5 - y0) / (y1 - y0) - 1
                seen = torch.tensor([*basis[:, y, x], 1, u, v, u * u, v * v, u * v])
                own = parts[n, int(y >= ys[1]), int(x >= xs[1])]
                assert float(found[n, y, x]) == pytest.approx(float(own @ seen), abs=1e-4)


def test_gradients_of_shape_maps_are_right() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[1.5, 2.0, 6.0, 5.5], [-2.0, 1.0, 4.0, 30.0], [3.0, 3.0, 3.0, 3.0]])
    windows = CropWindows.of(boxes, (7, 8))
    inputs = (
        torch.randn(2, 7, 8, dtype=torch.float64, requires_grad=True),
        torch.randn(3, 4 * (2 + 6), dtype=torch.float64, requires_grad=True),
    )
    assert torch.autograd.gradcheck(lambda b, c: mask_logits(b, c, windows), inputs)
