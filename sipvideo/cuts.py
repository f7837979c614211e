"""Whether two pictures show different scenes."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

BRIGHTNESS = 15.0
"""Mean change of grey (of 255) between two coarse pictures below which they show one scene."""
LIKENESS = 0.6
"""Correlation of two small pictures from which on they show one scene, brighter or moved."""
SOON, LATE = 0.1, 0.4
"""Seconds between two pictures for which that holds; until ``LATE``, ever more may have changed within one scene:
``BRIGHTNESS`` grows with the root of the time, and ``LIKENESS`` falls with it."""
REACH = 0.2
"""Share of the picture's sides by which it may have moved."""


def scene_changed(before: Grey, after: Grey, seconds: float = SOON) -> bool:
    """Whether almost everything has another brightness, and no shift and no other exposure explains it.

    Args:
        before, after: grey pictures of one size, uint8 [h, w].
        seconds: from one to the other.
    """
    late = math.sqrt(min(max(seconds, SOON), LATE) / SOON)
    coarse = [cv2.resize(one, (16, 9), interpolation=cv2.INTER_AREA) for one in (before, after)]
    if cv2.absdiff(coarse[0], coarse[1]).mean() <= BRIGHTNESS * late:
        return False
    return likeness(before, after) < LIKENESS / late


def likeness(before: Grey, after: Grey) -> float:
    """Correlation of the brightness, -1..1: of whole pictures, or of one's middle where it fits the other best."""
    small = [cv2.resize(one, (32, 18), interpolation=cv2.INTER_AREA) for one in (before, after)]
    across, down = round(32 * REACH / 2), round(18 * REACH / 2)
    middle = np.ascontiguousarray(small[1][down:-down, across:-across])
    pairs = (small[1], middle)
    return max(
        float(cv2.matchTemplate(small[0], part, cv2.TM_CCOEFF_NORMED).max()) for part in pairs
    )
