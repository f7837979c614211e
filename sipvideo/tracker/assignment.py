"""From affinities to pairs: one detection per track, one track per detection."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from sipvideo.structures import FloatArray


def assign(affinity: FloatArray, threshold: float) -> Iterator[tuple[int, int]]:
    """(row, column) pairs that together exceed the threshold by most; none of them alone falls short of it.

    Args:
        affinity: float32 [N, M], the higher the better; ``-inf`` forbids a pair.
        threshold: least affinity of a pair.
    """
    gain = np.maximum(affinity - threshold, 0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    paired = gain[rows, columns] > 0
    return zip(rows[paired].tolist(), columns[paired].tolist(), strict=True)
