"""Affine maps between pictures and views, and pictures with their objects under them.

Matrices are float64 [3, 3] in continuous pixel coordinates: a pixel's centre is at (column + 0.5, row + 0.5).
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks

Matrix = NDArray[np.float64]
Crop = tuple[NDArray[np.bool_], tuple[int, int]]
"""A mask inside a window, and the window's top left pixel (x0, y0)."""
_NOTHING: Crop = (np.zeros((0, 0), bool), (0, 0))


def shift(dx: float, dy: float) -> Matrix:
    """Moves right and down."""
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1]], float)


def about(centre: tuple[float, float], sx: float, sy: float, angle: float) -> Matrix:
    """Scales the axes, then rotates by radians, both about ``centre`` (x, y)."""
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c * sx, -s * sy, 0], [s * sx, c * sy, 0], [0, 0, 1]])
    moved: Matrix = shift(*centre) @ turn @ shift(-centre[0], -centre[1])
    return moved


def warp(
    sample: Sample,
    matrix: Matrix,
    size: tuple[int, int],
    fill: tuple[int, int, int] = (0, 0, 0),
) -> Sample:
    """A picture and its objects under a map from picture to view.

    Args:
        sample: the picture.
        matrix: float64 [3, 3], affine.
        size: (height, width) of the view.
        fill: RGB of places outside the picture.

    Returns:
        The view; all objects stay, also those that it does not show.
    """
    image = cv2.warpAffine(
        sample.image,
        _pixel_centres(matrix),
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR,
        # Interpolation at the rim of a picture that fills the view must not mix in the fill.
        borderMode=cv2.BORDER_REPLICATE if _fills(sample, matrix, size) else cv2.BORDER_CONSTANT,
        borderValue=fill,
    )
    crops = [tight(*_warp_mask(sample.masks, k, matrix, size)) for k in range(len(sample))]
    return Sample(
        image=np.asarray(image, np.uint8),
        masks=CompactMasks.from_crops([c for c, _ in crops], [o for _, o in crops], size),
        labels=sample.labels,
        crowd=sample.crowd,
        object_ids=sample.object_ids,
        labelled=sample.labelled,
    )


def _fills(sample: Sample, matrix: Matrix, size: tuple[int, int]) -> bool:
    """Whether the picture covers the whole view."""
    height, width = size
    corners = np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]], float)
    x, y, _ = np.linalg.solve(matrix, corners)
    h, w = sample.image.shape[:2]
    slack = 0.5  # the view's size was rounded to whole pixels
    return bool(min(x.min(), y.min()) >= -slack and x.max() <= w + slack and y.max() <= h + slack)


def tight(crop: NDArray[np.bool_], origin: tuple[int, int]) -> Crop:
    """A mask in the smallest window that holds it."""
    rows, columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    if not len(rows):
        return _NOTHING
    y, x = int(rows[0]), int(columns[0])
    return crop[y : rows[-1] + 1, x : columns[-1] + 1], (origin[0] + x, origin[1] + y)


def _warp_mask(masks: CompactMasks, k: int, matrix: Matrix, size: tuple[int, int]) -> Crop:
    """Mask k in the view; only the object's part is computed."""
    x0, y0, x1, y1 = masks.windows[k].tolist()
    corners = matrix @ np.array([[x0, x1, x0, x1], [y0, y0, y1, y1], [1, 1, 1, 1]], float)
    left, top = (max(math.floor(v), 0) for v in corners[:2].min(1))
    right = min(math.ceil(corners[0].max()), size[1])
    bottom = min(math.ceil(corners[1].max()), size[0])
    if left >= right or top >= bottom or x0 >= x1 or y0 >= y1:
        return _NOTHING
    local = _pixel_centres(shift(-left, -top) @ matrix @ shift(x0, y0))
    crop = masks.crop(k).view(np.uint8) * np.uint8(255)
    warped = cv2.warpAffine(crop, local, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
    return np.asarray(warped) > 127, (left, top)


def _pixel_centres(matrix: Matrix) -> Matrix:
    """The matrix [3, 3] of continuous coordinates as a matrix [2, 3] of pixel indices."""
    indices: Matrix = shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5)
    return indices[:2]
