"""Pairs of sightings of which the later may show the same object as the earlier, measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import IntArray
from sipvideo.studio.doubts.sightings import Floats, Sightings

REACH, REACH_PER_SECOND = 0.15, 1.0
"""Distance from the predicted place that is nothing special, in sizes of the object, at once and per second."""
MOTION = 0.4
"""Seconds over which velocities are measured, and for which objects are taken to go on with them."""


@dataclass(frozen=True, eq=False)
class Links:
    """P pairs of sightings of which the later may show the same object as the earlier.

    Attributes:
        before, after: rows, int64 [P].
        seconds: between them, float64 [P].
        distance: of the places, relative to what is usual after such a time, float64 [P]; measured at the sides of the
            boxes that moved least, so that an object which goes behind something does not jump.
        size: logarithm of the ratio of the boxes' sizes, positive, float64 [P].
        label: they have different classes, bool [P].
        unlike: 1 - cosine of the looks, float64 [P], 0.5 where looks are not known.
    """

    before: IntArray
    after: IntArray
    seconds: Floats
    distance: Floats
    size: Floats
    label: NDArray[np.bool_]
    unlike: Floats

    @classmethod
    def of(cls, seen: Sightings, before: IntArray, after: IntArray) -> Links:
        """Pairs of rows measured."""
        seconds = np.maximum(seen.seconds[after] - seen.seconds[before], 1e-3)
        size = np.maximum(seen.sizes[before], seen.sizes[after])
        travelled = np.minimum(seconds, MOTION)[:, None]
        forth = seen.velocity(before, MOTION, backwards=False) * travelled
        back = seen.velocity(after, MOTION, backwards=True) * travelled
        steps = (seen.boxes[after] - seen.boxes[before]).astype(np.float64)
        errors = [least_step(steps - np.tile(v, 2)) for v in (forth, back, np.zeros_like(forth))]
        usual = size * (REACH + REACH_PER_SECOND * seconds)
        sizes = np.abs(np.log(seen.sizes[after] / seen.sizes[before]))
        unlike = np.full(len(before), 0.5)
        if seen.likeness is not None:
            unlike = 1 - (seen.likeness[before] * seen.likeness[after]).sum(1).astype(np.float64)
        distance = np.min(errors, axis=0) / usual
        label = seen.labels[before] != seen.labels[after]
        return cls(before, after, seconds, distance, sizes, label, unlike)

    @classmethod
    def within(cls, seen: Sightings) -> Links:
        """Every sighting of an identity with its next one."""
        before = np.flatnonzero(seen.ids[1:] == seen.ids[:-1])
        return cls.of(seen, before, before + 1)

    @property
    def misfit(self) -> Floats:
        """How badly each pair goes together, float64 [P]; about 0 for one object, above 2 for two."""
        return self.misfit_with(self.unlike)

    def misfit_with(self, unlike: Floats) -> Floats:
        """The same with other looks [P]."""
        place = np.minimum(self.distance, 4) + 1.2 * np.minimum(self.size, 2)
        return np.asarray(place + 2.0 * self.label + 3.0 * (unlike - 0.5))

    def unlike_in_words(self, k: int) -> str:
        """What does not fit in pair k."""
        about = []
        if self.distance[k] > 1:
            about.append(f"{self.distance[k]:.1f} times as far away as usual")
        if self.size[k] > 0.3:
            about.append(f"{np.exp(self.size[k]):.1f} times as large or small")
        if self.label[k]:
            about.append("as another class")
        if self.unlike[k] > 0.6:
            about.append("looking different")
        return ", " + ", ".join(about) if about else ""

    def __getitem__(self, k: NDArray[np.bool_] | IntArray) -> Links:
        return Links(*(column[k] for column in vars(self).values()))


def least_step(steps: Floats) -> Floats:
    """How far boxes moved, [P], by the side of each axis that moved less: steps [P, 4] of the four sides."""
    sides = np.abs(steps)
    return np.asarray(
        np.hypot(np.minimum(sides[:, 0], sides[:, 2]), np.minimum(sides[:, 1], sides[:, 3]))
    )
