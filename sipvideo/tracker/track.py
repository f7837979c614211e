"""One object over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.tracker import motion
from sipvideo.tracker.camera import CameraMotion, moved_boxes

NOBODY = -1
"""Identity of a track for which it is not decided yet whether it is somebody who came back."""


class View(NamedTuple):
    """What an object looked like for a while: mean embedding [E], quality (higher is better), second of its end."""

    embedding: FloatArray
    quality: float
    second: float


@dataclass(eq=False)
class Track:
    """What is known of one object. Times are seconds on the tracker's clock, geometry is in frame pixels.

    Attributes:
        track_id: identity, never given to another object of the same video; ``NOBODY``: not decided yet.
        box: float32 [4], where it was last detected, moved along with the camera since.
        window, bits: its mask as last detected, as in :class:`CompactMasks`: int32 [4], uint8 [h, bytes].
        place: float32 [2], where the box's centre was then: the mask did not move along.
        velocity: (x, y) of the box's centre, pixels per second.
        size: usual side length (geometric mean of width and height); outlasts partial occlusion.
        sides: usual width and height.
        embedding: float32 [E], running mean of the unit embeddings.
        label: the label with most votes.
        first_seen, last_seen: times of the first and the last detection since it came, or came back.
        hits: number of detections.
        votes: sum of detection scores per label.
        views: what it looked like at several times, oldest first.
        returned: when it came back; NaN: it was never away.
        away: for how long it was away then, seconds.
    """

    track_id: int
    box: FloatArray
    window: NDArray[np.int32]
    bits: NDArray[np.uint8]
    place: FloatArray
    size: float
    sides: motion.Vector
    embedding: FloatArray
    label: int
    first_seen: float
    last_seen: float
    velocity: motion.Vector = (0.0, 0.0)
    hits: int = 1
    votes: dict[int, float] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    returned: float = math.nan
    away: float = 0.0

    @classmethod
    def begin(cls, detections: Detections, i: int, now: float) -> Track:
        """A new object, from detection ``i``, without an identity yet."""
        box = detections.boxes[i]
        width, height = (box[2:] - box[:2]).tolist()
        return cls(
            track_id=NOBODY,
            box=box,
            window=detections.masks.windows[i],
            bits=detections.masks.bits[i],
            place=centres(box[None])[0],
            size=math.sqrt(width * height),
            sides=(width, height),
            embedding=detections.embeddings[i].copy(),  # not the whole frame's
            label=int(detections.labels[i]),
            first_seen=now,
            last_seen=now,
            votes={int(detections.labels[i]): float(detections.scores[i])},
        )

    def become(self, absent: Track, now: float) -> None:
        """It is an identity that was out of sight: takes over what is known of it."""
        self.track_id, self.views = absent.track_id, absent.views
        self.returned, self.away = now, now - absent.last_seen
        self.hits += absent.hits
        for label, score in absent.votes.items():
            self.votes[label] = self.votes.get(label, 0.0) + score
        self.label = max(self.votes, key=self.votes.__getitem__)


def observe(
    tracks: Sequence[Track],
    detections: Detections,
    rows: IntArray,
    now: float,
    config: TrackerConfig,
) -> None:
    """Each track learns from the detection of its row, in the frame at ``now``.

    Args:
        tracks: K objects.
        detections: of the frame.
        rows: int64 [K], the detection of each track.
        now: seconds on the tracker's clock.
        config: how fast tracks learn.
    """
    boxes, windows = detections.boxes[rows], detections.masks.windows[rows]
    places = centres(boxes)
    last = np.array([track.box for track in tracks])
    looks = np.array([track.embedding for track in tracks])
    # The plain mean at first, so that the first look, often at a border, counts no more than the next ones.
    hits = np.array([[track.hits] for track in tracks], np.float32)
    momentum = np.minimum(np.float32(config.embedding_momentum), hits / (hits + 1))
    looks = momentum * looks + (1 - momentum) * detections.embeddings[rows]
    seen = zip(
        tracks,
        rows.tolist(),
        (boxes[:, 2:] - boxes[:, :2]).tolist(),
        (boxes - last).tolist(),
        detections.labels[rows].tolist(),
        detections.scores[rows].tolist(),
        strict=True,
    )
    for k, (track, row, (width, height), (x0, y0, x1, y1), label, score) in enumerate(seen):
        seconds, step = now - track.last_seen, ((x0 + x1) / 2, (y0 + y1) / 2)
        track.velocity = motion.averaged(
            track.velocity, step, seconds, now - track.first_seen, config.velocity_memory
        )
        settled, usual = -math.expm1(-seconds / config.size_memory), track.sides
        track.size += settled * (math.sqrt(width * height) - track.size)
        track.sides = (
            usual[0] + settled * (width - usual[0]),
            usual[1] + settled * (height - usual[1]),
        )
        track.votes[label] = track.votes.get(label, 0.0) + score
        if label != track.label:
            track.label = max(track.votes, key=track.votes.__getitem__)
        track.box, track.embedding = boxes[k], looks[k]
        track.window, track.bits = windows[k], detections.masks.bits[row]
        track.place, track.last_seen = places[k], now
        track.hits += 1


def move(tracks: Sequence[Track], motion: CameraMotion) -> None:
    """Carries what is known of places, sizes and velocities over to the next frame of a moving camera."""
    if motion.still or not tracks:
        return
    boxes = moved_boxes(np.array([track.box for track in tracks]), motion)
    for box, track in zip(boxes, tracks, strict=True):
        velocity = complex(*track.velocity) * motion.factor
        track.box, track.velocity = box, (velocity.real, velocity.imag)
        track.size *= motion.zoom
        track.sides = (track.sides[0] * motion.zoom, track.sides[1] * motion.zoom)


def centres(boxes: FloatArray) -> FloatArray:
    """Centres x, y [M, 2] of boxes [M, 4]."""
    middle: FloatArray = (boxes[:, :2] + boxes[:, 2:]) * np.float32(0.5)
    return middle
