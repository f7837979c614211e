"""How well detections fit tracks: cues as matrices, N detections in rows and M tracks in columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sipvideo import boxes
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, FloatArray
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
    unseen = np.array([now - track.last_seen for track in tracks], np.float32)
    sizes = np.array([track.size for track in tracks], np.float32)
    velocities = np.array([track.velocity for track in tracks], np.float32)
    last = np.stack([track.box for track in tracks])
    predicted = motion.predict(last, velocities, unseen)

    overlap = widened_iou(detections.boxes, predicted, motion.margins(sizes, unseen))
    looks = np.stack([track.embedding for track in tracks])
    likeness = unit(detections.embeddings - common) @ unit(looks - common).T
    labels_differ = detections.labels[:, None] != np.array([track.label for track in tracks])
    share = np.float32(0.5 if detections.embeddings.shape[1] else 1)
    fits: FloatArray = share * overlap + (1 - share) * likeness
    fits -= LABEL_PENALTY * labels_differ
    fits[overlap <= 0] = -np.inf

    pairs = contested(fits > RIVAL_AFFINITY)
    masks = mask_iou(pairs, detections, tracks, (predicted - last)[:, :2])
    fits += np.where(pairs, share * MASK_SHARE * (masks - overlap), 0)
    return fits


def widened_iou(a: FloatArray, b: FloatArray, margins: FloatArray) -> FloatArray:
    """Overlap of boxes [N, 4] and [M, 4] if both grow by ``margins`` [M] pixels to every side, float32 [N, M]."""
    growth = 2 * margins
    common, sides_a, sides_b = [], [], []
    for lo, hi in ((0, 2), (1, 3)):  # x, then y: much quicker than both in one array
        nearest = np.minimum(a[:, None, hi], b[:, hi]) - np.maximum(a[:, None, lo], b[:, lo])
        common.append(np.maximum(nearest + growth, 0))
        sides_a.append((a[:, hi] - a[:, lo])[:, None] + growth)
        sides_b.append(b[:, hi] - b[:, lo] + growth)
    intersection = common[0] * common[1]
    overlap: FloatArray = intersection / (
        sides_a[0] * sides_a[1] + sides_b[0] * sides_b[1] - intersection
    )
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
    first, second = np.nonzero(np.triu(near, k=1))
    areas, labels = detections.masks.areas(), detections.labels
    common = detections.masks.common(first, detections.masks, second)
    same_pixels = common > least * (areas[first] + areas[second] - common)
    inside = (labels[first] == labels[second]) & (common > part * areas[second])
    reports = np.flatnonzero(same_pixels | inside)
    for i, j in zip(first[reports].tolist(), second[reports].tolist(), strict=True):
        # One that is a repetition itself says nothing about others.
        result[j] |= not result[i]
    return result


def unit(embeddings: FloatArray) -> FloatArray:
    """Embeddings [N, E] at length 1; zero or broken ones become zero, which is neither like nor unlike anything."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    sound = np.isfinite(directions).all(axis=1, keepdims=True)
    return np.where(sound, directions, np.float32(0))


def contested(candidates: BoolArray) -> BoolArray:
    """Which candidate pairs [N, M] have a rival: another candidate for the same detection or the same track."""
    rivals = (candidates.sum(axis=1, keepdims=True) > 1) | (candidates.sum(axis=0) > 1)
    pairs: BoolArray = candidates & rivals
    return pairs


def mask_iou(
    pairs: BoolArray, detections: Detections, tracks: Sequence[Track], shifts: FloatArray
) -> FloatArray:
    """Mask overlap of the given pairs (bool [N, M]), other elements arbitrary: float32 [N, M].

    The tracks' last masks are first moved by ``shifts`` [M, 2], in pixels.
    """
    overlap = np.zeros(pairs.shape, np.float32)
    rows, columns = np.flatnonzero(pairs.any(axis=1)), np.flatnonzero(pairs.any(axis=0))
    if len(rows):
        last = [tracks[j] for j in columns.tolist()]
        windows = np.stack([track.window for track in last])
        bits = tuple(track.bits for track in last)
        masks = CompactMasks(windows, bits, detections.masks.frame_size)
        steps = np.rint(shifts[columns]).astype(np.int32)
        overlap[np.ix_(rows, columns)] = detections.masks[rows].iou(masks.moved(steps))
    return overlap


def check_embedding_size(detections: Detections, expected: int) -> None:
    """Raises ValueError unless the detections' embeddings have the expected size."""
    if detections.embeddings.shape[1] != expected:
        raise ValueError(
            f"Detections.embeddings: expected [*, {expected}] as earlier in the video, "
            f"got {list(detections.embeddings.shape)}"
        )
