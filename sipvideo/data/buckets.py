"""A few input sizes for many batches: a GPU prepares its kernels anew for every size that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Size = tuple[int, int]


def choose_buckets(needs: Sequence[Size], largest: Size, count: int) -> list[Size]:
    """Sizes such that every batch fits one, and little is padded.

    One after the other, the size that spares most padding is added to the largest.

    Args:
        needs: (height, width) of a sample of batches.
        largest: what every batch fits.
        count: most sizes.

    Returns:
        The sizes by area, the largest among them.
    """
    wanted = np.array(needs)
    heights, widths = np.unique(wanted[:, 0]), np.unique(wanted[:, 1])
    candidates = np.array([(h, w) for h in heights for w in widths])
    areas = candidates.prod(1)
    fits = (candidates[:, None] >= wanted).all(2)
    # [candidates, needs]: pixels of a batch in that size.
    pixels = np.where(fits, areas[:, None], np.inf)
    chosen = [largest]
    now = np.full(len(wanted), float(largest[0] * largest[1]))
    while len(chosen) < count:
        after = np.minimum(pixels, now).sum(1)
        best = int(after.argmin())
        if after[best] >= now.sum():
            break
        chosen.append((int(candidates[best, 0]), int(candidates[best, 1])))
        now = np.minimum(pixels[best], now)
    return sorted(chosen, key=lambda size: size[0] * size[1])


def covering(buckets: Sequence[Size], need: Size) -> Size:
    """The first of the buckets that a batch fits; without buckets the size that it needs."""
    fitting = (b for b in buckets if b[0] >= need[0] and b[1] >= need[1])
    return next(fitting, need)
