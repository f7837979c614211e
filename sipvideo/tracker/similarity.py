"""How well detections fit tracks: cues as matrices, N detections in rows and M tracks in columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sipvideo import boxes
from sipvideo.config import TrackerConfig
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker import motion
from sipvideo.tracker.track import Track, centres

UNLIKE = 0.5
"""Logarithm of the ratio of two lengths from which they have nothing in common."""

Pairs = tuple[IntArray, IntArray, FloatArray]
"""Rows, columns and overlaps [P] of the pairs whose masks were compared."""


@dataclass(frozen=True, eq=False)
class Cues:
    """How well N detections fit M tracks, and what that was made of.

    Attributes:
        affinity: float32 [N, M], at most 1, ``-inf`` where out of reach.
        overlap: float32 [N, M], of the box with the predicted one, both widened by the track's margin.
        certainty: float32 [N, M], what that overlap counts, 0..1: less the longer the track was unseen, see
            :func:`sipvideo.tracker.motion.certainty`, and the less the sides of the box are the usual ones.
        likeness: float32 [N, M], cosine of the embeddings; 0 where there are none.
        labels_differ: bool [N, M].
        unseen: float32 [M], seconds.
        margins: float32 [M], pixels.
        masks: of contested pairs; None: there were none.
    """

    affinity: FloatArray
    overlap: FloatArray
    certainty: FloatArray
    likeness: FloatArray
    labels_differ: BoolArray
    unseen: FloatArray
    margins: FloatArray
    masks: Pairs | None


def compare(
    detections: Detections,
    tracks: Sequence[Track],
    now: float,
    common: FloatArray,
    config: TrackerConfig,
) -> Cues:
    """How well each detection fits each track.

    The overlap with the predicted box (0..1), averaged with the cosine of the embeddings (-1..1) if there are any,
    less ``label_penalty`` where the labels differ. Boxes are widened by what the object may have strayed unseen, and
    their overlap counts less the wider they are, and less if neither side of the box is the track's usual one.
    Where pairs compete, masks count too: the boxes of crossing objects overlap, their masks do not.

    Args:
        detections: N objects, embeddings at unit length.
        tracks: at least one.
        now: time of the detections on the tracker's clock, seconds.
        common: float32 [E] or a scalar, what the embeddings of all objects have in common; it tells nothing about
            identity and is taken off first. Networks differ much in how large it is.
        config: the weights of the cues.
    """
    known = [(now - t.last_seen, t.size, *t.velocity, *t.sides) for t in tracks]
    states = np.array(known, np.float32)
    unseen, sides = states[:, 0], states[:, 4:]
    last = np.array([track.box for track in tracks])
    predicted = motion.predict(last, states[:, 2:4], unseen, config.velocity_fade)

    margins = motion.margins(states[:, 1], unseen, config)
    certainty = shape_likeness(detections.boxes, sides, config.side_weight)
    certainty *= motion.certainty(unseen, config)
    overlap = widened_iou(detections.boxes, predicted, margins)
    looks = np.concatenate((detections.embeddings, [track.embedding for track in tracks]))
    looks = unit(looks - common)
    likeness = looks[: len(detections)] @ looks[len(detections) :].T
    labels_differ = detections.labels[:, None] != np.array([track.label for track in tracks])
    share = np.float32(1 - config.embedding_weight if detections.embeddings.shape[1] else 1)
    fits: FloatArray = share * certainty * overlap
    fits += (1 - share) * likeness
    if labels_differ.any():
        fits -= np.float32(config.label_penalty) * labels_differ
    np.copyto(fits, -np.inf, where=overlap <= 0)

    masks = None
    rows, columns = contested(fits > config.rival_affinity)
    if len(rows):
        shifts = centres(predicted) - np.array([track.place for track in tracks])
        shared = mask_iou(rows, columns, detections, tracks, shifts)
        masks = rows, columns, shared
        weight = share * np.float32(config.mask_weight) * certainty[rows, columns]
        fits[rows, columns] += weight * (shared - overlap[rows, columns])
    return Cues(fits, overlap, certainty, likeness, labels_differ, unseen, margins, masks)


def shape_likeness(boxes: FloatArray, sides: FloatArray, weight: float) -> FloatArray:
    """1 where boxes [N, 4] have a side of the usual length of ``sides`` [M, 2], down to ``1 - weight``: float32 [N, M].

    What goes behind another object, or past the border, mostly keeps one of its sides.
    """
    scale = np.float32(weight / UNLIKE)
    wide, high = np.log(boxes[:, 2:] - boxes[:, :2]).T * scale
    widths, heights = np.log(sides).T * scale
    nearest = np.abs(wide[:, None] - widths)
    np.minimum(nearest, np.abs(high[:, None] - heights), out=nearest)
    np.minimum(nearest, np.float32(weight), out=nearest)
    likeness: FloatArray = np.subtract(1, nearest, out=nearest)
    return likeness


def widened_iou(a: FloatArray, b: FloatArray, margins: FloatArray) -> FloatArray:
    """Overlap of boxes [N, 4] and [M, 4] if both grow by ``margins`` [M] pixels to every side, float32 [N, M]."""
    growth = 2 * margins
    common = boxes.common_sides(a, b)
    common += growth
    width, height = np.maximum(common, 0, out=common)
    width_a, height_a = (a[:, 2:] - a[:, :2]).T[:, :, None] + growth
    width_b, height_b = (b[:, 2:] - b[:, :2]).T + growth
    overlap: FloatArray = width * height
    union = width_a * height_a
    union += width_b * height_b
    union -= overlap
    overlap /= union
    return overlap


def repeated(detections: Detections, rows: IntArray, least: float, part: float) -> BoolArray:
    """Which of the detections ``rows``, best first, report an object that a better one reports already: bool [R].

    Args:
        detections: of a frame.
        rows: int64 [R].
        least: mask overlap above which two reports are of one object, whatever their labels.
        part: share of a mask above which it is only a part of the better mask around it, with the same label.
    """
    where, masks = detections.boxes[rows], detections.masks
    near = boxes.covered(where, where) > min(least, part) / 2
    order, labels, result = rows.tolist(), detections.labels[rows].tolist(), [False] * len(rows)
    for i, j in zip(*(index.tolist() for index in near.nonzero()), strict=True):
        # One that is a repetition itself says nothing about others.
        if i >= j or result[i] or result[j]:
            continue
        areas = masks.area(order[i]), masks.area(order[j])
        shares = least, part if labels[i] == labels[j] else math.inf
        # No two masks share more than the smaller one has.
        result[j] = _one_object(min(areas), areas, shares) and _one_object(
            masks.common(order[i], masks, order[j]), areas, shares
        )
    return np.array(result, bool)


def _one_object(common: int, areas: tuple[int, int], shares: tuple[float, float]) -> bool:
    """Whether masks with so many pixels in common overlap enough, or the second lies in the first."""
    better, worse = areas
    return common > shares[0] * (better + worse - common) or common > shares[1] * worse


def unit(embeddings: FloatArray) -> FloatArray:
    """Embeddings [N, E] at length 1; zero or broken ones become zero, which is neither like nor unlike anything."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length: FloatArray = np.sqrt(np.add.reduce(embeddings * embeddings, 1, keepdims=True))
        directions = embeddings / length
    sound = ((length > 0) & (length < np.inf))[:, 0]
    if not sound.all():
        directions[~sound] = 0
    return directions


