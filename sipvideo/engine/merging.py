"""What several overlapping views of one frame show, as one: merged by masks.

Two views have seen the same object where their masks agree in what both of them could see. So an object that a border
cuts becomes one, however many views it reaches into, and one that is seen whole several times is kept once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sipvideo.engine.selection import Window
from sipvideo.masks import BoolArray
from sipvideo.structures import Detections

AGREE = 0.5
"""Intersection over union of two masks, in what both views could see, from which they show the same object."""
EVIDENCE = 0.1
"""Share of the smaller mask that this must be at least: a few pixels at a border tell nothing."""
AT_BORDER = 0.012
"""An object ends at a border if it ends within this share of the view's longer side."""
FRAGMENT = 0.6
"""Share of a piece inside an object seen whole from which it is a part of that, whatever it was taken for."""


def merged(views: Sequence[Window], found: Sequence[Detections]) -> Detections:
    """The objects of a frame, each once, by descending score.

    An object that some view shows whole is as the surest of these shows it; one that every view cuts is the union of
    its pieces.

    Args:
        views: overlapping parts of the frame, the whole frame first.
        found: what was found in each of them, in pixels of the frame.
    """
    frame = views[0]
    every = Detections.concatenated(found)
    view = np.repeat(np.arange(len(views)), [len(one) for one in found])
    if not len(every):
        return every
    borders = np.array([[_inner(edge, frame, n) for n, edge in enumerate(v)] for v in views])
    sides = np.array([max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in views])
    near = np.abs(every.boxes - borders[view]) <= AT_BORDER * sides[view][:, None]
    is_cut: BoolArray = near.any(1)
    groups = _groups(every, view, views)
    whole = [members[~is_cut[members]] for members in groups]
    chosen = [rows[every.scores[rows].argmax()] for rows in whole if len(rows)]
    kept = every[np.array(chosen, np.int64)]
    pieces = [members for members, rows in zip(groups, whole, strict=True) if not len(rows)]
    joined = [_union(every, members) for members in pieces]
    joined = [one for one in joined if not _is_fragment(one, kept)]
    result = Detections.concatenated([every[[]], kept, *joined])
    return result[np.argsort(-result.scores, kind="stable")]


def _inner(edge: int, frame: Window, n: int) -> float:
    """The place of a view's edge, infinitely far where the frame ends there too."""
    return float("inf") if edge == frame[n] else float(edge)


def _groups(
    every: Detections, view: NDArray[np.int64], views: Sequence[Window]
) -> list[NDArray[np.int64]]:
    """Rows that show the same object, at most one of each view; the pairs that agree best come together first."""
    group = list(range(len(every)))
    members = {k: [k] for k in group}
    for i, j in _agreeing(every, view, views):
        a, b = group[i], group[j]
        if a == b or set(view[members[a]].tolist()) & set(view[members[b]].tolist()):
            continue
        for k in members[b]:
            group[k] = a
        members[a] += members.pop(b)
    return [np.array(rows, np.int64) for rows in members.values()]


def _agreeing(
    every: Detections, view: NDArray[np.int64], views: Sequence[Window]
) -> list[tuple[int, int]]:
    """Pairs of one class and two views whose masks agree, best first."""
    masks, windows = every.masks, every.masks.windows
    low = np.maximum(windows[:, None, :2], windows[None, :, :2])
    high = np.minimum(windows[:, None, 2:], windows[None, :, 2:])
    near = (low < high).all(2) & (every.labels[:, None] == every.labels)
    near &= view[:, None] < view
    pairs = []
    for i, j in np.argwhere(near).tolist():
        common = masks.common(i, masks, j)
        if common < EVIDENCE * min(masks.area(i), masks.area(j)) or not common:
            continue
        mine = masks.area_inside(i, views[view[j]])
        other = masks.area_inside(j, views[view[i]])
        agreement = common / (mine + other - common)
        if agreement >= AGREE:
            pairs.append((agreement, i, j))
    return [(i, j) for _, i, j in sorted(pairs, key=lambda pair: -pair[0])]


def _union(every: Detections, members: NDArray[np.int64]) -> Detections:
    """The pieces of one object as a whole: it is as sure, and looks, like the surest of them."""
    best = every[members[[every.scores[members].argmax()]]]
    if len(members) == 1:
        return best
    boxes = every.boxes[members]
    box = np.concatenate((boxes[:, :2].min(0), boxes[:, 2:].max(0)))[None]
    return dataclasses.replace(best, boxes=box, masks=every.masks.union(members.tolist()))


def _is_fragment(piece: Detections, kept: Detections) -> bool:
    """Whether an object of which only pieces were seen is a part of one that was seen whole."""
    area = piece.masks.area(0)
    x0, y0, x1, y1 = piece.masks.windows[0].tolist()
    windows = kept.masks.windows
    near = (windows[:, 0] < x1) & (windows[:, 2] > x0) & (windows[:, 1] < y1) & (windows[:, 3] > y0)
    return any(
        kept.masks.area(k) >= area and piece.masks.common(0, kept.masks, k) >= FRAGMENT * area
        for k in np.flatnonzero(near).tolist()
    )
