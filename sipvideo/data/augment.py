"""Random views of a picture: one geometric matrix, one colour matrix, masks and boxes follow.

Two views of the same picture stand in for two frames of a video (a pseudo-clip): an object keeps
its number in ``object_ids``, whichever views show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks

Matrix = NDArray[np.float64]
_GREY = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class Augmentation:
    """How strongly views differ. A field that is a pair is a range, drawn from evenly.

    Attributes:
        zoom: factor on top of fitting the picture into the view, drawn on a logarithmic scale;
            above 1 the view shows a random part of the picture, below 1 the picture lies in a
            random place of the view.
        aspect: largest relative stretch of one axis against the other.
        rotation: largest angle in degrees, either way.
        flip: probability of a horizontal flip.
        brightness: largest shift, of 255.
        contrast: factor around grey level 128.
        saturation: factor; 0 gives a grey picture.
        hue: largest rotation of the colours around the grey axis in degrees, either way.
        fill: RGB of places outside the picture.
        min_pixels: objects with fewer visible pixels are left out of a view.
        min_visible: objects with a smaller visible share of their area are left out of a view.
        second_zoom: zoom of a pair's second view relative to its first.
        second_shift: shift of a pair's second view against its first, relative to the view's size.
    """

    zoom: tuple[float, float] = (0.7, 1.6)
    aspect: float = 1.1
    rotation: float = 5.0
    flip: float = 0.5
    brightness: float = 24.0
    contrast: tuple[float, float] = (0.7, 1.3)
    saturation: tuple[float, float] = (0.6, 1.4)
    hue: float = 12.0
    fill: tuple[int, int, int] = (124, 116, 104)
    min_pixels: int = 16
    min_visible: float = 0.15
    second_zoom: tuple[float, float] = (0.8, 1.25)
    second_shift: float = 0.2
    copy_paste: float = 0.0

    def view(self, sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Sample:
        """One random view of (height, width) pixels."""
        return self._render(sample, self._geometry(sample, size, rng), size, rng)

    def pair(
        self, sample: Sample, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[Sample, Sample]:
        """Two views of (height, width) pixels that differ like two frames of a video.

        The second is the first moved, zoomed and rotated a little further, in other colours; it is
        never flipped against the first, because videos are not.
        """
        first, second = self._motion(sample, size, rng)
        return self._render(sample, first, size, rng), self._render(sample, second, size, rng)

    def _motion(
        self, sample: Sample, size: tuple[int, int], rng: np.random.Generator
    ) -> tuple[Matrix, Matrix]:
        """The geometry of a pair's two views."""
        height, width = size
        first = self._geometry(sample, size, rng)
        zoom = _log_uniform(rng, self.second_zoom)
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        dx, dy = rng.uniform(-self.second_shift, self.second_shift, 2) * (width, height)
        move = _about((width / 2, height / 2), zoom, zoom, angle)
        return first, _shift(dx, dy) @ move @ first

    def clip(
        self,
        samples: tuple[Sample, Sample],
        size: tuple[int, int],
        rng: np.random.Generator,
        donor: tuple[Sample, Sample] | None = None,
    ) -> tuple[Sample, Sample]:
        """Two views of (height, width) pixels of the two samples of a clip."""
        first, second = self._motion(samples[0], size, rng)
        return self._render(samples[0], first, size, rng), self._render(
            samples[1], second, size, rng
        )

    def _geometry(self, sample: Sample, size: tuple[int, int], rng: np.random.Generator) -> Matrix:
        """A random [3, 3] matrix from picture to view, in continuous pixel coordinates."""
        (height, width), (h, w) = size, sample.image.shape[:2]
        zoom = min(height / h, width / w) * _log_uniform(rng, self.zoom)
        stretch = math.sqrt(_log_uniform(rng, (1 / self.aspect, self.aspect)))
        angle = math.radians(rng.uniform(-self.rotation, self.rotation))
        flip = -1 if rng.random() < self.flip else 1
        centred = _about((w / 2, h / 2), zoom * stretch * flip, zoom / stretch, angle)
        # The picture's centre may lie anywhere that leaves no more border than its size asks for.
        shown_w, shown_h = w * zoom * stretch, h * zoom / stretch
        dx = rng.uniform(-0.5, 0.5) * abs(width - shown_w)
        dy = rng.uniform(-0.5, 0.5) * abs(height - shown_h)
        return _shift(width / 2 - w / 2 + dx, height / 2 - h / 2 + dy) @ centred

    def _colours(self, rng: np.random.Generator) -> Matrix:
        """A random [3, 4] colour matrix: contrast, saturation, hue, brightness."""
        contrast = rng.uniform(*self.contrast)
        offset = rng.uniform(-self.brightness, self.brightness) + 128 * (1 - contrast)
        grey = np.tile(_GREY, (3, 1))
        matrix = grey + rng.uniform(*self.saturation) * (np.eye(3) - grey)
        matrix = _rotation_about_grey(math.radians(rng.uniform(-self.hue, self.hue))) @ matrix
        return np.column_stack((contrast * matrix, np.full(3, offset)))

    def _render(
        self, sample: Sample, matrix: Matrix, size: tuple[int, int], rng: np.random.Generator
    ) -> Sample:
        return warp(sample, matrix, size, self, self._colours(rng))


