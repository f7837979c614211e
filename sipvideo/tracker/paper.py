"""The published association rule of SipMask's video model, with the arithmetic of the original.

Kept to compare with published results; its quirks are documented, not repaired. For everything else there is
:class:`sipvideo.tracker.Tracker`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.config import TrackerConfig
from sipvideo.errors import SipVideoError
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker.similarity import check_embedding_size
from sipvideo.tracker.state import State

FLOOR = -100.0
"""A comparison score at or below it never claims an object."""


@dataclass(frozen=True, eq=False)
class Memory:
    """The M objects of a video, by identity: as last seen, but with the label of their first appearance.

    Attributes:
        boxes: float32 [M, 4], frame pixels.
        scores: float32 [M].
        labels: int64 [M].
        embeddings: float32 [M, E].
    """

    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    embeddings: FloatArray

    @classmethod
    def empty(cls, embedding_size: int) -> Memory:
        """No objects."""
        floats = np.zeros((0, 5 + embedding_size), np.float32)
        return cls(floats[:, :4], floats[:, 4], np.zeros(0, np.int64), floats[:, 5:])

    def __len__(self) -> int:
        return len(self.boxes)

    def after(self, detections: Detections, ids: IntArray) -> Memory:
        """The memory once objects ``ids`` [N] were seen as detected; ids from M on are new, -1 is passed over."""
        size = len(self)
        kept = np.flatnonzero(ids >= 0)
        new = kept[ids[kept] >= size]
        rows = np.concatenate((np.arange(size), size + new))
        rows[ids[kept]] = size + kept
        return Memory(
            boxes=np.concatenate((self.boxes, detections.boxes))[rows],
            scores=np.concatenate((self.scores, detections.scores))[rows],
            labels=np.concatenate((self.labels, detections.labels[new])),
            embeddings=np.concatenate((self.embeddings, detections.embeddings))[rows],
        )


class PaperTracker:
    """Each detection claims the best fitting object of the memory or starts a new one; greedy, by descending score.

    The memory never ages: it grows until the next video, and ``max_tracks`` does not apply to it.

    Attributes:
        memory: the objects of the video so far; identity = row.
        last_scores: float32 [N, 1 + M], how well each detection of the last frame fitted a new object (column 0)
            and object j (column 1 + j) before the frame.
        last_claims: int64 [N], the object that each detection of the last frame claimed, -1 for losers. Two
            detections may claim one object; ``update`` gives it to the later one alone, as in the published output.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.memory = Memory.empty(0)
        self.reset()

    def reset(self) -> None:
        """Ends the video.

        With ``memory_survives_empty_first_frame`` the memory goes only when the next frame shows an object, so that
        a video that starts empty is matched against the objects of the one before.
        """
        self._first_frame = True
        if not self.config.memory_survives_empty_first_frame:
            self.memory = Memory.empty(0)
        self.last_scores: FloatArray = np.zeros((0, 1), np.float32)
        self.last_claims: IntArray = np.zeros(0, np.int64)

    def state(self) -> State:
        """All that is known of the video so far, as arrays: see :meth:`restore`."""
        known = {f.name: getattr(self.memory, f.name) for f in fields(self.memory)}
        return {"first": np.array(self._first_frame), **known}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Goes on with a video where another tracker with the same settings was, to the same identities.

        Raises:
            SipVideoError: this is no state.
        """
        self.reset()
        try:
            self.memory = Memory(**{f.name: state[f.name] for f in fields(Memory)})
            self._first_frame = bool(state["first"])
        except KeyError as error:
            raise SipVideoError(f"state of a tracker: there is no {error}") from error

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        """Identities int64 [N] of one frame's detections, which count in their order; -1 for the losers of a conflict.

        Args:
            detections: N objects with embeddings [N, E]; E must not change during a video.
            timestamp: not used, the published rule knows no time.
        """
        starts_afresh = self._first_frame or not len(self.memory)
        self._first_frame = False
        if starts_afresh and len(detections):
            self.memory = Memory.empty(detections.embeddings.shape[1])
        self.last_scores = self.compare(detections)
        self.last_claims = claim(self.last_scores)
        ids = one_each(self.last_claims)
        if len(detections):
            self.memory = self.memory.after(detections, ids)
        return ids

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        """Classes int64 [N]: as published, each frame reports what was detected in it."""
        return detections.labels

    def returned(self, track_ids: IntArray) -> None:
        """Nothing: the published rule forgets nobody, so nobody comes back."""

    def compare(self, detections: Detections) -> FloatArray:
        """How well N detections fit "new object" and the M objects of the memory, float32 [N, 1 + M].

        Log-probability of the embedding's dot products (0 for a new object), plus the weighted logarithm of the
        score, box overlap (closed pixel boxes) and label agreement. A new object gets the whole label weight.
        """
        memory, n = self.memory, len(detections)
        if n == 0:
            return np.zeros((0, 1 + len(memory)), np.float32)
        check_embedding_size(detections, memory.embeddings.shape[1])
        products = detections.embeddings @ memory.embeddings.T
        overlap = boxes.iou(detections.boxes, memory.boxes, pixel=1)
        same = (detections.labels[:, None] == memory.labels).astype(np.float32)
        with np.errstate(divide="ignore"):  # a score of 0 is a bad match, not an error
            log_scores = np.log(detections.scores)[:, None]
        new_object = np.zeros((n, 1), np.float32)
        config = self.config
        by_score, by_overlap, by_label = np.array(
            (config.score_weight, config.iou_weight, config.label_weight), np.float32
        )
        scores: FloatArray = (
            log_softmax(np.concatenate((new_object, products), axis=1))
            + by_score * log_scores
            + by_overlap * np.concatenate((new_object, overlap), axis=1)
            + by_label * np.concatenate((np.ones_like(new_object), same), axis=1)
        )
        return scores


def claim(scores: FloatArray) -> IntArray:
    """Which object each detection takes: int64 [N] from comparison scores [N, 1 + M]; new objects are M, M + 1, ...

    A detection whose favourite was already claimed with a better score gets -1, not its second choice.
    """
    n, m = scores.shape[0], scores.shape[1] - 1
    claims = np.full(n, -1, np.int64)
    best, size = np.full(m, FLOOR), m
    for i, column in enumerate(scores.argmax(axis=1).tolist() if n else []):
        if column == 0:
            claims[i], size = size, size + 1
        elif scores[i, column] > best[column - 1]:
            claims[i], best[column - 1] = column - 1, scores[i, column]
    return claims


def one_each(claims: IntArray) -> IntArray:
    """Claims [N] with only the last claim of each object left, the others -1."""
    ids = np.full_like(claims, -1)
    last = {claim: i for i, claim in enumerate(claims.tolist())}
    for object_id, i in last.items():
        ids[i] = object_id
    return ids


def log_softmax(logits: FloatArray) -> FloatArray:
    """Logarithm of the softmax over the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: FloatArray = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
