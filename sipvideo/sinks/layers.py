"""Overlapping masks made exclusive: each pixel belongs to the object with the highest score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sipvideo.structures import Detections


def owners(detections: Detections) -> NDArray[np.int32]:
    """Which object owns each pixel.

    Returns:
        int32 [H, W]: k + 1 for object k, 0 for none. Ties go to the earlier object.
    """
    result = np.zeros(detections.masks.frame_size, np.int32)
    for k in np.argsort(-detections.scores, kind="stable")[::-1].tolist():
        x0, y0, x1, y1 = detections.masks.windows[k]
        result[y0:y1, x0:x1][detections.masks.crop(k)] = k + 1
    return result
