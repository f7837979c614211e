"""The loss formulas of SipMask as pure functions; :mod:`sipvideo.model.criterion` puts them together."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from sipvideo.model.mask_maps import Windows


def nonzero(divisor: Tensor) -> Tensor:
    """The divisor with 1 in place of 0."""
    return torch.where(divisor == 0, 1.0, divisor)


def ranks() -> int:
    """Number of processes that train together, each on its part of every batch; 1 outside of such a training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum of a scalar over the processes of :func:`ranks`, without gradient; a normaliser must be that of all.

    A loss divided by ``sum_over_ranks(normaliser) / ranks()`` has, averaged over the processes, the gradient of the
    whole batch in one process. All processes must call this in the same order.
    """
    value = value.detach().float()
    if ranks() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def focal_loss(logits: Tensor, labels: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Sigmoid focal loss (RetinaNet), every class a binary question.

    Args:
        logits: float [P, C].
        labels: int64 [P], 0..C-1, or -1 for background (no class is right).
        gamma: how much well answered questions are discounted.
        alpha: weight of the right class; the other classes have 1 - alpha.

    Returns:
        float [P, C].
    """
    right = _one_hot(labels, logits.shape[1])
    wrong_logits = torch.where(right, -logits, logits)  # of the wrong answer
    weight = torch.where(right, alpha, 1 - alpha)
    return weight * wrong_logits.sigmoid() ** gamma * F.softplus(wrong_logits)


def quality_focal_loss(logits: Tensor, labels: Tensor, quality: Tensor) -> Tensor:
    """Focal loss whose target for the right class is the quality of the prediction (generalised focal loss, QFL).

    Args:
        logits: float [P, C].
        labels: int64 [P], 0..C-1, or -1 for background.
        quality: float [P], 0..1, the target at the right class.

    Returns:
        float [P, C].
    """
    target = torch.where(_one_hot(labels, logits.shape[1]), quality.unsqueeze(1), 0.0)
    error = (target - logits.sigmoid()).square()
    return error * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """bool [P, C]; no class for label -1."""
    return labels.unsqueeze(1) == torch.arange(classes, device=labels.device)


def _overlap(a: Tensor, b: Tensor, pixel: float) -> tuple[Tensor, Tensor]:
    """Intersection and union areas [N] of aligned pairs of boxes [N, 4]."""
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2]) + pixel).clamp(
        min=0
    )
    intersection = sides[:, 0] * sides[:, 1]
    areas = [(box[:, 2] - box[:, 0] + pixel) * (box[:, 3] - box[:, 1] + pixel) for box in (a, b)]
    return intersection, areas[0] + areas[1] - intersection


def aligned_iou(a: Tensor, b: Tensor, pixel: float = 1.0) -> Tensor:
    """Intersection over union of box n of ``a`` and box n of ``b``.

    Args:
        a: float [N, 4], x0, y0, x1, y1.
        b: float [N, 4].
        pixel: added to all sides; 1 for boxes whose x1, y1 are the last pixel, as published.

    Returns:
        float [N].
    """
    intersection, union = _overlap(a, b, pixel)
    return intersection / nonzero(union)


def iou_loss(predicted: Tensor, target: Tensor, pixel: float = 1.0) -> Tensor:
    """-ln(IoU) of aligned pairs of boxes [N, 4] with the IoU at least 1e-6: float [N]."""
    return -aligned_iou(predicted, target, pixel).clamp(min=1e-6).log()


def giou_loss(predicted: Tensor, target: Tensor, pixel: float = 1.0) -> Tensor:
    """1 - generalised IoU of aligned pairs of boxes [N, 4], ``pixel`` added to intersection and union: float [N]."""
    intersection, union = _overlap(predicted, target, 0.0)
    first = torch.minimum(predicted[:, :2], target[:, :2])
    last = torch.maximum(predicted[:, 2:], target[:, 2:])
    around = (last - first).prod(1) + 1e-7
    iou = (intersection + pixel) / (union + max(pixel, 1e-7))
    return 1 - iou + (around - union) / around


def mask_targets(masks: Tensor, stride: int, map_size: tuple[int, int]) -> Tensor:
    """Annotated masks at the resolution of the basis masks.

    Args:
        masks: bool or uint8 [M, H, W], input pixels.
        stride: input pixels per basis pixel.
        map_size: (height, width) of the basis masks; larger than H / stride, W / stride where the input was padded.

    Returns:
        float32 [M, height, width], 0 or 1: bilinearly reduced and thresholded at 0.5.
    """
    height, width = map_size
    result = torch.zeros(len(masks), height, width, device=masks.device)
    if len(masks):
        small = F.interpolate(
            masks.float().unsqueeze(0),
            scale_factor=1 / stride,
            mode="bilinear",
            align_corners=False,
            recompute_scale_factor=True,
        )[0, :, :height, :width]
        result[:, : small.shape[1], : small.shape[2]] = (small > 0.5).float()
    return result


