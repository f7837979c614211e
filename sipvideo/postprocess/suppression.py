"""Non-maximum suppression per class, by the two published rules, on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sipvideo.masks import BoolArray
from sipvideo.structures import FloatArray, IntArray

MOST_PER_CLASS = 200
"""The fast rule looks at so many of the best pairs of each class."""
BLOCK = 64
"""About so many pairs are compared with each other at once: whole classes together, so that few steps are needed."""

Pairs = tuple[IntArray, IntArray]
Rule = Callable[[FloatArray, IntArray, float], BoolArray]


def survivors(
    boxes: FloatArray,
    scores: FloatArray,
    valid: BoolArray,
    rule: Rule,
    limits: tuple[float, int],
) -> Pairs:
    """The best (box, class) pairs that no better one suppresses, best first.

    Args:
        boxes: [N, 4].
        scores: [N, C].
        valid: [N, C], the pairs that take part. Others could only suppress worse ones, which take no part either.
        rule: :func:`fast` or :func:`classwise`.
        limits: overlap above which a pair goes, and how many are wanted at most.

    Returns:
        index and label, int64 [n].
    """
    index, label = np.nonzero(valid)
    order = np.lexsort((index, label, -scores[index, label]))
    index, label = index[order], label[order]
    iou, most = limits
    # What stays is decided by better pairs alone, so the worse ones are looked at only if too few are left.
    count = 4 * most
    while True:
        kept = np.flatnonzero(rule(boxes[index[:count]], label[:count], iou))
        if len(kept) >= most or count >= len(index):
            return index[kept[:most]], label[kept[:most]]
        count *= 4


def fast(boxes: FloatArray, label: IntArray, iou: float) -> BoolArray:
    """YOLACT's rule: a pair goes if any better one of its class overlaps it, kept or not.

    Args:
        boxes: [n, 4] of the pairs, best first.
        label: [n].
        iou: overlap above which a pair goes.

    Returns:
        which pairs stay, bool [n].
    """
    stays = np.zeros(len(label), bool)
    for members, classes in _blocks(label):
        first = np.searchsorted(classes, classes)  # where the class begins
        best = np.arange(len(classes)) - first < MOST_PER_CLASS
        members, classes = members[best], classes[best]
        # NaN (two boxes without area) counts as an overlap, as in the published comparison.
        clash = ~(_overlaps(boxes[members]) <= iou) & _better(classes)
        stays[members] = ~clash.any(0)
    return stays


def classwise(boxes: FloatArray, label: IntArray, iou: float) -> BoolArray:
    """The ordinary rule: a pair goes if a better one of its class that stays overlaps it. As :func:`fast` otherwise."""
    stays = np.zeros(len(label), bool)
    for members, classes in _blocks(label):
        clash = (_overlaps(boxes[members]) > iou) & _better(classes)
        # From the best downwards each round settles at least one more pair, mostly all of them in two or three.
        kept = ~clash.any(0)
        while True:
            settled = ~clash[kept].any(0)
            if (settled == kept).all():
                break
            kept = settled
        stays[members] = kept
    return stays


def _blocks(label: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Whole classes in pieces of about ``BLOCK`` pairs: indices and ascending labels, each class in its order."""
    order = np.argsort(label, kind="stable")
    classes = label[order]
    starts = np.flatnonzero(np.diff(classes, prepend=-1))
    begin = 0
    for stop in [*starts[1:].tolist(), len(classes)]:
        if stop - begin >= BLOCK or begin < stop == len(classes):
            yield order[begin:stop], classes[begin:stop]
            begin = stop


def _better(label: IntArray) -> BoolArray:
    """Whether the pair of the row is of the class of the column's and ranks before it."""
    rank = np.arange(len(label))
    better: BoolArray = (label[:, None] == label) & (rank[:, None] < rank)
    return better


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
