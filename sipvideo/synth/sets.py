"""What stands around the actors: ground, walls, houses, the sky. Nothing here owns pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sipvideo.synth import texture
from sipvideo.synth.cast import Place
from sipvideo.synth.models import ModelLibrary
from sipvideo.synth.stage import Stage
from sipvideo.synth.wavefront import Surface

SIDE = 256
HORIZON = 180.0
GROUNDS = {
    "rough": ((95, 115, 60), (110, 108, 104), (165, 145, 110), (120, 95, 75)),
    "bricks": ((150, 95, 75), (140, 135, 128)),
    "checks": ((165, 160, 150), (130, 105, 90), (115, 125, 135)),
    "planks": ((150, 110, 70), (110, 75, 50), (180, 150, 110)),
    "stripes": ((170, 160, 140), (125, 130, 140)),
}
"""Pattern -> colours as they are found: grass, asphalt, sand, earth, brick, stone, wood."""
WHITE = np.ones(3, np.float32)
GREENERY = ("scopia/hedgeTextured", "scopia/sabalPalmeto", "scopia/candelabre", "scopia/barnum")
FURNISHING = ("scopia/wardrobe1", "scopia/fireplace1", "scopia/living_lamp")
"""Models of no COCO class that make a place look lived in."""


def build(
    stage: Stage, rng: np.random.Generator, name: str, place: Place, library: ModelLibrary
) -> None:
    """Builds a place around the camera, which looks along y.

    Args:
        stage: to build on.
        rng: of textures and furnishing.
        name: key of :data:`sipvideo.synth.cast.PLACES`.
        place: what it says there.
        library: the models.
    """
    pattern = str(rng.choice(place.patterns))
    tint = np.array(GROUNDS[pattern][int(rng.integers(len(GROUNDS[pattern])))])
    spread = 0.25 if pattern == "rough" else 0.1
    pair = np.stack((tint * (1 - spread), tint * (1 + spread))) + rng.uniform(-10, 10, (2, 3))
    floor = texture.tiles(rng, SIDE, pattern, pair)
    if name == "street":
        _street(stage, rng, place, library, floor)
    elif name == "room":
        _room(stage, rng, place, library, floor)
    else:
        _table(stage, rng, place, floor)


def _street(
    stage: Stage,
    rng: np.random.Generator,
    place: Place,
    library: ModelLibrary,
    floor: NDArray[np.uint8],
) -> None:
    ground = _flat(-HORIZON, HORIZON, -5, HORIZON, 0.0, 3.0, floor)
    stage.add_scenery([ground], backdrop=True)
    sky = texture.sky(rng, SIDE, SIDE)
    high = 0.6 * HORIZON
    stage.add_scenery(
        [_wall(-HORIZON, HORIZON, HORIZON - 1, high, None, sky)], lit=False, backdrop=True
    )
    x = -60.0
    while x < 60.0:
        wide, tall, away = rng.uniform(8, 20), rng.uniform(5, 16), place.far + rng.uniform(4, 25)
        if rng.uniform() < 0.75:
            pair = texture.colours(rng, 90, 200, 0.25)
            front = texture.tiles(rng, SIDE, str(rng.choice(("windows", "bricks"))), pair)
            wall = _wall(x, x + wide, away, tall, 8.0, front)
            side = _side(x if x > 0 else x + wide, away, away + 12, tall, 8.0, front)
            stage.add_scenery([wall, side], backdrop=True)
        x += wide + rng.uniform(0, 6)
    for _ in range(int(rng.integers(2, 6))):
        _furnish(stage, rng, library, GREENERY, (rng.uniform(-25, 25), place.far + 2.5))


def _room(
    stage: Stage,
    rng: np.random.Generator,
    place: Place,
    library: ModelLibrary,
    floor: NDArray[np.uint8],
) -> None:
    half = 0.75 * place.far
    back = place.far + 0.8
    tall = 3.0
    stage.add_scenery([_flat(-half, half, -3, back, 0.0, 1.6, floor)], backdrop=True)
    pattern = str(rng.choice(("rough", "stripes", "bricks")))
    paper = texture.tiles(rng, SIDE, pattern, texture.colours(rng, 140, 235, 0.3))
    ceiling = texture.tiles(rng, SIDE, "rough", texture.colours(rng, 200, 240, 0.1))
    walls = [_side(x, -3, back, tall, 2.0, paper) for x in (-half, half)]
    walls += [
        _wall(-half, half, back, tall, 2.0, paper),
        _flat(-half, half, -3, back, tall, 2.0, ceiling),
    ]
    stage.add_scenery(walls, backdrop=True)
    for k in range(int(rng.integers(1, 4))):
        _furnish(stage, rng, library, FURNISHING, (rng.uniform(-0.9, 0.9) * half, back - 0.4), k)


def _table(stage: Stage, rng: np.random.Generator, place: Place, floor: NDArray[np.uint8]) -> None:
    edge, back = place.far + 0.15, place.far + 2.5
    stage.add_scenery([_flat(-6, 6, -1, edge, 0.0, 0.7, floor)], backdrop=True)
    paper = texture.tiles(rng, SIDE, "rough", texture.colours(rng, 100, 230, 0.35))
    carpet = texture.tiles(rng, SIDE, "rough", texture.colours(rng, 60, 150, 0.25))
    wall = _wall(-6, 6, back, 4.0, 1.5, paper, bottom=-0.75)
    stage.add_scenery([_flat(-6, 6, edge, back, -0.75, 1.2, carpet), wall], backdrop=True)


def _furnish(
    stage: Stage,
    rng: np.random.Generator,
    library: ModelLibrary,
    names: tuple[str, ...],
    position: tuple[float, float],
    which: int | None = None,
) -> None:
    """Puts up a model, a chosen or a random one."""
    known = [name for name in names if name in library]
    if known:
        name = known[int(rng.integers(len(known))) if which is None else which % len(known)]
        node = stage.add_scenery(library.surfaces(name))
        stage.place(node, (*position, 0.0), 180.0 if which is not None else rng.uniform(0, 360))


def _flat(
    x0: float, x1: float, y0: float, y1: float, z: float, tile: float, image: NDArray[np.uint8]
) -> Surface:
    """A horizontal rectangle; a tile of the texture is ``tile`` metres wide."""
    corners = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)])
    return _rectangle(corners, (0, 0, 1), corners[:, :2] / tile, image)


def _wall(
    x0: float,
    x1: float,
    y: float,
    top: float,
    tile: float | None,
    image: NDArray[np.uint8],
    bottom: float = 0.0,
) -> Surface:
    """An upright rectangle that looks at the camera; without ``tile`` the texture covers it once."""
    corners = np.array([(x0, y, bottom), (x1, y, bottom), (x1, y, top), (x0, y, top)])
    once = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    return _rectangle(corners, (0, -1, 0), corners[:, ::2] / tile if tile else once, image)


def _side(
    x: float, y0: float, y1: float, top: float, tile: float, image: NDArray[np.uint8]
) -> Surface:
    """An upright rectangle along the line of sight that looks at the middle."""
    corners = np.array([(x, y0, 0), (x, y1, 0), (x, y1, top), (x, y0, top)])
    return _rectangle(corners, (-math.copysign(1, x), 0, 0), corners[:, 1:] / tile, image)


def _rectangle(
    corners: NDArray[np.float64],
    normal: tuple[float, float, float],
    coordinates: NDArray[np.float64],
    image: NDArray[np.uint8],
) -> Surface:
    vertices = np.concatenate((corners, np.tile(normal, (4, 1)), coordinates), axis=1)
    opaque = np.full((*image.shape[:2], 1), 255, np.uint8)
    return Surface(
        vertices.astype(np.float32),
        np.array([(0, 1, 2), (0, 2, 3)], np.uint32),
        WHITE,
        np.concatenate((image, opaque), axis=2),
    )
