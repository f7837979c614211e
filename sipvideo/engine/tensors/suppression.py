"""Non-maximum suppression per class, by the two published rules, for a fixed number of pairs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sipvideo.postprocess.suppression import MOST_PER_CLASS

ROUNDS = 8
"""Of the ordinary rule: chains of pairs that suppress each other in turn are hardly ever so long."""

Rule = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def fast(boxes: Tensor, labels: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """YOLACT's rule: a pair goes if any better one of its class overlaps it, kept or not.

    Args:
        boxes: float32 [B, M, 4] of the pairs, best first.
        labels: int64 [B, M].
        iou: overlap above which a pair goes.

    Returns:
        Which pairs stay, bool [B, M], and whether that is settled, bool [B].
    """
    better = _better(labels)
    best = better.sum(1) < MOST_PER_CLASS
    # NaN (two boxes without area) counts as an overlap, as in the published comparison.
    clash = ~(_overlaps(boxes) <= iou) & better & best[:, :, None]
    return best & ~clash.any(1), torch.ones_like(best[:, 0])


def classwise(boxes: Tensor, labels: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """The ordinary rule: a pair goes if a better one of its class that stays overlaps it. As :func:`fast` otherwise."""
    clash = (_overlaps(boxes) > iou) & _better(labels)
    settled = kept = ~clash.any(1)
    for _ in range(ROUNDS):
        kept = settled
        settled = ~(clash & kept[:, :, None]).any(1)
    return settled, (settled == kept).all(1)


def first(kept: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The first ``most`` pairs that stay.

    Args:
        kept: bool [B, M].
        most: how many are wanted.

    Returns:
        Their numbers int64 [B, most], 0 <= number < M also where there are fewer; and how many there are, int64 [B].
    """
    counted = kept.cumsum(1)
    wanted = torch.arange(1, most + 1, device=kept.device).expand(len(kept), -1)
    number = torch.searchsorted(counted, wanted.contiguous())
    return number.clamp(max=kept.shape[1] - 1), counted[:, -1].clamp(max=most)


def _better(labels: Tensor) -> Tensor:
    """Whether the pair of the row is of the class of the column's and ranks before it: bool [B, M, M]."""
    return (labels[:, :, None] == labels[:, None]).triu(1)


def _overlaps(boxes: Tensor) -> Tensor:
    """Intersection over union of each two of the boxes [B, M, 4], NaN where both have no area: [B, M, M]."""
    x0, y0, x1, y1 = boxes.unbind(2)
    areas = (x1 - x0) * (y1 - y0)
    width = torch.minimum(x1[:, :, None], x1[:, None]) - torch.maximum(x0[:, :, None], x0[:, None])
    height = torch.minimum(y1[:, :, None], y1[:, None]) - torch.maximum(y0[:, :, None], y0[:, None])
    common = width.clamp(min=0) * height.clamp(min=0)
    return common / (areas[:, :, None] + areas[:, None] - common)
