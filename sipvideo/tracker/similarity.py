"""How well detections fit tracks: cues as matrices, N detections in rows and M tracks in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sipvideo import boxes
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker import motion
from sipvideo.tracker.track import Track

LABEL_PENALTY = 0.2
"""Affinity lost where the labels differ; small, as detectors do confuse classes."""
MASK_SHARE = 0.3
"""Share of the masks in the overlap of contested pairs; the boxes have the rest."""
RIVAL_AFFINITY = 0.3
"""Pairs above it that share a detection or a track are rivals; masks decide among those alone, as they cost time."""


def affinity(
    detections: Detections, tracks: Sequence[Track], now: float, common: FloatArray
) -> FloatArray:
    """How well each detection fits each track, float32 [N, M]: at most 1, ``-inf`` where out of reach.

    The overlap with the predicted box (0..1), averaged with the cosine of the embeddings (-1..1) if there are any,
    less ``LABEL_PENALTY`` where the labels differ. Boxes are widened by what the object may have strayed unseen.
    Where pairs compete, masks count too: the boxes of crossing objects overlap, their masks do not.

    Args:
        detections: N objects, embeddings at unit length.
        tracks: at least one.
        now: time of the detections on the tracker's clock, seconds.
        common: float32 [E] or a scalar, what the embeddings of all objects have in common; it tells nothing about
            identity and is taken off first. Networks differ much in how large it is.
    """
    known = [(now - t.last_seen, t.size, *t.velocity) for t in tracks]
    unseen, sizes, *velocities = np.array(known, np.float32).T
    last = np.array([track.box for track in tracks])
    predicted = motion.predict(last, np.stack(velocities, 1), unseen)

    overlap = widened_iou(detections.boxes, predicted, motion.margins(sizes, unseen))
    looks = np.array([track.embedding for track in tracks])
    likeness = unit(detections.embeddings - common) @ unit(looks - common).T
    labels_differ = detections.labels[:, None] != np.array([track.label for track in tracks])
    share = np.float32(0.5 if detections.embeddings.shape[1] else 1)
    fits: FloatArray = share * overlap + (1 - share) * likeness
    fits -= LABEL_PENALTY * labels_differ
    fits[overlap <= 0] = -np.inf

    rows, columns = contested(fits > RIVAL_AFFINITY)
    if len(rows):
        masks = mask_iou(rows, columns, detections, tracks, (predicted - last)[:, :2])
        fits[rows, columns] += share * MASK_SHARE * (masks - overlap[rows, columns])
    return fits


def widened_iou(a: FloatArray, b: FloatArray, margins: FloatArray) -> FloatArray:
    """Overlap of boxes [N, 4] and [M, 4] if both grow by ``margins`` [M] pixels to every side, float32 [N, M]."""
    growth = 2 * margins
    width, height = np.maximum(boxes.common_sides(a, b) + growth, 0)
    width_a, height_a = (a[:, 2:] - a[:, :2]).T[:, :, None] + growth
    width_b, height_b = (b[:, 2:] - b[:, :2]).T + growth
    intersection = width * height
    overlap: FloatArray = intersection / (width_a * height_a + width_b * height_b - intersection)
    return overlap


def repeated(detections: Detections, least: float, part: float) -> BoolArray:
    """Which of the detections, best first, report an object that a better one reports already: bool [N].

    Args:
        detections: N objects.
        least: mask overlap above which two reports are of one object, whatever their labels.
        part: share of a mask above which it is only a part of the better mask around it, with the same label.
    """
    result = np.zeros(len(detections), bool)
    near = boxes.covered(detections.boxes, detections.boxes) > min(least, part) / 2
    first, second = near.nonzero()
    first, second = first[first < second], second[first < second]
    if not len(first):
        return result
    areas, labels = detections.masks.areas(), detections.labels
    same_label = labels[first] == labels[second]

    def reported(common: IntArray) -> BoolArray:
        same_pixels = common > least * (areas[first] + areas[second] - common)
        return same_pixels | (same_label & (common > part * areas[second]))

    possible = reported(np.minimum(areas[first], areas[second]))
    first, second, same_label = first[possible], second[possible], same_label[possible]
    reports = reported(detections.masks.common(first, detections.masks, second)).nonzero()[0]
    for i, j in zip(first[reports].tolist(), second[reports].tolist(), strict=True):
        # One that is a repetition itself says nothing about others.
        result[j] |= not result[i]
    return result


def unit(embeddings: FloatArray) -> FloatArray:
    """Embeddings [N, E] at length 1; zero or broken ones become zero, which is neither like nor unlike anything."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        length = np.sqrt(np.add.reduce(embeddings * embeddings, 1, keepdims=True))
        directions = embeddings / length
    return np.where((length > 0) & (length < np.inf), directions, np.float32(0))


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
    seen, row = np.unique(rows, return_inverse=True)
    known, column = np.unique(columns, return_inverse=True)
    last = [tracks[j] for j in known.tolist()]
    windows = np.array([track.window for track in last])
    bits = tuple([track.bits for track in last])
    before = CompactMasks(windows, bits, detections.masks.frame_size)
    now = detections.masks[seen]
    common = now.common(row, before.moved(np.rint(shifts[known]).astype(np.int32)), column)
    union = now.areas()[row] + before.areas()[column] - common
    return (common / np.maximum(union, 1)).astype(np.float32)


def check_embedding_size(detections: Detections, expected: int) -> None:
    """Raises ValueError unless the detections' embeddings have the expected size."""
    if detections.embeddings.shape[1] != expected:
        raise ValueError(
            f"Detections.embeddings: expected [*, {expected}] as earlier in the video, "
            f"got {list(detections.embeddings.shape)}"
        )
