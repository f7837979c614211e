"""Films of textured 3D scenes: who is there, where they go, how the camera sees them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.synth import sets
from sipvideo.synth.cast import MODELS, PACE, PLACES, RESTING, Place
from sipvideo.synth.film import FPS, Course, Recipe, Shot, unfitness
from sipvideo.synth.models import INSTALL, ModelLibrary
from sipvideo.synth.stage import Stage, renderer

FIELD_OF_VIEW = 55.0
TRIES = 60
"""Ways that are tried for every object; among those on which nobody walks through anybody the best is taken."""
TALL = (50.0, 230.0)
"""Wanted heights of objects on a picture of 360 rows, pixels."""
SUB_FRAMES = 4
"""Pictures that are averaged to one: motion blur, and smooth edges since each is moved by a part of a pixel."""
SHUTTER = 0.5 / FPS
GRAIN = 2.0
"""Standard deviation of the sensor's noise."""


@dataclass(frozen=True)
class _Actor:
    """An object of the scene: its model, (width, depth, height) in metres, and its way."""

    class_name: str
    model: str
    size: tuple[float, float, float]
    course: Course
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


class _Camera:
    """A hand-held camera that looks along y from above the origin, sways and turns.

    Args:
        rng: of its way.
        place: where it is.
        recipe: of the film.
    """

    def __init__(self, rng: np.random.Generator, place: Place, recipe: Recipe) -> None:
        self.size = recipe.size
        self.focal = recipe.size[1] / 2 / math.tan(math.radians(FIELD_OF_VIEW / 2))
        self._eye = np.array((0.0, 0.0, rng.uniform(*place.eye)))
        middle = float(np.sqrt(place.near * place.far))
        self._target = np.array((0.0, middle, self._eye[2] * rng.uniform(0.25, 0.5)))
        unit = middle * min(recipe.speed, 2.0)
        self._sway = rng.uniform(0, 1, (2, 3)) * unit * ((0.08, 0.06, 0.015), (0.15, 0.0, 0.03))
        self._rate = rng.uniform(0.6, 2.2, (2, 3))
        self._phase = rng.uniform(0, 2 * np.pi, (2, 3))

    def at(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where it is and the points it looks at, float64 [T, 3] both."""
        angles = self._rate[:, None] * seconds[:, None] + self._phase[:, None]
        moved = self._sway[:, None] * np.sin(angles)
        return self._eye + moved[0], self._target + moved[1]

    @property
    def nearest(self) -> float:
        """Distance from which the ground is in view, metres."""
        middle = self._target[1]
        down = math.atan2(self._eye[2] - self._target[2], middle)
        half = math.atan2(self.size[0] / 2, self.focal)
        return float(self._eye[2] / math.tan(down + half))

    def boxes(self, actor: _Actor, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes of an actor's corners on the picture, float64 [T, 4]; empty where it is behind the camera."""
        width, depth, height = actor.size
        corners = np.array(
            [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]
        ) * (width, depth, height)
        angle = np.radians(actor.headings(seconds))[:, None]
        x = corners[:, 0] * np.cos(angle) - corners[:, 1] * np.sin(angle)
        y = corners[:, 0] * np.sin(angle) + corners[:, 1] * np.cos(angle)
        ground = actor.course(seconds)
        up = np.broadcast_to(corners[:, 2], x.shape)
        points = np.stack((x + ground[:, :1], y + ground[:, 1:], up), 2)
        eye, target = self.at(seconds)
        forward = _units(target - eye)
        right = _units(np.cross(forward, (0, 0, 1)))
        axes = np.stack((right, -np.cross(right, forward), forward), 2)
        seen = (points - eye[:, None]) @ axes
        distance = np.maximum(seen[..., 2:], 0.1)
        middle = (self.size[1] / 2, self.size[0] / 2)
        pixels = middle + self.focal * seen[..., :2] / distance
        boxes = np.concatenate((pixels.min(1), pixels.max(1)), axis=1)
        return np.where(seen[..., 2].min(1)[:, None] > 0.1, boxes, 0.0)


def _units(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _models(class_name: str, library: ModelLibrary) -> list[str]:
    """The models of a class that the library has."""
    return [model for model in MODELS[class_name].split() if model in library]


class ScenesFilm:
    """A film of a 3D scene: a street, a room or a table top.

    Args:
        recipe: of the film.
        seed: of everything; the same seed gives the same pixels.
        library: the models.

    Raises:
        DatasetError: the library has none of the models of :mod:`sipvideo.synth.cast`.
    """

    def __init__(self, recipe: Recipe, seed: tuple[int, ...], library: ModelLibrary) -> None:
        rng = np.random.default_rng(seed)
        self._seed = seed
        self._recipe = recipe
        self._library = library
        self._seconds = recipe.seconds(rng)
        met = {
            name: [c for c in sorted(place.classes) if _models(c, library)]
            for name, place in PLACES.items()
        }
        places = [name for name, classes in met.items() if classes]
        if not places:
            raise DatasetError("none of the models is of a known class. " + INSTALL)
        self._place_name = str(rng.choice(places))
        self._place = PLACES[self._place_name]
        self._classes = met[self._place_name]
        self._camera = _Camera(rng, self._place, recipe)
        self._actors: list[_Actor] = []
        boxes: list[NDArray[np.float64]] = []
        for _ in range(recipe.objects):
            found = self._invent(rng, boxes)
            if found is not None:
                self._actors.append(found[0])
                boxes.append(found[1])
        self._light = rng.uniform(0, 1, 8)
        self.class_names = tuple(actor.class_name for actor in self._actors)

    @staticmethod
    def require_renderer() -> None:
        """Says what to install where panda3d is missing. Raises SipVideoError."""
        renderer()

    def shots(self) -> Iterator[Shot]:
        """The frames in order. Raises DatasetError: a model is damaged; SipVideoError: there is no renderer."""
        rng = np.random.default_rng((*self._seed, 1))
        stage = Stage(self._recipe.size, FIELD_OF_VIEW)
        try:
            sets.build(stage, rng, self._place_name, self._place, self._library)
            for actor in self._actors:
                stage.add_actor(self._library.surfaces(actor.model))
            for second in self._seconds.tolist():
                yield self._shoot(stage, second, rng)
        finally:
            stage.close()

    def _shoot(self, stage: Stage, second: float, rng: np.random.Generator) -> Shot:
        exposure = np.zeros((*self._recipe.size, 3), np.float32)
        self._set_light(stage, second)
        for k in range(SUB_FRAMES):
            part = (k + 0.5) / SUB_FRAMES - 0.5
            self._move(stage, second + part * SHUTTER)
            # The four sub-pixels lie on a rotated grid.
            exposure += stage.picture((part, (0.25, -0.375, 0.375, -0.25)[k % 4]))
        self._move(stage, second)
        owners = stage.owners()
        shadow = cv2.GaussianBlur(
            stage.shadows().astype(np.float32), (0, 0), self._recipe.size[1] / 300
        )
        exposure *= (1 - 0.45 * shadow[..., None]) * self._gain(second) / SUB_FRAMES
        exposure += rng.normal(0, GRAIN, exposure.shape[:2]).astype(np.float32)[..., None]
        image = np.clip(np.rint(exposure), 0, 255).astype(np.uint8)
        hidden = np.zeros(len(self._actors))
        for k in range(len(self._actors)):
            whole = int(stage.alone(k).sum())
            hidden[k] = 1 - int((owners == k).sum()) / whole if whole else 0
        return Shot(image, owners, hidden, second)

    def _move(self, stage: Stage, second: float) -> None:
        now = np.array([second])
        eye, target = self._camera.at(now)
        stage.aim(eye[0], target[0])
        for k, actor in enumerate(self._actors):
            x, y = actor.course(now)[0]
            stage.place(k, (x, y, 0.0), float(actor.headings(now)[0]))

    def _set_light(self, stage: Stage, second: float) -> None:
        a, b, c, d, *_ = self._light
        warm = np.array((1.0, 0.95 + 0.05 * a, 0.85 + 0.15 * a))
        drift = 0.4 * self._recipe.light * math.sin((0.5 + b) * second)
        direction = (2 * c - 1 + drift, 0.9 - 0.5 * d, -1.1)
        stage.light(direction, warm * (0.5 + 0.2 * b), (0.5, 0.52, 0.55))

    def _gain(self, second: float) -> float:
        """Brightness of all light: dark at times in films with changing light."""
        light = self._recipe.light
        *_, a, b, c = self._light
        wave = math.sin((1 + 2 * a) * second + 6 * b) * math.sin((1 + 3 * b) * second + 6 * c)
        return float(1.1 - 0.4 * light * c + 0.25 * light * wave)

    def _invent(
        self, rng: np.random.Generator, placed: list[NDArray[np.float64]]
    ) -> tuple[_Actor, NDArray[np.float64]] | None:
        """A new actor and its boxes [T, 4] on the picture; None where there is no room for one."""
        class_name = str(rng.choice(self._classes))
        models = _models(class_name, self._library)
        model = models[int(rng.integers(len(models)))]
        best: tuple[_Actor, NDArray[np.float64]] | None = None
        unfit = np.inf
        for _ in range(TRIES):
            actor = self._candidate(rng, class_name, model)
            if not self._has_room(actor):
                continue
            boxes = self._camera.boxes(actor, self._seconds)
            value = unfitness(boxes, placed, self._recipe) + self._misfit(boxes)
            if value < unfit:
                best, unfit = (actor, boxes), value
        return best

    def _candidate(self, rng: np.random.Generator, class_name: str, model: str) -> _Actor:
        place, recipe = self._place, self._recipe
        width, depth, height = size = self._library.size(model)
        tall = math.exp(rng.uniform(*np.log(TALL))) * recipe.size[0] / 360
        away = self._camera.focal * max(height, 0.3 * max(width, depth)) / tall
        near = max(place.near, 1.1 * self._camera.nearest) + max(width, depth) / 2
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
        return _Actor(class_name, model, size, course, float(rng.normal(180, 55)), spin)

    def _has_room(self, actor: _Actor) -> bool:
        """Whether it stays inside the place and never touches another."""
        centres, radius = actor.discs(self._seconds)
        away = centres[..., 1]
        if away.min() - radius < 0.8 * self._place.near or away.max() + radius > self._place.far:
            return False
        for other in self._actors:
            others, other_radius = other.discs(self._seconds)
            apart = np.linalg.norm(centres[:, :, None] - others[:, None], axis=3)
            if apart.min() < radius + other_radius:
                return False
        return True

    def _misfit(self, boxes: NDArray[np.float64]) -> float:
        """How far the size on the picture is from what is wanted."""
        height, width = self._recipe.size
        scale = height / 360
        tall = float(np.median(boxes[:, 3] - boxes[:, 1]))
        wide = float(np.median(boxes[:, 2] - boxes[:, 0]))
        low, high = TALL[0] * 0.8 * scale, TALL[1] * 1.1 * scale
        beyond = np.clip(boxes[:, 3] - height, 0, None) + np.clip(-boxes[:, 1], 0, None)
        cut = float(np.median(beyond)) / max(tall, 1)
        out = max(0.0, math.log(low / max(tall, 1))) + max(0.0, math.log(max(tall, 1) / high))
        return 2 * (out + 2 * cut + max(0.0, wide / width - 0.7))