def warp(
    sample: Sample,
    matrix: Matrix,
    size: tuple[int, int],
    limits: Augmentation,
    colours: Matrix | None = None,
) -> Sample:
    """A picture and its objects under a geometric and a colour matrix.

    Args:
        sample: the picture.
        matrix: float64 [3, 3], affine, from picture to view; a pixel's centre is at
            (column + 0.5, row + 0.5).
        size: (height, width) of the view.
        limits: gives ``fill``, ``min_pixels`` and ``min_visible``.
        colours: float64 [3, 4], applied to RGB and 1; None keeps the colours.

    Returns:
        The view; objects that are not visible enough are left out, the others keep their order.
    """
    height, width = size
    source = sample.image
    if colours is not None:
        source = np.asarray(cv2.transform(source, colours), np.uint8)
    image = cv2.warpAffine(
        source,
        _pixel_centres(matrix),
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=limits.fill,
    )
    crops, origins, kept = [], [], []
    scale = abs(float(np.linalg.det(matrix[:2, :2])))
    for k, area in enumerate(sample.masks.areas().tolist()):
        crop, origin = _warp_crop(sample.masks, k, matrix, size)
        visible = np.count_nonzero(crop)
        if visible >= max(limits.min_pixels, limits.min_visible * scale * area, 1):
            rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
            crops.append(crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
            origins.append((origin[0] + int(columns[0]), origin[1] + int(rows[0])))
            kept.append(k)
    chosen = np.array(kept, np.int64)
    return Sample(
        image=np.asarray(image, np.uint8),
        masks=CompactMasks.from_crops(crops, origins, size),
        labels=sample.labels[chosen],
        crowd=sample.crowd[chosen],
        object_ids=sample.object_ids[chosen],
        labelled=sample.labelled,
    )


def _warp_crop(
    masks: CompactMasks, k: int, matrix: Matrix, size: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Mask k in the view, as a crop and its origin (x0, y0); only the object's part is computed."""
    x0, y0, x1, y1 = (int(v) for v in masks.windows[k])
    corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]], float)
    left, top = (max(math.floor(v), 0) for v in corners[:2].min(1))
    right = min(math.ceil(corners[0].max()), size[1])
    bottom = min(math.ceil(corners[1].max()), size[0])
    if left >= right or top >= bottom or x0 >= x1 or y0 >= y1:
        return np.zeros((0, 0), bool), (0, 0)
    local = _pixel_centres(_shift(-left, -top) @ matrix @ _shift(x0, y0))
    crop = masks.crop(k).view(np.uint8) * np.uint8(255)
    warped = cv2.warpAffine(crop, local, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    return np.asarray(warped) > 127, (left, top)


def _pixel_centres(matrix: Matrix) -> Matrix:
    """The matrix [3, 3] of continuous coordinates as a matrix [2, 3] of pixel indices."""
    indices: Matrix = _shift(-0.5, -0.5) @ matrix @ _shift(0.5, 0.5)
    return indices[:2]


def _shift(dx: float, dy: float) -> Matrix:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], float)


def _about(centre: tuple[float, float], sx: float, sy: float, angle: float) -> Matrix:
    """Scale the axes, then rotate, both about ``centre``."""
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c * sx, -s * sy, 0], [s * sx, c * sy, 0], [0, 0, 1]])
    about: Matrix = _shift(*centre) @ turn @ _shift(-centre[0], -centre[1])
    return about


def _rotation_about_grey(angle: float) -> Matrix:
    """Rotation of RGB space about the axis (1, 1, 1) (Rodrigues)."""
    c, s = math.cos(angle), math.sin(angle) / math.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], float)
    return c * np.eye(3) + s * cross + (1 - c) / 3 * np.ones((3, 3))


def _log_uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return math.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1])))
