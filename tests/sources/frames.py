"""How frames are compared with what was filmed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.errors import SourceError
from sipvideo.sources import (
    Source,
)
from sipvideo.structures import Frame


def read_until_error(source: Source) -> tuple[list[Frame], str]:
    """The frames before a SourceError, and its line."""
    frames: list[Frame] = []
    with pytest.raises(SourceError) as caught:
        frames.extend(source)  # extend keeps what came before the error
    return frames, str(caught.value)


def quarters(image: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, in reading order."""
    h, w = image.shape[:2]
    points = [
        (h // 4, w // 4),
        (h // 4, w * 3 // 4),
        (h * 3 // 4, w // 4),
        (h * 3 // 4, w * 3 // 4),
    ]
    return [tuple(image[y, x].tolist()) for y, x in points]


def assert_alike(image: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: int = 8) -> None:
    assert image.shape == expected.shape
    got, wanted = np.array(quarters(image)), np.array(quarters(expected))
    assert np.abs(got - wanted).max() <= tolerance, (got, wanted)
