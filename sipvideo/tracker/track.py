"""One object over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import Detections, FloatArray
from sipvideo.tracker import motion

SIZE_MEMORY = 3.0
"""Seconds over which the usual size of an object settles."""


@dataclass(eq=False)
class Track:
    """What is known of one object. Times are seconds on the tracker's clock, geometry is in frame pixels.

    Attributes:
        track_id: identity, never given to another object of the same video.
        box: float32 [4], where it was last detected.
        window, bits: its mask as last detected, as in :class:`CompactMasks`: int32 [4], uint8 [h, bytes].
        velocity: (x, y) of the box's centre, pixels per second.
        size: usual side length (geometric mean of width and height); outlasts partial occlusion.
        embedding: float32 [E], running mean of the unit embeddings.
        label: the label with most votes.
        first_seen, last_seen: times of the first and the last detection.
        hits: number of detections.
        votes: sum of detection scores per label.
    """

    track_id: int
    box: FloatArray
    window: NDArray[np.int32]
    bits: NDArray[np.uint8]
    size: float
    embedding: FloatArray
    label: int
    first_seen: float
    last_seen: float
    velocity: motion.Vector = (0.0, 0.0)
    hits: int = 1
    votes: dict[int, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, track_id: int, detections: Detections, i: int, now: float) -> Track:
        """A new object, from detection ``i``."""
        box = detections.boxes[i]
        return cls(
            track_id=track_id,
            box=box,
            window=detections.masks.windows[i],
            bits=detections.masks.bits[i],
            size=_size(box),
            embedding=detections.embeddings[i].copy(),  # not the whole frame's
            label=int(detections.labels[i]),
            first_seen=now,
            last_seen=now,
            votes={int(detections.labels[i]): float(detections.scores[i])},
        )

    def observe(self, detections: Detections, i: int, now: float, momentum: float) -> None:
        """Learns from detection ``i`` of the frame at ``now``; ``momentum`` is the old embedding's share."""
        seconds, label = now - self.last_seen, int(detections.labels[i])
        box = detections.boxes[i]
        x0, y0, x1, y1 = (box - self.box).tolist()
        step = (x0 + x1) / 2, (y0 + y1) / 2
        self.velocity = motion.averaged(self.velocity, step, seconds, now - self.first_seen)
        self.size += (_size(box) - self.size) * -math.expm1(-seconds / SIZE_MEMORY)
        self.embedding = momentum * self.embedding + (1 - momentum) * detections.embeddings[i]
        self.votes[label] = self.votes.get(label, 0.0) + float(detections.scores[i])
        if label != self.label:
            self.label = max(self.votes, key=self.votes.__getitem__)
        self.box = box
        self.window, self.bits = detections.masks.windows[i], detections.masks.bits[i]
        self.last_seen = now
        self.hits += 1


def _size(box: FloatArray) -> float:
    x0, y0, x1, y1 = box.tolist()
    return math.sqrt((x1 - x0) * (y1 - y0))
