"""Procedural textures: noise in a few patterns, seeded."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def noise(
    rng: np.random.Generator, height: int, width: int, finest: int = 2
) -> NDArray[np.float32]:
    """Clouds of several sizes, float32 [height, width], about 0..1."""
    total = np.zeros((height, width), np.float32)
    weight, cells = 1.0, 4
    while cells * finest <= max(height, width):
        rows, columns = max(2, cells * height // width), max(2, cells)
        coarse = rng.uniform(-1, 1, (rows, columns)).astype(np.float32)
        total += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        weight, cells = weight * 0.6, cells * 2
    return np.asarray(np.clip(0.5 + 0.45 * total, 0, 1), np.float32)


def clouds(
    rng: np.random.Generator, height: int, width: int, colours: NDArray[np.float64]
) -> Image:
    """Two colours mixed by noise, uint8 [height, width, 3].

    Args:
        rng: of the texture.
        height: pixels.
        width: pixels.
        colours: [2, 3], RGB 0..255.
    """
    blend = noise(rng, height, width)[..., None]
    return np.asarray(np.clip(colours[0] * blend + colours[1] * (1 - blend), 0, 255), np.uint8)


def colours(
    rng: np.random.Generator, low: float, high: float, chroma: float
) -> NDArray[np.float64]:
    """Two related colours [2, 3], RGB: brightness between low and high, chroma 0 (grey) to 1."""
    tint = rng.uniform(-1, 1, 3) * chroma * 70
    brightness = np.sort(rng.uniform(low, high, 2))[:, None]
    mixed = brightness + tint - tint.mean() + rng.uniform(-8, 8, (2, 3))
    return np.asarray(np.clip(mixed, 0, 255))


def tiles(rng: np.random.Generator, side: int, pattern: str, pair: NDArray[np.float64]) -> Image:
    """A seamless square texture, uint8 [side, side, 3].

    Args:
        rng: of the texture.
        side: pixels, a power of two.
        pattern: ``rough``, ``planks``, ``bricks``, ``checks``, ``stripes`` or ``windows``.
        pair: two colours [2, 3].
    """
    blend = _seamless(rng, side)
    image = pair[0] * blend[..., None] + pair[1] * (1 - blend[..., None])
    y, x = np.mgrid[0:side, 0:side]
    unit = side // 8
    if pattern == "planks":
        shade = rng.uniform(0.75, 1.05, 8)[y // unit]
        image = image * np.where(y % unit < 2, 0.55, shade)[..., None]
    elif pattern == "bricks":
        shifted = x + (y // unit % 2) * unit
        joint = (y % unit < 2) | (shifted % (2 * unit) < 2)
        image = np.where(joint[..., None], 0.5 * image + 80, image)
    elif pattern == "checks":
        image = image * np.where((x // (2 * unit) + y // (2 * unit)) % 2, 0.7, 1.1)[..., None]
    elif pattern == "stripes":
        image = image * np.where(x // unit % 2, 0.88, 1.05)[..., None]
    elif pattern == "windows":
        pane = (x % (2 * unit) > unit // 2) & (y % (2 * unit) > unit // 2)
        lit = rng.uniform(0.25, 0.9, (4, 4))[y // (2 * unit), x // (2 * unit)]
        image = np.where(pane[..., None], lit[..., None] * (120, 140, 160), image)
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _seamless(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Noise that joins itself at all edges, float32 [side, side], about 0..1, mostly fine."""
    total = np.zeros((side, side), np.float32)
    for cells, weight in ((8, 0.25), (16, 0.25), (32, 0.25), (64, 0.2), (side, 0.2)):
        coarse = np.tile(rng.uniform(-1, 1, (cells, cells)).astype(np.float32), (3, 3))
        large = cv2.resize(coarse, (3 * side, 3 * side), interpolation=cv2.INTER_CUBIC)
        total += weight * large[side : 2 * side, side : 2 * side]
    return np.asarray(np.clip(0.5 + total, 0, 1), np.float32)


def sky(rng: np.random.Generator, height: int, width: int) -> Image:
    """Clouds that fade towards the horizon (the last row), uint8 [height, width, 3]."""
    top = np.array((90, 130, 195)) + rng.uniform(-30, 30, 3)
    down = np.linspace(0, 1, height)[:, None, None]
    cover = noise(rng, height, width)[..., None] ** 2
    image = top * (1 - down) + (205, 215, 225) * down
    image = image * (1 - 0.7 * cover) + 235 * 0.7 * cover
    return np.asarray(np.clip(image, 0, 255), np.uint8)
