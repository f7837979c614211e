"""Where a scene's camera is, where it looks and how far it zooms; what it sees of a box."""

from __future__ import annotations

import copy
import math

import numpy as np
from numpy.typing import NDArray

from sipvideo.synth.cast import Place
from sipvideo.synth.film import Recipe

FIELD_OF_VIEW = 55.0
"""Horizontal, degrees, without zoom."""
PERIODS = (4.0, 7.0)
"""Seconds for one way to and fro of a camera that turns, travels or zooms."""
PAN = (8.0, 14.0)
"""How far a camera turns to each side, degrees."""
TRAVEL = (0.2, 0.35)
"""How far it travels to each side, as a share of its distance."""
ZOOM = (1.3, 1.7)
"""By how much it zooms, in and out together."""
ELSEWHERE = (18.0, 38.0)
"""By how many degrees another camera of the same scene sees it from another side."""
SIGHT = {"sway": 1.15, "still": 1.15, "pan": 1.6, "move": 1.6, "zoom": 1.4}
"""How far out of the view of a standing camera an object is never seen, in halves of that view."""


class Camera:
    """A camera that looks along y from above the origin; hand-held, so that it sways and turns a little.

    Args:
        rng: of its way.
        place: where it is.
        recipe: of the film.
    """

    def __init__(self, rng: np.random.Generator, place: Place, recipe: Recipe) -> None:
        self.size = recipe.size
        self.focal = recipe.size[1] / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
        self._eye = np.array((0.0, 0.0, rng.uniform(*place.eye)))
        self._middle = float(np.sqrt(place.near * place.far))
        self._target = np.array((0.0, self._middle, self._eye[2] * rng.uniform(0.25, 0.5)))
        unit = self._middle * min(recipe.speed, 2.0)
        self._sway = rng.uniform(0, 1, (2, 3)) * unit * ((0.08, 0.06, 0.015), (0.15, 0.0, 0.03))
        self._rate = rng.uniform(0.6, 2.2, (2, 3))
        self._phase = rng.uniform(0, 2 * np.pi, (2, 3))
        self._style = "sway"
        self._wave = (1.0, 0.0)
        self._reach = 0.0
        self._enlarged = 1.0

    def filming(self, style: str, rng: np.random.Generator) -> Camera:
        """The same camera as it films: one of :data:`sipvideo.synth.film.CAMERAS`."""
        camera = copy.copy(self)
        if style == "sway":
            return camera
        camera._sway = self._sway * 0.0
        camera._style = style
        camera._wave = (2 * np.pi / rng.uniform(*PERIODS), float(rng.uniform(0, 2 * np.pi)))
        ranges: dict[str, tuple[float, float]] = {
            "pan": (math.radians(PAN[0]), math.radians(PAN[1])),
            "move": TRAVEL,
            "zoom": (math.log(ZOOM[0]), math.log(ZOOM[1])),
        }
        if style in ranges:
            camera._reach = float(rng.uniform(*ranges[style]))
        return camera

    def elsewhere(self, rng: np.random.Generator) -> Camera:
        """Another camera of the same scene, to its left or right, nearer or farther."""
        camera = copy.copy(self)
        angle = math.radians(rng.uniform(*ELSEWHERE)) * float(rng.choice((-1.0, 1.0)))
        away = 0.9 * self._middle
        side, ahead = away * math.sin(angle), self._middle - away * math.cos(angle)
        camera._eye = np.array((side, ahead, self._eye[2] * rng.uniform(0.9, 1.3)))
        camera._enlarged = float(rng.uniform(0.85, 1.35))
        return camera

    def at(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where it is and the points it looks at, float64 [T, 3] both."""
        angles = self._rate[:, None] * seconds[:, None] + self._phase[:, None]
        moved = self._sway[:, None] * np.sin(angles)
        eye, target = self._eye + moved[0], self._target + moved[1]
        wave = self._swing(seconds)
        if self._style == "pan":
            turned = self._reach * wave
            x, y = (target - eye)[:, 0], (target - eye)[:, 1]
            target[:, 0] = eye[:, 0] + x * np.cos(turned) - y * np.sin(turned)
            target[:, 1] = eye[:, 1] + x * np.sin(turned) + y * np.cos(turned)
        elif self._style == "move":
            way = self._reach * self._middle * np.stack((wave, 0.3 * wave**2, 0 * wave), 1)
            eye, target = eye + way, target + 0.6 * way
        return eye, target

    def zoom(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much things look larger than without zoom, float64 [T]."""
        reach = self._reach if self._style == "zoom" else 0.0
        return self._enlarged * np.exp(0.5 * reach * self._swing(seconds))

    def _swing(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """To and fro, -1..1, float64 [T]."""
        rate, phase = self._wave
        return np.asarray(np.sin(rate * seconds + phase))

    @property
    def nearest(self) -> float:
        """Distance from which the ground is in view, metres."""
        middle = self._target[1]
        down = math.atan2(self._eye[2] - self._target[2], middle)
        half = math.atan2(self.size[0] / 2, self.focal)
        return float(self._eye[2] / math.tan(down + half))

    def boxes(
        self, points: NDArray[np.float64], seconds: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Boxes around points [T, P, 3] on the picture, float64 [T, 4]; empty where one is behind the camera."""
        eye, target = self.at(seconds)
        forward = _units(target - eye)
        right = _units(np.cross(forward, (0, 0, 1)))
        axes = np.stack((right, -np.cross(right, forward), forward), 2)
        seen = (points - eye[:, None]) @ axes
        distance = np.maximum(seen[..., 2:], 0.1)
        middle = (self.size[1] / 2, self.size[0] / 2)
        focal = self.focal * self.zoom(seconds)[:, None, None]
        pixels = middle + focal * seen[..., :2] / distance
        boxes = np.concatenate((pixels.min(1), pixels.max(1)), axis=1)
        return np.where(seen[..., 2].min(1)[:, None] > 0.1, boxes, 0.0)


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
