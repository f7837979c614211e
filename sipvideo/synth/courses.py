"""Ways of objects over a plane, smooth in time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ABSENCES = (3.0, 20.0)
"""Shortest and longest absence of an object that comes back, seconds."""
VISITS = (2.0, 4.0)
"""How long it stays in view before it makes for the edge, seconds."""
LONGEST_CROSSING = 4.0
"""Seconds in which it crosses half of the view at most: what is far away and slow hurries."""


@dataclass(frozen=True)
class Course:
    """The way of an object over a plane, smooth in time.

    Attributes:
        style: ``stay``; ``roam``: a loop around home; ``cross``: to and fro past both edges of the view;
            ``return``: out over the nearest edge and back.
        home: (x, y); x = 0 is the middle of the view.
        reach: half the width of the view at home.
        speed: units per second.
        phase: 0..1, where on its way the object starts.
        slant: angle of a crossing to the x axis, radians.
        margin: how far beyond an edge the object must go to be out of sight.
    """

    style: str
    home: tuple[float, float]
    reach: float
    speed: float
    phase: float
    slant: float
    margin: float

    def __call__(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions x, y at each second, float64 [T, 2]."""
        x, y = np.full(len(seconds), self.home[0]), np.full(len(seconds), self.home[1])
        if self.style == "roam":
            radius = 0.1 * self.reach + 0.3 * self.reach * abs(np.cos(7 * self.phase))
            angle = 2 * np.pi * self.phase + self._sense * self.speed / radius * seconds
            x, y = x + radius * np.cos(angle), y + 0.5 * radius * np.sin(angle)
        elif self.style == "cross":
            half = self.reach + self.margin
            way = (self.speed * seconds / (2 * half) + self.phase) % 2
            along = self._sense * half * (2 * np.abs(way - 1) - 1)
            x, y = x + along * np.cos(self.slant), y + along * np.sin(self.slant)
        elif self.style == "return":
            side = 1 if self.home[0] >= 0 else -1
            swing = 0.15 * self.reach + self.margin
            angle = 2 * np.pi * self.phase + self.speed / swing * seconds
            x = side * (self.reach + swing * np.sin(angle))
            y = y + 0.3 * swing * np.cos(angle)
        return np.stack((x, y), 1)

    @property
    def _sense(self) -> int:
        return 1 if self.slant >= 0 else -1

    def heading(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Direction of motion, float64 [T], degrees counter-clockwise from y; 0 for what stays."""
        step = self(seconds + 1e-3) - self(seconds)
        return np.degrees(np.arctan2(-step[:, 0], step[:, 1]))

    def present(self, seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether it is there at each second, bool [T]: always."""
        return np.ones(len(seconds), bool)


@dataclass(frozen=True)
class Journey:
    """The way of an object that leaves the view and comes back, again and again, over the same edge or the other.

    Attributes:
        times: float64 [K], increasing seconds.
        points: float64 [K, 2], where it is then; in between it goes straight on.
        shown: bool [K - 1], whether it is there between two times; else it is away.
    """

    times: NDArray[np.float64]
    points: NDArray[np.float64]
    shown: NDArray[np.bool_]
    style: str = "journey"

    @classmethod
    def planned(
        cls, rng: np.random.Generator, course: Course, wide: float, seconds: float
    ) -> Journey:
        """A way with visits of ``VISITS`` and absences of ``ABSENCES`` seconds, half of the film at most.

        Args:
            rng: of the way.
            course: where it is at home, how wide the view is there, how fast it goes.
            wide: how far an object must go to be out of the camera's sight, in halves of the view.
            seconds: length of the film.
        """
        y, edge = course.home[1], wide * course.reach + course.margin
        side = math.copysign(1.0, course.home[0])
        times, points, shown = [0.0], [course.home], []
        pace = max(course.speed, course.reach / LONGEST_CROSSING)

        def walk(x: float, y: float) -> None:
            times.append(times[-1] + max(math.dist(points[-1], (x, y)) / pace, 1e-3))
            points.append((x, y))
            shown.append(True)

        longest = max(ABSENCES[0], min(ABSENCES[1], seconds / 2))
        while times[-1] < seconds:
            # The first visits differ most, or else all would leave together.
            share = 1.0 if len(times) > 1 else rng.uniform(0.2, 3.0)
            until = times[-1] + share * rng.uniform(*VISITS)
            # On its own side of the view, so that no visit is one long way across it.
            while times[-1] < until:
                walk(side * rng.uniform(0.1, 0.75) * course.reach, y * rng.uniform(0.9, 1.1))
            walk(side * edge, y)
            times.append(times[-1] + rng.uniform(ABSENCES[0], longest))
            side *= float(rng.choice((-1.0, 1.0)))
            points.append((side * edge, y))
            shown.append(False)
        return cls(np.array(times), np.array(points), np.array(shown))

    def __call__(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions x, y at each second, float64 [T, 2]."""
        return np.stack([np.interp(seconds, self.times, axis) for axis in self.points.T], 1)

    def present(self, seconds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether it is there at each second, bool [T]."""
        leg = np.searchsorted(self.times, seconds, side="right") - 1
        return self.shown[np.clip(leg, 0, len(self.shown) - 1)]

    def heading(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Direction of motion, float64 [T], degrees counter-clockwise from y."""
        step = self(seconds + 1e-3) - self(seconds)
        return np.degrees(np.arctan2(-step[:, 0], step[:, 1]))
