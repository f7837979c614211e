"""A 3D scene as it is planned: the place, who is there, where they go, the light."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.synth.camera import FIELD_OF_VIEW, SIGHT, Camera
from sipvideo.synth.cast import MODELS, PACE, PLACES, RESTING
from sipvideo.synth.courses import Course, Journey
from sipvideo.synth.film import FPS, Recipe, unfitness
from sipvideo.synth.models import INSTALL, ModelLibrary

TRIES = 60
"""Ways that are tried for every object; among those on which nobody walks through anybody the best is taken."""
TALL = (50.0, 230.0)
"""Wanted heights of objects on a picture of 360 rows, pixels."""


@dataclass(frozen=True)
class Actor:
    """An object of the scene: its model, (width, depth, height) in metres, and its way."""

    class_name: str
    model: str
    size: tuple[float, float, float]
    course: Course | Journey
    facing: float
    spin: float

    def headings(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Degrees, float64 [T]."""
        if self.course.style != "stay" and self.class_name in PACE:
            return self.course.heading(seconds)
        return self.facing + self.spin * seconds

    def discs(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """The ground that the object takes, as discs along it: centres [T, n, 2] and their radius."""
        across, along = sorted(self.size[:2])
        turn = 0.0 if self.size[1] >= self.size[0] else 90.0
        angle = np.radians(self.headings(seconds) + turn)
        count = math.ceil(along / across)
        offsets = np.linspace(-1, 1, count) * (along - across) / 2 if count > 1 else np.zeros(1)
        ahead = np.stack((-np.sin(angle), np.cos(angle)), 1)
        centres = self.course(seconds)[:, None] + offsets[:, None] * ahead[:, None]
        return centres, 0.55 * across

    def corners(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Corners of the box around it, float64 [T, 8, 3]."""
        width, depth, height = self.size
        corners = np.array(
            [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]
        ) * (width, depth, height)
        angle = np.radians(self.headings(seconds))[:, None]
        x = corners[:, 0] * np.cos(angle) - corners[:, 1] * np.sin(angle)
        y = corners[:, 0] * np.sin(angle) + corners[:, 1] * np.cos(angle)
        ground = self.course(seconds)
        up = np.broadcast_to(corners[:, 2], x.shape)
        return np.stack((x + ground[:, :1], y + ground[:, 1:], up), 2)


def _models(class_name: str, library: ModelLibrary) -> list[str]:
    """The models of a class that the library has."""
    return [model for model in MODELS[class_name].split() if model in library]


class Scene:
    """A street, a room or a table top with its actors.

    The plan is made on a clock of its own and for a hand-held camera, so that it does not depend on the frame rate
    and the camera of the film.

    Args:
        recipe: of the film.
        seed: of everything.
        library: the models.

    Attributes:
        seed: the same.
        seconds: float64 [T], the times for which it was planned.
        place_name, place: where it is, see :mod:`sipvideo.synth.cast`.
        camera: the hand-held camera.
        actors: the objects.
        lights: float64 [8], what the light is drawn from.

    Raises:
        DatasetError: the library has none of the models of :mod:`sipvideo.synth.cast`.
    """

    def __init__(self, recipe: Recipe, seed: tuple[int, ...], library: ModelLibrary) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self._recipe = recipe
        self._library = library
        frames = max(1, round(recipe.frames * FPS / recipe.fps))
        self.seconds = replace(recipe, frames=frames, fps=FPS, cuts=0).seconds(rng)
        met = {
            name: [c for c in sorted(place.classes) if _models(c, library)]
            for name, place in PLACES.items()
        }
        places = [name for name, classes in met.items() if classes]
        if not places:
            raise DatasetError("none of the models is of a known class. " + INSTALL)
        self.place_name = str(rng.choice(places))
        self.place = PLACES[self.place_name]
        self._classes = met[self.place_name]
        self.camera = Camera(rng, self.place, recipe)
        self.actors: list[Actor] = []
        self._discs: list[tuple[NDArray[np.float64], float]] = []
        self._boxes: list[NDArray[np.float64]] = []
        # Draws of their own, so that nobody else changes where these are asked for.
        extra = np.random.default_rng((*seed, 2))
        for _ in range(recipe.objects):
            self._invent(rng, extra)
        self.lights = rng.uniform(0, 1, 8)

    def _invent(self, rng: np.random.Generator, extra: np.random.Generator) -> None:
        """Adds an actor where there is room for one."""
        recipe = self._recipe
        class_name = str(rng.choice(self._classes))
        models = _models(class_name, self._library)
        model = models[int(rng.integers(len(models)))]
        alike, leaves = extra.uniform(size=2) < (recipe.lookalikes, recipe.returns)
        if alike and self.actors:
            other = self.actors[int(extra.integers(len(self.actors)))]
            class_name, model = other.class_name, other.model
        best: tuple[Actor, NDArray[np.float64]] | None = None
        unfit = np.inf
        for _ in range(TRIES):
            actor = self._candidate(rng, class_name, model, leaves=bool(leaves))
            if not self._has_room(actor):
                continue
            boxes = self.camera.boxes(actor.corners(self.seconds), self.seconds)
            here = actor.course.present(self.seconds)
            placed = [other[here] for other in self._boxes]
            value = unfitness(boxes[here], placed, recipe) + self._misfit(boxes[here])
            if value < unfit:
                best, unfit = (actor, boxes), value
        if best is not None:
            self.actors.append(best[0])
            self._discs.append(best[0].discs(self.seconds))
            self._boxes.append(best[1])

    def _candidate(
        self, rng: np.random.Generator, class_name: str, model: str, *, leaves: bool
    ) -> Actor:
        place, recipe = self.place, self._recipe
        width, depth, height = size = self._library.size(model)
        tall = math.exp(rng.uniform(*np.log(TALL))) * recipe.size[0] / 360 * recipe.scale
        away = self.camera.focal * max(height, 0.3 * max(width, depth)) / tall
        near = max(place.near, 1.1 * self.camera.nearest) + max(width, depth) / 2
        away = min(max(away, near), place.far - depth / 2)
        reach = away * math.tan(math.radians(FIELD_OF_VIEW / 2))
        walks = class_name in PACE and model not in RESTING
        pushed = model not in RESTING and rng.uniform() < place.pushed
        styles, odds = ("roam", "cross", "return"), (0.35, 0.4, 0.25)
        moving = str(rng.choice(styles, p=odds))
        pace = PACE[class_name] if walks else place.push
        course = Course(
            style=moving if walks or pushed else "stay",
            home=(float(rng.uniform(-0.75, 0.75) * reach), away),
            reach=reach,
            speed=float(pace * recipe.speed * rng.uniform(0.6, 1.4)),
            phase=float(rng.uniform(0, 2)),
            slant=float(rng.uniform(-0.9, 0.9)),
            margin=0.6 * max(width, depth),
        )
        spin = float(rng.normal(0, 25 * recipe.speed)) if pushed else 0.0
        # What stands mostly shows its front: 180 looks at the camera.
        actor = Actor(class_name, model, size, course, float(rng.normal(180, 55)), spin)
        if not leaves or model in RESTING:
            return actor
        end = float(self.seconds[-1])
        return replace(actor, course=Journey.planned(rng, course, SIGHT[recipe.camera], end))

    def _has_room(self, actor: Actor) -> bool:
        """Whether it stays inside the place and never touches another."""
        centres, radius = actor.discs(self.seconds)
        away = centres[..., 1]
        if away.min() - radius < 0.8 * self.place.near or away.max() + radius > self.place.far:
            return False
        here = actor.course.present(self.seconds)
        for other, (others, other_radius) in zip(self.actors, self._discs, strict=True):
            both = here & other.course.present(self.seconds)
            apart = np.linalg.norm(centres[both, :, None] - others[both, None], axis=3)
            if apart.size and apart.min() < radius + other_radius:
                return False
        return True

    def _misfit(self, boxes: NDArray[np.float64]) -> float:
        """How far the size on the picture is from what is wanted."""
        height, width = self._recipe.size
        scale = height / 360 * self._recipe.scale
        tall = float(np.median(boxes[:, 3] - boxes[:, 1]))
        wide = float(np.median(boxes[:, 2] - boxes[:, 0]))
        low, high = TALL[0] * 0.8 * scale, TALL[1] * 1.1 * scale
        beyond = np.clip(boxes[:, 3] - height, 0, None) + np.clip(-boxes[:, 1], 0, None)
        cut = float(np.median(beyond)) / max(tall, 1)
        out = max(0.0, math.log(low / max(tall, 1))) + max(0.0, math.log(max(tall, 1) / high))
        return 2 * (out + 2 * cut + max(0.0, wide / width - 0.7))
