"""The loss formulas: published numbers, definitions written out, and edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import generalized_box_iou

from sipvideo.model import losses
from sipvideo.model.mask_crops import CropWindows

NO_BOXES = torch.zeros(0, 4)


@pytest.fixture(scope="module")
def reference() -> dict[str, NDArray[np.float32]]:
    with np.load(Path(__file__).parents[1] / "fixtures" / "losses.npz") as file:
        return dict(file)


def random_boxes(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator) * 20
    return corners.sort(1).values.flatten(1)


def random_masks(seed: int = 0) -> tuple[Tensor, Tensor, CropWindows, Tensor]:
    """Flat probabilities and 0/1 targets inside four boxes on a 20 x 20 map; one box leaves it, one has no pixel."""
    boxes = random_boxes(4, seed)
    boxes[1] += torch.tensor([-6.0, 0, 0, 9])
    boxes[2] = torch.tensor([5.1, 5.1, 5.2, 5.3])
    windows = CropWindows.of(boxes, (20, 20))
    generator = torch.Generator().manual_seed(seed)
    probabilities = torch.rand(sum(windows.areas), generator=generator)
    targets = (torch.rand(len(probabilities), generator=generator) > 0.5).float()
    return probabilities, targets, windows, boxes


def test_focal_loss_and_its_gradient_equal_the_published_numbers(
    reference: dict[str, NDArray[np.float32]],
) -> None:
    logits = torch.from_numpy(reference["fl_logits"]).requires_grad_()
    labels = torch.from_numpy(reference["fl_targets"]) - 1
    loss = losses.focal_loss(logits, labels)
    np.testing.assert_allclose(loss.detach(), reference["fl_loss"], rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    np.testing.assert_allclose(gradient, reference["fl_grad"], rtol=1e-5, atol=1e-6)


def test_focal_loss_stays_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = losses.focal_loss(logits, torch.tensor([0, -1]))
    assert loss.isfinite().all()
    assert loss[0].tolist() == [0.0, 0.0]
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


def test_focal_loss_of_no_locations_is_empty() -> None:
    assert losses.focal_loss(torch.zeros(0, 5), torch.zeros(0).long()).shape == (0, 5)


def test_quality_focal_loss_is_least_where_the_score_says_the_quality() -> None:
    quality = torch.tensor([0.3, 0.8])
    labels = torch.tensor([1, 0])
    logits = torch.full((2, 2), -100.0)
    logits[[0, 1], labels] = torch.logit(quality)
    logits.requires_grad_()
    loss = losses.quality_focal_loss(logits, labels, quality)
    torch.testing.assert_close(loss, torch.zeros(2, 2))
    off = losses.quality_focal_loss(logits + 0.5, labels, quality)
    assert (off[[0, 1], labels] > 0).all()


def test_quality_focal_loss_of_background_ignores_the_quality() -> None:
    logits = torch.tensor([[0.3, -2.0]])
    loss = losses.quality_focal_loss(logits, torch.tensor([-1]), torch.tensor([0.9]))
    torch.testing.assert_close(loss, logits.sigmoid() ** 2 * F.softplus(logits))


def test_overlaps_equal_the_published_numbers(reference: dict[str, NDArray[np.float32]]) -> None:
    a, b = torch.from_numpy(reference["ov_a"]), torch.from_numpy(reference["ov_b"])
    aligned = losses.aligned_iou(a[: len(b)], b)
    np.testing.assert_allclose(aligned, reference["ov_aligned"], rtol=1e-6)
    pairs = losses.aligned_iou(a.repeat_interleave(len(b), 0), b.repeat(len(a), 1))
    np.testing.assert_allclose(pairs.view(len(a), -1), reference["ov_out"], rtol=1e-6)


def test_overlap_of_boxes_without_area_is_zero() -> None:
    point = torch.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert losses.aligned_iou(point, point, pixel=0).tolist() == [0.0]
    # One pixel narrower than nothing: published widths add up to 0.
    inverted = torch.tensor([[5.0, 5.0, 4.0, 4.0]])
    assert losses.aligned_iou(inverted, inverted).tolist() == [0.0]
    assert losses.aligned_iou(NO_BOXES, NO_BOXES).shape == (0,)


def test_iou_loss_is_bounded_and_zero_for_equal_boxes() -> None:
    boxes = random_boxes(5)
    torch.testing.assert_close(losses.iou_loss(boxes, boxes), torch.zeros(5))
    apart = losses.iou_loss(boxes, boxes + 1000)
    torch.testing.assert_close(apart, torch.full((5,), 1e-6).log().neg())


def test_giou_loss_without_pixel_is_torchvisions() -> None:
    a, b = random_boxes(20, 1), random_boxes(20, 2)
    expected = 1 - generalized_box_iou(a, b).diagonal()
    torch.testing.assert_close(losses.giou_loss(a, b, pixel=0), expected)


def test_giou_loss_is_zero_for_equal_boxes_and_pulls_boxes_that_are_apart() -> None:
    boxes = random_boxes(5)
    equal = losses.giou_loss(boxes, boxes)
    torch.testing.assert_close(equal, torch.zeros(5), atol=1e-5, rtol=0)
    shift = torch.full((5, 1), 100.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.giou_loss(boxes + shift, boxes).sum(), shift)
    assert (gradient > 0).all()


def test_mask_targets_need_more_than_half_of_the_pixels_under_them() -> None:
    torch.manual_seed(0)
    masks = torch.rand(3, 12, 18) > 0.4
    result = losses.mask_targets(masks, 2, (8, 10))
    counts = F.avg_pool2d(masks.float(), 2) * 4
    assert torch.equal(result[:, :6, :9], (counts >= 3).float())
    assert not result[:, 6:].any()
    assert not result[:, :, 9:].any()


def test_mask_targets_follow_bilinear_sampling_at_other_strides() -> None:
    torch.manual_seed(0)
    masks = torch.rand(2, 16, 24) > 0.5
    inner = masks.view(2, 4, 4, 6, 4)[:, :, 1:3, :, 1:3].float().mean((2, 4))
    assert torch.equal(losses.mask_targets(masks, 4, (4, 6)), (inner > 0.5).float())


def test_mask_targets_are_cut_to_the_map_and_may_be_none() -> None:
    masks = torch.ones(1, 20, 20, dtype=torch.uint8)
    assert torch.equal(losses.mask_targets(masks, 2, (4, 6)), torch.ones(1, 4, 6))
    assert losses.mask_targets(masks[:0], 2, (4, 6)).shape == (0, 4, 6)
    # 15 rows give 7: the size is rounded down.
    assert losses.mask_targets(masks[:, :15], 2, (10, 10)).sum() == 70


def test_mask_cross_entropy_equals_that_of_full_maps() -> None:
    probabilities, targets, windows, boxes = random_masks()
    full = F.binary_cross_entropy(
        windows.paste(probabilities), windows.paste(targets), reduction="none"
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    expected = full.sum((1, 2)) / sides.prod(1)
    loss = losses.mask_bce(probabilities, targets, windows, boxes)
    torch.testing.assert_close(loss, expected)
    assert loss[2] == 0
    assert loss[0] > 0


def test_dice_loss_goes_from_equal_to_disjoint_masks() -> None:
    _, targets, windows, _ = random_masks()
    equal = losses.mask_dice(targets, targets, windows)
    torch.testing.assert_close(equal, torch.zeros(4))
    disjoint = losses.mask_dice(1 - targets, targets, windows)
    areas = torch.tensor(windows.areas)
    torch.testing.assert_close(disjoint, areas / (areas + 1))


def test_losses_of_no_masks_are_empty() -> None:
    windows = CropWindows.of(NO_BOXES, (20, 20))
    nothing = torch.zeros(0)
    assert losses.mask_bce(nothing, nothing, windows, NO_BOXES).shape == (0,)
    assert losses.mask_dice(nothing, nothing, windows).shape == (0,)
    overlaps, weights = losses.rescoring_targets(nothing, nothing, windows, nothing)
    assert overlaps.shape == weights.shape == (0,)
    assert losses.mask_alignment_weights(nothing, nothing).shape == (0,)


def test_alignment_weights_follow_score_times_overlap_and_average_one() -> None:
    scores = torch.tensor([0.9, 0.5, 0.2], requires_grad=True)
    overlaps = torch.tensor([0.8, 0.5, 0.0])
    weights = losses.mask_alignment_weights(scores, overlaps)
    assert not weights.requires_grad
    torch.testing.assert_close(weights, torch.tensor([0.72, 0.25, 0.0]) * 3 / 0.9701)
    exact = losses.mask_alignment_weights(scores, overlaps, epsilon=0)
    torch.testing.assert_close(exact.mean(), torch.tensor(1.0))
    assert not losses.mask_alignment_weights(scores, overlaps * 0, epsilon=0).any()


def test_embeddings_come_from_the_cell_under_the_point_or_the_nearest() -> None:
    rows, columns = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij")
    points = torch.tensor([[7.9, 8.0], [39.9, 23.9], [-0.1, -50.0], [40.0, 1000.0]])
    found = losses.embeddings_at(torch.stack((rows, columns)), points, stride=8)
    assert found.tolist() == [[1, 0], [2, 4], [0, 0], [2, 4]]
    assert losses.embeddings_at(torch.zeros(7, 3, 5), points[:0], 8).shape == (0, 7)


def test_jitter_shifts_centres_by_a_share_of_the_sides() -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 40.0], [10.0, 10.0, 0.0, 0.0]])
    jitter = torch.tensor([[0.05, -0.05, 9.0, 9.0], [0.05, 0.0, 9.0, 9.0]])
    assert losses.box_centres(boxes).tolist() == [[5, 20], [5, 5]]
    torch.testing.assert_close(
        losses.box_centres(boxes, jitter), torch.tensor([[5.5, 18.0], [5.5, 5.0]])
    )


def test_a_new_object_has_similarity_zero() -> None:
    own, others = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, -1.0]])
    assert losses.track_logits(own, others).tolist() == [[0, 11, -2]]
    assert losses.track_logits(own, others[:0]).tolist() == [[0]]
    assert losses.track_logits(own[:0], others).shape == (0, 3)


def test_rescoring_targets_are_overlaps_with_the_whole_annotated_masks() -> None:
    boxes = torch.tensor([[0.0, 0.0, 20.0, 20.0], [4.0, 4.0, 16.0, 16.0], [0.0, 0.0, 5.0, 5.0]])
    windows = CropWindows.of(boxes, (20, 20))
    annotated = torch.zeros(3, 20, 20)
    annotated[0, :, :10] = 1  # 200 pixels
    annotated[1, 10:, :] = 1  # 200 pixels, 72 of them in the box
    annotated[2, :9, :11] = 1  # 99 pixels: too small to count
    predicted = torch.zeros(3, 20, 20)
    predicted[0, :, 5:15] = 0.41
    predicted[1, 4:16, 4:16] = 0.41
    predicted[2, :5, :5] = 0.9
    predicted[1, 4, 4:16] = 0.4  # not above the threshold
    every = torch.arange(3)
    overlaps, weights = losses.rescoring_targets(
        windows.cut(predicted, every), windows.cut(annotated, every), windows, annotated.sum((1, 2))
    )
    expected = [
        100 / (200 + 200 - 100 + 0.1),
        72 / (132 + 200 - 72 + 0.1),
        25 / (25 + 99 - 25 + 0.1),
    ]
    torch.testing.assert_close(overlaps, torch.tensor(expected))
    assert weights.tolist() == [1, 1, 0]
