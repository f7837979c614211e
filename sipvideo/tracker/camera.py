"""How the camera moved from one frame to the next, from the background of the small grey pictures.

Corners outside of all masks, spread over the picture, are followed by sparse optical flow; the similarity (shift,
rotation, zoom) that most of them agree on is the camera's. Points and motions of the plane are complex numbers, x + iy:
a similarity is then one factor and one shift.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.cuts import scene_changed
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, FloatArray, IntArray

Points = NDArray[np.complex64]
"""complex64 [P], x + iy in pixels of the grey picture."""

POINTS = 50
"""Cells that the picture is divided into, each with one corner to follow."""
CORNER = 5e-4
"""Least strength of a corner, as OpenCV's smaller eigenvalue of 8-bit pictures scaled to 0..1."""
FLOW = {"winSize": (9, 9), "maxLevel": 3, "criteria": (3, 8, 0.05)}
"""Of the optical flow: finds motions of up to about a tenth of the picture, in eight steps on each of four sizes."""
FEWEST = 10
"""Points below which nothing is believed."""
AGREED = 1.0
"""Pixels of the grey picture within which a point agrees with a motion."""
DEPTH = 0.3
"""By what share of the usual motion that grows: near things move more than far ones."""
MAJORITY = 0.5
"""Least share of the points that must agree with a motion."""
STILL = 0.25
"""Pixels of the grey picture below which a point did not move: the noise of the flow."""
STANDING = 0.3
"""Share of points that did not move from which on the camera stands, whatever the others did: a large object that
nobody detected may be most of the picture, but under a moving camera hardly anything stays in place."""
TRIALS = 40
"""Pairs of points that propose a motion."""
SKEW = 0.15
"""Largest deviation from a similarity that is believed."""
ZOOM = 1.3
"""Largest change of size between two frames that is believed."""
LOST = 0.5
"""Seconds for which a camera is believed to go on as it did when its motion was last known."""


@dataclass(frozen=True)
class CameraMotion:
    """An affine map of frame pixels: a point z = x + iy of the frame before lies at
    ``factor * z + skew * conj(z) + shift`` now.

    The skew is small: it is what the ground, which comes nearer towards the picture's bottom, does under a camera that
    moves sideways. The identity, as for a standing camera, is exactly ``CameraMotion()``.
    """

    factor: complex = 1
    skew: complex = 0
    shift: complex = 0

    def __call__(self, points: Points) -> Points:
        """Where points [M] of the frame before are now."""
        moved = self.factor * points + self.skew * points.conj() + self.shift
        return moved.astype(np.complex64)

    def scaled(self, share: float) -> CameraMotion:
        """About so much of the same motion."""
        factor = 1 + share * (self.factor - 1)
        return CameraMotion(factor, share * self.skew, share * self.shift)

    @property
    def still(self) -> bool:
        """Nothing moved."""
        return self == STANDS

    @property
    def zoom(self) -> float:
        """Factor of lengths, on average."""
        return math.sqrt(max(abs(self.factor) ** 2 - abs(self.skew) ** 2, 0.0))


STANDS = CameraMotion()


class Camera:
    """Follows the background from frame to frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets the last frame."""
        self.grey: NDArray[np.uint8] | None = None
        self.points: Points = np.zeros(0, np.complex64)
        self.rate, self.known, self.last = STANDS, -math.inf, 0.0

    def follow(self, detections: Detections, now: float) -> CameraMotion | None:
        """The motion since the last frame, None at a cut.

        Where the background does not tell it, it is what the camera did last: objects that move along with the picture
        would jump otherwise. After ``LOST`` seconds, or without a picture, it is the identity.

        Args:
            detections: of the next frame; without a grey picture nothing is known of this and the next motion.
            now: time of that frame, seconds.
        """
        grey, before, points = detections.grey, self.grey, self.points
        seconds, self.last = now - self.last, now
        if grey is None:
            self.reset()
            return STANDS
        frame_size = detections.masks.frame_size
        scale = np.array(frame_size[::-1]) / grey.shape[::-1]
        self.grey, self.points = grey, corners(grey, detections.masks, scale)
        if before is None or before.shape != grey.shape:
            return STANDS
        motion = _followed(before, grey, points)
        if motion is None:
            if scene_changed(before, grey, seconds):
                self.rate = STANDS
                return None
            return self.rate.scaled(seconds) if now - self.known < LOST else STANDS
        pixels = float(np.sqrt(scale.prod()))
        motion = CameraMotion(motion.factor, motion.skew, motion.shift * pixels)
        self.rate, self.known = motion.scaled(1 / seconds) if seconds > 0 else STANDS, now
        return motion


