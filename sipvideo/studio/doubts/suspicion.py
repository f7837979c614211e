"""One thing that looks odd, and how its worth is reckoned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sipvideo.studio.doubts.sightings import Floats

KINDS = ("swap", "jump", "return", "change", "twin", "class", "growth", "gap", "short")
"""Two changed places; one is suddenly elsewhere; back after an absence, as another; goes on under another number; two
on one object; called something else for a while; the mask grows; missed; hardly seen at all."""


@dataclass(frozen=True)
class Suspicion:
    """What a doubt is made of, see :class:`sipvideo.studio.doubts.Doubt`."""

    kind: str
    ids: tuple[int, ...]
    first: int
    last: int
    worth: float
    why: str
    remedy: dict[str, Any] | None


def logistic(x: Floats | float) -> Floats:
    """The worth, 0..1, of a weighted sum of what was measured.

    The weights of all kinds were chosen on rendered scenes with planted errors, other than those of which figures are
    reported.
    """
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -30, 30))))