def contested(candidates: BoolArray) -> tuple[IntArray, IntArray]:
    """Rows and columns [P] of the candidate pairs [N, M] that have a rival: another candidate for the same detection
    or the same track."""
    rows, columns = candidates.nonzero()
    rivals = (np.bincount(rows)[rows] > 1) | (np.bincount(columns)[columns] > 1)
    return rows[rivals], columns[rivals]


def mask_iou(
    rows: IntArray,
    columns: IntArray,
    detections: Detections,
    tracks: Sequence[Track],
    shifts: FloatArray,
) -> FloatArray:
    """Mask overlap of detection ``rows[p]`` and track ``columns[p]``, float32 [P].

    The tracks' last masks are first moved by ``shifts`` [M, 2], in pixels.
    """
    known = sorted(set(columns.tolist()))
    place, last = {j: k for k, j in enumerate(known)}, [tracks[j] for j in known]
    windows = np.array([track.window for track in last])
    bits = tuple([track.bits for track in last])
    before = CompactMasks(windows, bits, detections.masks.frame_size)
    before = before.moved(np.rint(shifts[known]).astype(np.int32))
    overlap = []
    for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
        common = detections.masks.common(i, before, place[j])
        union = detections.masks.area(i) + before.area(place[j]) - common
        overlap.append(common / max(union, 1))
    return np.array(overlap, np.float32)


def check_embedding_size(detections: Detections, expected: int) -> None:
    """Raises ValueError unless the detections' embeddings have the expected size."""
    if detections.embeddings.shape[1] != expected:
        raise ValueError(
            f"Detections.embeddings: expected [*, {expected}] as earlier in the video, "
            f"got {list(detections.embeddings.shape)}"
        )
