"""Where an unseen object is by now: its last velocity, fading, in seconds and frame pixels.

Every rate is per second, so that the same motion gives the same prediction at any frame rate. Sizes are not
extrapolated: a box that shrinks is mostly an object that goes behind another.
"""

from __future__ import annotations

import math

import numpy as np

from sipvideo.structures import FloatArray

Vector = tuple[float, float]

VELOCITY_MEMORY = 0.3
"""Seconds over which velocity is averaged; evens out the jitter of boxes."""
FADE = 0.5
"""Seconds in which an unseen object loses all but 1/e of its velocity."""
MARGIN = 0.1
"""Distance from the prediction that is plausible at once, in sizes of the object."""
MARGIN_PER_SECOND = 1.5
"""How fast that distance grows while the object is unseen, in sizes per second."""


def predict(boxes: FloatArray, velocities: FloatArray, unseen: FloatArray) -> FloatArray:
    """Boxes [M, 4] after ``unseen`` [M] seconds; velocities [M, 2] of their centres in pixels per second."""
    travelled = FADE * -np.expm1(-unseen / FADE)
    shifts = velocities * travelled[:, None]
    predicted: FloatArray = boxes + np.concatenate((shifts, shifts), 1)
    return predicted


def margins(sizes: FloatArray, unseen: FloatArray) -> FloatArray:
    """How far from their predictions objects may be, pixels [M], by size in pixels and seconds unseen."""
    return sizes * (MARGIN + MARGIN_PER_SECOND * unseen)


def averaged(velocity: Vector, step: Vector, seconds: float, age: float) -> Vector:
    """Running mean of the velocity, once an object of ``age`` seconds made a ``step`` of so many pixels and seconds.

    Over the whole life of a young object, later over ``VELOCITY_MEMORY``.
    """
    if seconds <= 0:  # two pictures of one moment say nothing about motion
        return velocity
    weight = max(-math.expm1(-seconds / VELOCITY_MEMORY), seconds / age)
    vx, vy = velocity
    return vx + weight * (step[0] / seconds - vx), vy + weight * (step[1] / seconds - vy)
