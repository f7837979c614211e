"""Non-maximum suppression per class, by the two published rules, on arrays."""

from __future__ import annotations

import numpy as np

from sipvideo.masks import BoolArray
from sipvideo.structures import FloatArray, IntArray

MOST_PER_CLASS = 200
"""The fast rule looks at so many of the best candidates of each class."""
BLOCK = 512
"""Candidates that are compared with each other at once, to bound the memory."""

Pairs = tuple[IntArray, IntArray]


def fast(boxes: FloatArray, scores: FloatArray, valid: BoolArray, iou: float) -> Pairs:
    """YOLACT's rule: a pair goes if any better one of its class overlaps it, kept or not.

    Pairs that are not valid could only suppress worse pairs, which are not valid either, so they are left out.

    Args:
        boxes: [N, 4].
        scores: [N, C].
        valid: [N, C].
        iou: overlap above which a pair goes.

    Returns:
        index and label of the pairs that stay, int64 [n].
    """
    index, label = _ranked(scores, valid)
    first = np.searchsorted(label, label)  # where the class begins
    best = np.arange(len(label)) - first < MOST_PER_CLASS
    index, label = index[best], label[best]
    keep = np.ones(len(index), bool)
    for block in _blocks(label):
        overlap = _overlaps(boxes[index[block]])
        # NaN (two boxes without area) counts as an overlap, as in the published comparison.
        keep[block] = ~(~(overlap <= iou) & _better(label[block])).any(0)
    return index[keep], label[keep]


def classwise(boxes: FloatArray, scores: FloatArray, valid: BoolArray, iou: float) -> Pairs:
    """The ordinary rule: a pair goes if a better one of its class that stays overlaps it. Arguments as :func:`fast`."""
    index, label = _ranked(scores, valid)
    keep = np.ones(len(index), bool)
    for block in _blocks(label):
        clash = (_overlaps(boxes[index[block]]) > iou) & _better(label[block])
        # From the best downwards each round settles at least one more pair, mostly all of them in two or three.
        stays = ~clash.any(0)
        while True:
            settled = ~clash[stays].any(0)
            if (settled == stays).all():
                break
            stays = settled
        keep[block] = stays
    return index[keep], label[keep]


def _ranked(scores: FloatArray, valid: BoolArray) -> Pairs:
    """Index and label of the valid pairs, class by class, best first."""
    label, index = np.nonzero(valid.T)
    order = np.lexsort((index, -scores[index, label], label))
    return index[order], label[order]


def _blocks(label: IntArray) -> list[slice]:
    """Ascending labels cut into pieces of whole classes, of about ``BLOCK`` each."""
    starts = np.flatnonzero(np.diff(label, prepend=-1))
    pieces, begin = [], 0
    for stop in [*starts[1:].tolist(), len(label)]:
        if stop - begin >= BLOCK:
            pieces.append(slice(begin, stop))
            begin = stop
    return [*pieces, slice(begin, len(label))] if begin < len(label) else pieces


def _better(label: IntArray) -> BoolArray:
    """Whether the pair of the row is of the class of the column's and ranks before it."""
    same: BoolArray = label[:, None] == label
    return np.triu(same, 1)


def _overlaps(boxes: FloatArray) -> FloatArray:
    """Intersection over union of each two of the boxes, NaN where both have no area."""
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    width = np.minimum(x1[:, None], x1) - np.maximum(x0[:, None], x0)
    height = np.minimum(y1[:, None], y1) - np.maximum(y0[:, None], y0)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: FloatArray = common / (areas[:, None] + areas - common)
    return result