def mask_bce(probabilities: Tensor, targets: Tensor, windows: Windows, boxes: Tensor) -> Tensor:
    """Binary cross-entropy of each object's mask, divided by the area of its box.

    Pixels outside the box are 0 in both masks and would add nothing.

    Args:
        probabilities: float [T], flat, see :class:`sipvideo.model.mask_crops.CropWindows`.
        targets: float [T], 0 or 1.
        windows: the N boxes.
        boxes: float [N, 4], the same boxes, unclipped, basis pixels.

    Returns:
        float [N].
    """
    sums = windows.sums(F.binary_cross_entropy(probabilities, targets, reduction="none"))
    return sums / (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])


def mask_dice(probabilities: Tensor, targets: Tensor, windows: Windows) -> Tensor:
    """Dice loss of each object's mask inside its box: 0 for equal masks, near 1 for disjoint ones. Not published.

    Args and result as in :func:`mask_bce`; 1 is added above and below, so that empty masks are equal.
    """
    both = windows.sums(probabilities * targets)
    each = windows.sums(probabilities.square() + targets.square())
    return 1 - (2 * both + 1) / (each + 1)


def mask_alignment_weights(
    scores: Tensor, overlaps: Tensor, epsilon: float = 1e-4, keep: Tensor | None = None
) -> Tensor:
    """Mask alignment weighting: masks count by how well class and box of the same location agree with the object.

    Args:
        scores: float [N], probability of the right class.
        overlaps: float [N], IoU of predicted and annotated box.
        epsilon: added to the sum.
        keep: bool [N], which masks there are; None: all.

    Returns:
        float [N], without gradient, mean about 1; 0 where nothing overlaps.
    """
    weights = (scores * overlaps).detach()
    count: int | Tensor = len(weights)
    if keep is not None:
        weights, count = torch.where(keep, weights, 0.0), keep.sum()
    total = weights.sum() + epsilon
    return weights * count / nonzero(total)


def box_centres(boxes: Tensor, jitter: Tensor | None = None) -> Tensor:
    """Centres x, y [N, 2] of boxes [N, 4], shifted by ``jitter`` [N, 2 or more] (columns 0, 1) times their sides."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    if jitter is None:
        return centres
    return centres + (boxes[:, 2:] - boxes[:, :2]).abs() * jitter[:, :2].to(boxes)


def embeddings_at(embedding_map: Tensor, points: Tensor, stride: int) -> Tensor:
    """Embeddings at the cells of points; a point outside reads the nearest cell.

    Args:
        embedding_map: float [E, h, w].
        points: float [N, 2], x, y, input pixels.
        stride: input pixels per cell.

    Returns:
        float [N, E].
    """
    height, width = embedding_map.shape[1:]
    cells = (points / stride).floor().long()
    return embedding_map[:, cells[:, 1].clamp(0, height - 1), cells[:, 0].clamp(0, width - 1)].t()


def track_logits(embeddings: Tensor, reference_embeddings: Tensor) -> Tensor:
    """Similarities [N, 1 + R] of N objects with "a new object" (column 0, always 0) and R reference objects."""
    similarities = embeddings @ reference_embeddings.t()
    return torch.cat((similarities.new_zeros(len(similarities), 1), similarities), 1)


def rescoring_targets(
    probabilities: Tensor,
    targets: Tensor,
    windows: Windows,
    areas: Tensor,
    threshold: float = 0.4,
) -> tuple[Tensor, Tensor]:
    """What mask re-scoring (SipMask++) should answer: the overlap of predicted and annotated mask.

    Args:
        probabilities: float [T], flat predicted masks.
        targets: float [T], flat annotated masks.
        windows: the N boxes.
        areas: float [N], basis pixels of the whole annotated masks, also outside the boxes.
        threshold: a pixel belongs to the predicted mask above it.

    Returns:
        overlaps float [N], and weights float [N]: 1 if the object has 100 pixels and the overlap is above 0.1, else 0.
    """
    predicted = (probabilities.detach() > threshold).float()
    both = windows.sums(predicted * targets)
    overlaps = both / (windows.sums(predicted) + areas - both + 0.1)
    return overlaps, ((overlaps > 0.1) & (overlaps <= 1) & (areas >= 100)).float()
