"""Films of textured 3D scenes, shot: exposure, shadows, grain, cuts, and who is seen where."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.synth import sets
from sipvideo.synth.camera import FIELD_OF_VIEW, Camera
from sipvideo.synth.film import FPS, NOBODY, Recipe, Shot
from sipvideo.synth.models import ModelLibrary
from sipvideo.synth.scene import Scene
from sipvideo.synth.stage import Stage, renderer

SUB_FRAMES = 4
"""Pictures that are averaged to one: motion blur, and smooth edges since each is moved by a part of a pixel."""
GRAIN = 2.0
"""Standard deviation of the sensor's noise."""
AWAY = (0.0, -200.0, 0.0)
"""Where those are who are away: far behind the camera."""
CUTS = ("camera", "scene", "camera", "back")
"""What the cuts of a film lead to, in turn: another camera, another scene, and back to the first scene."""


@dataclass(frozen=True)
class _Take:
    """What is between two cuts: frames of one scene by one camera.

    Attributes:
        scene, camera: who films what.
        first: number of the scene's first object in the film.
        seconds: of the frames, float64 [T].
    """

    scene: Scene
    camera: Camera
    first: int
    seconds: NDArray[np.float64]


class ScenesFilm:
    """A film of a 3D scene: a street, a room or a table top; of several ones where there are cuts.

    Args:
        recipe: of the film.
        seed: of everything; the same seed gives the same pixels.
        library: the models.

    Attributes:
        takes: what is between the cuts.
        class_names: the class of every object.

    Raises:
        DatasetError: the library has none of the models of :mod:`sipvideo.synth.cast`.
    """

    def __init__(self, recipe: Recipe, seed: tuple[int, ...], library: ModelLibrary) -> None:
        self._recipe = recipe
        self._library = library
        self._shutter = 0.5 / max(recipe.fps, FPS)
        scenes = [Scene(recipe, seed, library)]
        seconds = scenes[0].seconds
        if recipe.fps != FPS:
            seconds = recipe.seconds(np.random.default_rng((*seed, 3)))
        self.takes: list[_Take] = []
        number = 0
        parts = _parts(seconds, recipe.cuts, np.random.default_rng((*seed, 4)))
        for k, part in enumerate(parts):
            change = CUTS[(k - 1) % len(CUTS)] if k else "back"
            if change == "scene":
                scenes.append(Scene(recipe, (*seed, 5, k), library))
            if change != "camera":
                number = len(scenes) - 1 if change == "scene" else 0
            rng = np.random.default_rng((*seed, 6, k))
            camera = scenes[number].camera
            if change == "camera":
                camera = camera.elsewhere(rng)
            before = sum(len(scene.actors) for scene in scenes[:number])
            filming = camera.filming(recipe.camera, rng)
            self.takes.append(_Take(scenes[number], filming, before, part))
        actors = [actor for scene in scenes for actor in scene.actors]
        self.class_names = tuple(actor.class_name for actor in actors)

    @staticmethod
    def require_renderer() -> None:
        """Says what to install where panda3d is missing. Raises SipVideoError."""
        renderer()

    def shots(self) -> Iterator[Shot]:
        """The frames in order. Raises DatasetError: a model is damaged; SipVideoError: there is no renderer."""
        for k, take in enumerate(self.takes):
            rng = np.random.default_rng((*take.scene.seed, 1))
            stage = Stage(self._recipe.size, FIELD_OF_VIEW)
            try:
                scene = take.scene
                sets.build(stage, rng, scene.place_name, scene.place, self._library)
                for actor in scene.actors:
                    stage.add_actor(self._library.surfaces(actor.model))
                for n, second in enumerate(take.seconds.tolist()):
                    yield self._shoot(stage, take, second, rng, cut=k > 0 and n == 0)
            finally:
                stage.close()

    def _shoot(
        self, stage: Stage, take: _Take, second: float, rng: np.random.Generator, *, cut: bool
    ) -> Shot:
        exposure = np.zeros((*self._recipe.size, 3), np.float32)
        self._set_light(stage, take, second)
        for k in range(SUB_FRAMES):
            part = (k + 0.5) / SUB_FRAMES - 0.5
            _move(stage, take, second + part * self._shutter)
            # The four sub-pixels lie on a rotated grid.
            exposure += stage.picture((part, (0.25, -0.375, 0.375, -0.25)[k % 4]))
        _move(stage, take, second)
        owners = stage.owners()
        shadow = cv2.GaussianBlur(
            stage.shadows().astype(np.float32), (0, 0), self._recipe.size[1] / 300
        )
        gain = self._gain(take, second)
        exposure *= (1 - 0.45 * shadow[..., None]) * gain / SUB_FRAMES
        exposure += rng.normal(0, GRAIN, exposure.shape[:2]).astype(np.float32)[..., None]
        image = np.clip(np.rint(exposure), 0, 255).astype(np.uint8)
        hidden = np.zeros(len(self.class_names))
        for k in range(len(take.scene.actors)):
            whole = int(stage.alone(k).sum())
            hidden[take.first + k] = 1 - int((owners == k).sum()) / whole if whole else 0
        owners[owners != NOBODY] += take.first
        return Shot(image, owners, hidden, second, cut)

    def _set_light(self, stage: Stage, take: _Take, second: float) -> None:
        a, b, c, d, *_ = take.scene.lights
        warm = np.array((1.0, 0.95 + 0.05 * a, 0.85 + 0.15 * a))
        drift = 0.4 * self._recipe.light * math.sin((0.5 + b) * second)
        direction = (2 * c - 1 + drift, 0.9 - 0.5 * d, -1.1)
        stage.light(direction, warm * (0.5 + 0.2 * b), (0.5, 0.52, 0.55))

    def _gain(self, take: _Take, second: float) -> float:
        """Brightness of all light: dark at times in films with changing light."""
        light = self._recipe.light
        *_, a, b, c = take.scene.lights
        wave = math.sin((1 + 2 * a) * second + 6 * b) * math.sin((1 + 3 * b) * second + 6 * c)
        return float(1.1 - 0.4 * light * c + 0.25 * light * wave)


def _parts(
    seconds: NDArray[np.float64], cuts: int, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The times of the frames between cuts, which are about evenly spread."""
    share = len(seconds) / (cuts + 1)
    places = np.arange(1, cuts + 1) * share + rng.uniform(-0.25, 0.25, cuts) * share
    # With few frames places meet; every part has one at least.
    places = np.maximum.accumulate(np.rint(places).astype(int) - np.arange(cuts)) + np.arange(cuts)
    return np.split(seconds, np.clip(places, 1, len(seconds) - 1))


def _move(stage: Stage, take: _Take, second: float) -> None:
    now = np.array([second])
    eye, target = take.camera.at(now)
    stage.aim(eye[0], target[0], float(take.camera.zoom(now)[0]))
    for k, actor in enumerate(take.scene.actors):
        x, y = actor.course(now)[0]
        place = (x, y, 0.0) if actor.course.present(now)[0] else AWAY
        stage.place(k, place, float(actor.headings(now)[0]))
