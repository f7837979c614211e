"""What every synthetic film is: a recipe that says how hard it is, and shots with exact truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import ConfigError

FPS = 12.0
"""Frames per second of the films' clock, unless the recipe says otherwise."""
CAMERAS = ("sway", "still", "pan", "move", "zoom")
"""What a scene's camera does: a little of everything as by hand, nothing, turn, travel, zoom."""
NOBODY = -1
LARGEST_SIDE = 4096
LONGEST_DROP = 3


@dataclass(frozen=True)
class Recipe:
    """How a film is made.

    Attributes:
        frames: number of frames.
        size: (height, width) in pixels.
        objects: number of annotated objects; scenes may have fewer where there is no room.
        occlusion: share of the time, 0..1, in which an object ought to meet another one on the picture.
        speed: 1 is a walk for people, a slow drive for vehicles.
        drop: probability, 0..1, that frames are missing before a frame.
        light: how much the light changes and how dark it gets, 0..1.
        scale: how large a scene's objects ought to be on the picture; 1 is 50 to 230 of 360 rows.
        fps: frames per second of the film's clock; the motion is the same in seconds.
        camera: of scenes, one of ``CAMERAS``. With one seed the actors are the same and go the same ways.
        returns: share of a scene's objects that leave the view and come back after 3 to 20 seconds.
        lookalikes: share of a scene's objects that have model and texture of another one.
        cuts: hard cuts in a scene, to another camera or to another scene.

    Raises:
        ConfigError: a value out of its range.
    """

    frames: int = 36
    size: tuple[int, int] = (360, 640)
    objects: int = 5
    occlusion: float = 0.35
    speed: float = 1.0
    drop: float = 0.05
    light: float = 0.4
    scale: float = 1.0
    fps: float = FPS
    camera: str = "sway"
    returns: float = 0.0
    lookalikes: float = 0.0
    cuts: int = 0

    def __post_init__(self) -> None:
        for name in ("occlusion", "drop", "light", "returns", "lookalikes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: expected 0..1, got {getattr(self, name)}")
        if not 0 <= self.speed <= 20:
            raise ConfigError(f"speed: expected 0..20, got {self.speed}")
        if not 0 <= self.objects <= 100:
            raise ConfigError(f"objects: expected 0..100, got {self.objects}")
        if self.frames < 1:
            raise ConfigError(f"frames: expected 1 or more, got {self.frames}")
        if not 0.1 <= self.scale <= 10:
            raise ConfigError(f"scale: expected 0.1..10, got {self.scale}")
        if not 1 <= self.fps <= 240:
            raise ConfigError(f"fps: expected 1..240, got {self.fps}")
        if self.camera not in CAMERAS:
            raise ConfigError(f"camera: expected one of {', '.join(CAMERAS)}, got {self.camera}")
        if not 0 <= self.cuts < self.frames:
            raise ConfigError(f"cuts: expected 0..{self.frames - 1}, got {self.cuts}")
        if not all(16 <= side <= LARGEST_SIDE for side in self.size):
            height, width = self.size
            raise ConfigError(f"size: expected sides of 16..{LARGEST_SIDE}, got {width}x{height}")

    def seconds(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Time of every frame, float64 [frames], increasing; gaps are dropped frames."""
        lost = rng.integers(1, LONGEST_DROP + 1, self.frames)
        lost *= rng.uniform(size=self.frames) < self.drop
        lost[0] = 0
        return np.asarray((np.arange(self.frames) + np.cumsum(lost)) / self.fps)

    def settings(self) -> dict[str, Any]:
        """What determines a film, as JSON; what came later is left out where it is as it always was."""
        later = ("scale", "fps", "camera", "returns", "lookalikes", "cuts")
        values, usual = asdict(self), asdict(Recipe())
        kept = {k: v for k, v in values.items() if k not in later or v != usual[k]}
        return {**kept, "size": list(self.size)}


DIFFICULTIES = {
    "easy": Recipe(objects=3, occlusion=0.1, speed=0.6, drop=0.0, light=0.1),
    "medium": Recipe(),
    "hard": Recipe(objects=9, occlusion=0.7, speed=1.8, drop=0.15, light=0.8),
    "crowd": Recipe(objects=24, occlusion=0.6, scale=0.6),
}


@dataclass(frozen=True, eq=False)
class Shot:
    """One frame with its truth; K is the number of objects of the film.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        owners: int16 [H, W], the number of the object that is seen at each pixel, 0..K-1, or -1.
        hidden: float64 [K], share of each object's pixels inside the frame that others cover; 0 for objects outside.
        second: time of the frame.
        cut: the frame is the first after a cut.
    """

    image: NDArray[np.uint8]
    owners: NDArray[np.int16]
    hidden: NDArray[np.float64]
    second: float
    cut: bool = False


class Film(Protocol):
    """A film that can be shot."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of every object, K names."""

    def shots(self) -> Iterator[Shot]:
        """The frames in order, the same every time."""


def overlaps(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far boxes cover each other, float64 [T]: the intersection as a share of the smaller box.

    Args:
        boxes: float64 [T, 4], x0, y0, x1, y1.
        others: float64 [T, 4].
    """
    low = np.maximum(boxes[:, :2], others[:, :2])
    common = np.clip(np.minimum(boxes[:, 2:], others[:, 2:]) - low, 0, None).prod(1)
    smaller = np.minimum(
        (boxes[:, 2:] - boxes[:, :2]).prod(1), (others[:, 2:] - others[:, :2]).prod(1)
    )
    return np.asarray(common / np.maximum(smaller, 1e-9))


def unfitness(
    boxes: NDArray[np.float64], placed: list[NDArray[np.float64]], recipe: Recipe
) -> float:
    """How badly a way suits the recipe, 0 for best: by how often it is in view and meets what is there already.

    Args:
        boxes: float64 [T, 4], where the object would be on the picture.
        placed: the boxes of the objects that are there.
        recipe: of the film.
    """
    height, width = recipe.size
    frame = np.tile((0.0, 0.0, width, height), (len(boxes), 1))
    inside = overlaps(boxes, frame)
    meets = np.zeros(len(boxes), bool)
    for other in placed:
        meets |= overlaps(boxes, other) * np.minimum(inside, overlaps(other, frame)) > 0.15
    rarely = max(0.0, 0.6 - float((inside > 0.3).mean()))
    wanted = recipe.occlusion if placed else 0.0
    return 3 * rarely + abs(float(meets.mean()) - wanted)
