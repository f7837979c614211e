"""All objects of a run as columns: what doubts are found in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import FloatArray, FrameResult, IntArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sightings:
    """N sightings of identities in T frames, by identity and frame.

    Attributes:
        ids, frames, labels: int64 [N]; frames count from 0; sorted by (id, frame).
        scores: float32 [N].
        boxes: float32 [N, 4], frame pixels.
        areas: int64 [N], pixels of the masks.
        times: float64 [T], seconds of every frame.
        frame_size: (height, width).
        looks: float32 [N, E], what each looked like around then; None: not known.
    """

    ids: IntArray
    frames: IntArray
    labels: IntArray
    scores: FloatArray
    boxes: FloatArray
    areas: IntArray
    times: Floats
    frame_size: tuple[int, int]
    looks: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, results: Iterable[FrameResult]) -> Sightings:
        """Those of a run's frames; objects without identity do not count."""
        parts, looks, times, size = [], [], [], (1, 1)
        for n, result in enumerate(results):
            times.append(result.frame.timestamp)
            size = result.frame.size
            result = result.tracked()
            found = result.detections
            if not len(found):
                continue
            looks.append(found.embeddings)
            parts.append(
                (
                    result.track_ids,
                    np.full(len(found), n, np.int64),
                    found.labels,
                    found.scores,
                    found.boxes,
                    found.masks.areas(),
                )
            )
        if not parts:
            none = np.zeros(0, np.int64)
            scores, boxes = np.zeros(0, np.float32), np.zeros((0, 4), np.float32)
            return cls(none, none, none, scores, boxes, none, np.array(times), size)
        columns: list[Any] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        sizes = {part.shape[1] for part in looks}
        known = np.concatenate(looks) if len(sizes) == 1 and sizes != {0} else None
        ids, frames, labels, scores, boxes, areas = columns
        seconds = np.array(times)
        return cls(ids, frames, labels, scores, boxes, areas, seconds, size, known).arranged()

    def arranged(self) -> Sightings:
        """The same in the right order."""
        order = np.lexsort((self.frames, self.ids))
        return self if (order == np.arange(len(order))).all() else self.rows(order)

    def rows(self, index: IntArray | NDArray[np.bool_]) -> Sightings:
        """Some of the sightings."""
        names = ("ids", "frames", "labels", "scores", "boxes", "areas")
        columns = {name: getattr(self, name)[index] for name in names}
        looks = None if self.looks is None else self.looks[index]
        return replace(self, **columns, looks=looks)

    @cached_property
    def firsts(self) -> IntArray:
        """The first row of every identity, int64 [K]."""
        return np.flatnonzero(np.diff(self.ids, prepend=-1))

    @cached_property
    def lasts(self) -> IntArray:
        """The last row of every identity, int64 [K]."""
        return np.append(self.firsts[1:], len(self)) - 1 if len(self) else self.firsts

    @cached_property
    def owner(self) -> IntArray:
        """Which identity (place among K) each row is of, int64 [N]."""
        return np.repeat(np.arange(len(self.firsts)), self.lasts - self.firsts + 1)

    @cached_property
    def seconds(self) -> Floats:
        """When each was, float64 [N]."""
        return self.times[self.frames]

    @cached_property
    def sizes(self) -> Floats:
        """Side of a square as large as each box, pixels, float64 [N]."""
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1).astype(np.float64)
        return np.asarray(np.sqrt(sides.prod(1)))

    @cached_property
    def centres(self) -> Floats:
        """Middles of the boxes, pixels, float64 [N, 2]."""
        return np.asarray((self.boxes[:, :2] + self.boxes[:, 2:]) / 2, np.float64)

    @cached_property
    def period(self) -> float:
        """Seconds from frame to frame, typically."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.04

    @cached_property
    def likeness(self) -> FloatArray | None:
        """Looks as directions without what all have in common, float32 [N, E]."""
        if self.looks is None:
            return None
        looks = self.looks / np.maximum(np.linalg.norm(self.looks, axis=1, keepdims=True), 1e-6)
        looks = looks - looks.mean(0)
        return np.asarray(looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6))

    def velocity(self, rows: IntArray, seconds: float, *, backwards: bool) -> Floats:
        """How P of them move, by the time before each (or after it, ``backwards``), pixels per second, [P, 2]."""
        steps = max(1, round(seconds / self.period))
        owner = self.owner[rows]
        if backwards:
            a, b = rows, np.minimum(rows + steps, self.lasts[owner])
        else:
            a, b = np.maximum(rows - steps, self.firsts[owner]), rows
        time = self.seconds[b] - self.seconds[a]
        known = (time > 0) & (time <= 2 * seconds)
        moved = (self.centres[b] - self.centres[a]) / np.where(known, time, 1)[:, None]
        return np.where(known[:, None], moved, 0.0)
