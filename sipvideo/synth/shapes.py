"""Films of textured flat shapes over a textured background, drawn with OpenCV: fast, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.synth import texture
from sipvideo.synth.courses import Course
from sipvideo.synth.film import NOBODY, Recipe, Shot, unfitness

TRIES = 24
"""Ways that are tried for every object; the one that suits the recipe best is taken."""
SPRITE = 128
"""Side of an object's picture before it is placed."""
Outline = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _polygon(corners: int) -> Outline:
    """Radius over angle of a regular polygon."""

    def radius(angle: NDArray[np.float64]) -> NDArray[np.float64]:
        step = 2 * np.pi / corners
        return np.asarray(np.cos(step / 2) / np.cos((angle - np.pi / 2) % step - step / 2))

    return radius


OUTLINES: dict[str, Outline] = {
    "disc": lambda angle: np.ones_like(angle),
    "triangle": _polygon(3),
    "square": _polygon(4),
    "hexagon": _polygon(6),
    "star": lambda angle: 0.72 + 0.28 * np.cos(5 * angle),
    "clover": lambda angle: 0.55 + 0.45 * np.abs(np.cos(2 * angle)),
    "drop": lambda angle: 0.35 + 0.65 * ((1 + np.cos(angle)) / 2) ** 3,
    "bean": lambda angle: 0.75 + 0.25 * np.cos(2 * angle) - 0.2 * np.sin(angle) ** 2,
    "cross": lambda angle: np.minimum(
        1.0, 0.38 / np.maximum(np.minimum(abs(np.sin(angle)), abs(np.cos(angle))), 1e-6)
    ),
    "ring": lambda angle: np.ones_like(angle),
}
"""Shape -> radius 0..1 over angle; a ring has a hole besides."""
SHAPES = tuple(OUTLINES)


