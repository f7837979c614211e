"""From affinities to pairs: one detection per track, one track per detection."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from sipvideo.structures import FloatArray, IntArray


def assign(affinity: FloatArray, needed: FloatArray) -> tuple[IntArray, IntArray]:
    """Rows and columns [P] of the pairs that together exceed what they need by most; each of them does alone.

    Args:
        affinity: float32 [N, M], the higher the better; ``-inf`` forbids a pair.
        needed: float32 [N], what a pair's affinity must exceed, by its row.
    """
    gain = np.maximum(affinity - needed[:, None], 0)
    rows, columns = (gain > 0).nonzero()
    if len(rows) == len(set(rows.tolist())) == len(set(columns.tolist())):
        return rows, columns  # nobody competes
    rows, columns = linear_sum_assignment(gain, maximize=True)
    paired = gain[rows, columns] > 0
    return rows[paired], columns[paired]
