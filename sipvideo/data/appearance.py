"""What changes a view's pixels and none of its masks: colours, motion blur, noise, compression."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.data.geometry import Matrix
from sipvideo.data.sample import Sample

Picture = NDArray[np.uint8]
_GREY = np.array([0.299, 0.587, 0.114])


def colour_matrix(contrast: float, brightness: float, saturation: float, hue: float) -> Matrix:
    """Float64 [3, 4], applied to RGB and 1.

    Args:
        contrast: factor around grey level 128.
        brightness: shift, of 255.
        saturation: factor; 0 gives grey.
        hue: rotation about the grey axis, degrees.
    """
    grey = np.tile(_GREY, (3, 1))
    matrix = grey + saturation * (np.eye(3) - grey)
    matrix = _rotation_about_grey(math.radians(hue)) @ matrix
    offset = brightness + 128 * (1 - contrast)
    return np.column_stack((contrast * matrix, np.full(3, offset)))


def _rotation_about_grey(angle: float) -> Matrix:
    """Rotation of RGB space about the axis (1, 1, 1) (Rodrigues)."""
    c, s = math.cos(angle), math.sin(angle) / math.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], float)
    return c * np.eye(3) + s * cross + (1 - c) / 3 * np.ones((3, 3))


def recolour(image: Picture, matrix: Matrix) -> Picture:
    """A picture uint8 [H, W, 3] under a colour matrix float64 [3, 4]."""
    if np.array_equal(matrix, np.eye(3, 4)):
        return image
    return np.asarray(cv2.transform(image, matrix), np.uint8)


def streak(length: float, angle: float) -> NDArray[np.float32]:
    """Kernel of an even motion by ``length`` pixels in direction ``angle`` (radians), float32 [K, K], sum 1.

    It is centred: what moves is seen around the middle of its way, where its mask is.
    """
    radius = math.ceil(length / 2)
    grid = np.arange(-radius, radius + 1)
    kernel = np.zeros((len(grid), len(grid)), np.float32)
    steps = np.linspace(-length / 2, length / 2, 4 * radius + 1)
    for step in steps:  # each position is shared by the four pixels around it
        x, y = step * math.cos(angle), step * math.sin(angle)
        kernel += np.outer(np.clip(1 - abs(grid - y), 0, 1), np.clip(1 - abs(grid - x), 0, 1))
    kernel /= kernel.sum()
    return kernel


def blur_all(image: Picture, kernel: NDArray[np.float32]) -> Picture:
    """A camera's motion."""
    blurred = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.uint8)


def blur_object(view: Sample, k: int, kernel: NDArray[np.float32]) -> Picture:
    """Object k in motion in front of what stands still; behind its edges the picture itself shows through."""
    radius = len(kernel) // 2
    height, width = view.image.shape[:2]
    x0, y0, x1, y1 = view.masks.windows[k].tolist()
    left, top, right, bottom = (
        min(x0, radius),
        min(y0, radius),
        min(width - x1, radius),
        min(height - y1, radius),
    )
    mask = np.pad(view.masks.crop(k), ((top, bottom), (left, right))).astype(np.float32)[..., None]
    part = np.s_[y0 - top : y1 + bottom, x0 - left : x1 + right]
    still = view.image[part].astype(np.float32)
    moving = cv2.filter2D(np.concatenate((still * mask, mask), 2), -1, kernel)
    image = view.image.copy()
    image[part] = np.rint(moving[..., :3] + still * (1 - moving[..., 3:])).astype(np.uint8)
    return image


def add_noise(image: Picture, deviation: float, rng: np.random.Generator) -> Picture:
    """Normal noise of that standard deviation, of 255, independent in every value."""
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(deviation)
    return np.asarray(np.rint((image + noise).clip(0, 255)), np.uint8)


def compress(image: Picture, quality: int) -> Picture:
    """What JPEG of that quality (1..100) leaves of a picture."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