@dataclass(frozen=True, eq=False)
class _Object:
    """A flat object: class, picture RGBA [S, S, 4], way in pixels from the middle, how it turns and grows."""

    label: int
    sprite: NDArray[np.uint8]
    course: Course
    middle: float
    size: float
    spin: float
    growth: float

    def placement(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Centre x, y, diameter (pixels) and angle (degrees) at each second, float64 [T, 4]."""
        size = self.size * (1 + self.growth * np.sin(seconds + self.course.phase))
        angle = self.spin * seconds
        centre = self.course(seconds) + np.array((self.middle, 0.0))
        return np.concatenate((centre, np.stack((size, angle), 1)), axis=1)


class ShapesFilm:
    """A film of shapes.

    Every class has its own shape, or, where there are more classes than shapes, its own shape and colour, so that
    classes can be learnt; every object has its own texture.

    Args:
        recipe: of the film.
        seed: of everything; the same seed gives the same pixels.
        classes: names to draw from; by default those of the shapes.
    """

    def __init__(
        self, recipe: Recipe, seed: tuple[int, ...] = (0,), classes: tuple[str, ...] = SHAPES
    ) -> None:
        rng = np.random.default_rng(seed)
        self._recipe = recipe
        self._seconds = recipe.seconds(rng)
        height, width = recipe.size
        self._background = texture.clouds(
            rng, height + height // 2, width + width // 2, texture.colours(rng, 40, 190, 0.6)
        )
        self._pan = rng.uniform(0.2, 1.0, 4)
        self._flicker = rng.uniform(0.5, 3.0, 2)
        self._objects: list[_Object] = []
        boxes: list[NDArray[np.float64]] = []
        for _ in range(recipe.objects):
            added, box = self._invent(rng, len(classes), boxes)
            self._objects.append(added)
            boxes.append(box)
        self.class_names = tuple(classes[o.label] for o in self._objects)

    def shots(self) -> Iterator[Shot]:
        """The frames in order."""
        height, width = self._recipe.size
        ways = [o.placement(self._seconds) for o in self._objects]
        for t, second in enumerate(self._seconds.tolist()):
            dx, dy = self._shift(second)
            x, y = int(width / 4 + dx), int(height / 4 + dy)
            image = self._background[y : y + height, x : x + width].copy()
            owners = np.full((height, width), NOBODY, np.int16)
            whole = np.zeros(len(ways), np.int64)
            # Later objects are nearer.
            for k, way in enumerate(ways):
                whole[k] = _draw(image, owners, k, self._objects[k].sprite, way[t] - (dx, dy, 0, 0))
            seen = np.bincount(owners[owners >= 0].astype(np.int64), minlength=len(ways))
            hidden = 1 - seen / np.maximum(whole, 1) if len(ways) else np.zeros(0)
            hidden[whole == 0] = 0
            cv2.convertScaleAbs(image, image, self._gain(second), 0)
            yield Shot(image, owners, hidden, second)

    def _shift(self, second: float) -> tuple[float, float]:
        """How far the camera has moved, x and y in pixels, within a quarter of the frame."""
        height, width = self._recipe.size
        a, b, c, d = self._pan
        pace = min(self._recipe.speed, 3.0) * 0.5
        return (
            0.2 * width * float(a * np.sin(pace * c * second)),
            0.2 * height * float(b * np.sin(pace * d * second)),
        )

    def _gain(self, second: float) -> float:
        """Brightness of the light."""
        light = self._recipe.light
        wave = float(np.sin(self._flicker[0] * second) * np.sin(self._flicker[1] * second))
        return 1 - 0.35 * light + 0.35 * light * wave

    def _invent(
        self, rng: np.random.Generator, classes: int, placed: list[NDArray[np.float64]]
    ) -> tuple[_Object, NDArray[np.float64]]:
        """A new object and its boxes [T, 4] on the picture, on the best of several random ways."""
        height, width = self._recipe.size
        label = int(rng.integers(classes))
        size = float(height * np.exp(rng.uniform(np.log(0.14), np.log(0.45))))
        made = _Object(
            label,
            _sprite(rng, label, classes),
            Course("stay", (0, 0), 1, 0, 0, 0, 0),
            width / 2,
            size,
            float(rng.normal(0, 60 * self._recipe.speed)),
            float(rng.uniform(0, 0.25)),
        )
        best, unfit, boxes = made, np.inf, np.zeros((0, 4))
        for _ in range(TRIES):
            course = Course(
                style=str(rng.choice(("roam", "cross", "return"), p=(0.4, 0.35, 0.25))),
                home=(float(rng.uniform(-0.4, 0.4) * width), float(rng.uniform(0.1, 0.9) * height)),
                reach=width / 2,
                speed=float(rng.uniform(0.1, 0.4) * width * self._recipe.speed),
                phase=float(rng.uniform(0, 2)),
                slant=float(rng.uniform(-0.7, 0.7)),
                margin=0.7 * size,
            )
            candidate = replace(made, course=course)
            way = candidate.placement(self._seconds)
            shift = np.array([self._shift(s) for s in self._seconds.tolist()])
            centre, half = way[:, :2] - shift, way[:, 2:3] / 2
            where = np.concatenate((centre - half, centre + half), axis=1)
            value = unfitness(where, placed, self._recipe)
            if value < unfit:
                best, unfit, boxes = candidate, value, where
        return best, boxes


def _sprite(rng: np.random.Generator, label: int, classes: int) -> NDArray[np.uint8]:
    """The picture of a new object of a class, RGBA [S, S, 4]."""
    name = SHAPES[label % len(SHAPES)]
    angle = np.linspace(0, 2 * np.pi, 180, endpoint=False)
    radius = OUTLINES[name](angle) * (SPRITE / 2 - 2)
    points = np.stack((np.cos(angle), -np.sin(angle)), 1) * radius[:, None] + SPRITE / 2
    alpha = np.zeros((SPRITE, SPRITE), np.uint8)
    fixed = np.round(points * 256).astype(np.int32)
    cv2.fillPoly(alpha, [fixed], 255, cv2.LINE_AA, 8)
    if name == "ring":
        middle = SPRITE // 2
        cv2.circle(alpha, (middle, middle), SPRITE // 5, 0, -1, cv2.LINE_AA)
    pair = texture.colours(rng, 20, 240, 1.0)
    if classes > len(SHAPES):
        # The class' own hue, so that classes of one shape differ.
        hue = np.array([[[label * 67 % 180, 200, 230]]], np.uint8)
        pair[1] = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0]
    return np.dstack((texture.clouds(rng, SPRITE, SPRITE, pair), alpha))


def _draw(
    image: NDArray[np.uint8],
    owners: NDArray[np.int16],
    number: int,
    sprite: NDArray[np.uint8],
    placement: NDArray[np.float64],
) -> int:
    """Draws an object over what is there; returns how many pixels of the frame it takes."""
    x, y, size, angle = placement.tolist()
    height, width = owners.shape
    reach = size / 2 + 1
    x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 2)
    y0, y1 = max(0, int(y - reach)), min(height, int(y + reach) + 2)
    if x0 >= x1 or y0 >= y1:
        return 0
    matrix = cv2.getRotationMatrix2D((SPRITE / 2, SPRITE / 2), angle, size / SPRITE)
    matrix[:, 2] += (x - SPRITE / 2 - x0, y - SPRITE / 2 - y0)
    placed = cv2.warpAffine(sprite, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    alpha = placed[..., 3]
    # Edges are mixed, and belong to whom most of the pixel is.
    owned = alpha >= 128
    window = image[y0:y1, x0:x1]
    mix = alpha[..., None].astype(np.uint16)
    blended = (placed[..., :3] * mix + window * (255 - mix)) // 255
    window[...] = blended.astype(np.uint8)
    owners[y0:y1, x0:x1][owned] = number
    return int(owned.sum())
