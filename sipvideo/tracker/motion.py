"""Where an unseen object is by now: its last velocity, fading, in seconds and frame pixels.

Every rate is per second, so that the same motion gives the same prediction at any frame rate. Sizes are not
extrapolated: a box that shrinks is mostly an object that goes behind another.
"""

from __future__ import annotations

import math

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.structures import FloatArray

Vector = tuple[float, float]


def predict(
    boxes: FloatArray, velocities: FloatArray, unseen: FloatArray, fade: float
) -> FloatArray:
    """Boxes [M, 4] after ``unseen`` [M] seconds; velocities [M, 2] of their centres in pixels per second.

    Velocities lose all but 1/e in ``fade`` seconds.
    """
    travelled = np.float32(fade) * -np.expm1(-unseen / np.float32(fade))
    shifts = velocities * travelled[:, None]
    predicted: FloatArray = boxes + np.concatenate((shifts, shifts), 1)
    return predicted


def margins(sizes: FloatArray, unseen: FloatArray, config: TrackerConfig) -> FloatArray:
    """How far from their predictions objects may be, pixels [M], by size in pixels and seconds unseen."""
    return sizes * (np.float32(config.margin) + np.float32(config.margin_growth) * unseen)


def certainty(unseen: FloatArray, config: TrackerConfig) -> FloatArray:
    """What it says to find something within the margin, as a share of what it says at once, float32 [M].

    The wider the search, the more it finds by chance: of two objects that fit, the one seen just now fits better.
    """
    at_once = np.float32(1 + 2 * config.margin)
    widened = at_once + np.float32(2 * config.margin_growth) * unseen
    result: FloatArray = (at_once / widened) ** np.float32(config.margin_doubt)
    return result


def averaged(velocity: Vector, step: Vector, seconds: float, age: float, memory: float) -> Vector:
    """Running mean of the velocity, once an object of ``age`` seconds made a ``step`` of so many pixels and seconds.

    Over the whole life of a young object, later over ``memory`` seconds.
    """
    if seconds <= 0:  # two pictures of one moment say nothing about motion
        return velocity
    weight = max(-math.expm1(-seconds / memory), seconds / age)
    vx, vy = velocity
    return vx + weight * (step[0] / seconds - vx), vy + weight * (step[1] / seconds - vy)