def corners(grey: NDArray[np.uint8], masks: CompactMasks, scale: NDArray[np.float64]) -> Points:
    """The strongest corner of each cell of the picture that no mask covers.

    Args:
        grey: uint8 [h, w].
        masks: on the frame.
        scale: float64 [2], pixels of the frame per pixel of ``grey``, x and y.
    """
    height, width = (side // 2 for side in grey.shape)
    side = max(4, int(math.sqrt(height * width / POINTS)))
    rows, columns = height // side, width // side
    if not rows * columns:
        return np.zeros(0, np.complex64)
    half = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    strength = cv2.cornerMinEigenVal(half, 3)[: rows * side, : columns * side]
    cells = strength.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side * side)
    best = cells.argmax(1)
    cell = np.arange(len(best))
    x = 2 * (cell % columns * side + best % side) + 0.5
    y = 2 * (cell // columns * side + best // side) + 0.5
    places = np.rint(np.stack((x, y), 1) * scale).astype(np.int64)
    kept = (cells[cell, best] > CORNER) & ~masks.cover(places)
    chosen: Points = (x + 1j * y)[kept].astype(np.complex64)
    return chosen


def _followed(
    before: NDArray[np.uint8], after: NDArray[np.uint8], points: Points
) -> CameraMotion | None:
    """The motion between two grey pictures, in their pixels; None where it is unknown."""
    if len(points) < FEWEST:
        return None
    pairs = points.view(np.float32).reshape(-1, 1, 2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(before, after, pairs, None, **FLOW)  # type: ignore[call-overload]
    kept = found[:, 0] > 0
    return agreement(points[kept], there[kept].reshape(-1, 2).view(np.complex64)[:, 0])


def agreement(before: Points, after: Points) -> CameraMotion | None:
    """What most points did; None where there is no majority.

    Args:
        before, after: complex64 [P], the same points in two pictures.
    """
    count = len(before)
    steps = np.abs(after - before)
    if count < FEWEST:
        return None
    if (steps < STILL).mean() >= STANDING:
        return STANDS
    agreed = AGREED + DEPTH * float(np.median(steps))
    agree = _consensus(before, after, agreed)
    motion = STANDS
    for _ in range(2):
        if agree.sum() < max(FEWEST, MAJORITY * count):
            return None
        motion = _least_squares(before[agree], after[agree])
        agree = np.abs(motion(before) - after) < agreed
    moved = np.abs(motion(before) - before)[agree]
    if not 1 / ZOOM < motion.zoom < ZOOM or abs(motion.skew) > SKEW:
        return None
    return STANDS if moved.mean() < STILL else motion


def _consensus(before: Points, after: Points, agreed: float) -> BoolArray:
    """The points that agree with the similarity that most agree with, among those that pairs of points propose."""
    i, j = _trials(len(before))
    factors = (after[j] - after[i]) / (before[j] - before[i])
    misses = factors[:, None] * (before - before[i][:, None]) + after[i][:, None] - after
    near = misses.real**2 + misses.imag**2 < agreed**2
    agree: BoolArray = near[near.sum(1).argmax()]
    return agree


@functools.lru_cache(maxsize=2 * POINTS)
def _trials(count: int) -> tuple[IntArray, IntArray]:
    """Pairs of different points among ``count``; always the same, so that a film gives the same motions every time."""
    rng = np.random.default_rng(count)
    i = rng.integers(0, count, TRIALS)
    return i, (i + rng.integers(1, count, TRIALS)) % count


def _least_squares(before: Points, after: Points) -> CameraMotion:
    terms = np.empty((3, len(before)), np.complex128)
    terms[0], terms[1], terms[2] = before, before.conj(), 1
    try:
        factor, skew, shift = np.linalg.solve(terms.conj() @ terms.T, terms.conj() @ after).tolist()
    except np.linalg.LinAlgError:  # all points on one line
        return CameraMotion(shift=complex((after - before).mean()))
    return CameraMotion(factor, skew, shift)


def moved_boxes(boxes: FloatArray, motion: CameraMotion) -> FloatArray:
    """Boxes [M, 4] after a motion: their centres move, their sides change by the zoom."""
    centres = (boxes[:, 0] + boxes[:, 2]) / 2 + 1j * (boxes[:, 1] + boxes[:, 3]) / 2
    centres = motion(centres)
    half = (boxes[:, 2:] - boxes[:, :2]) * (motion.zoom / 2)
    middle = np.stack((centres.real, centres.imag), 1)
    result: FloatArray = np.concatenate((middle - half, middle + half), 1).astype(np.float32)
    return result
