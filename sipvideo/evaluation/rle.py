"""Compressed RLE, COCO's text for a mask: areas, boxes, and what is damaged."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIGNED = np.array([d - 32 if d & 16 else d for d in range(32)], np.int32)
"""Value of the last digit of a number in compressed RLE."""

LARGEST = 1 << 29
"""Pixels of a picture that may be counted: six digits of compressed RLE can."""

DAMAGE = re.compile(rb"[^0-o]|[P-o]{6}|[P-o]$")
"""Never in compressed RLE: a byte that is no digit, a number of more than six digits, one that does not end."""


def mask_areas(rles: list[Json]) -> Ints:
    """Pixels of compressed RLEs, int64 [N]."""
    # pycocotools 2.0.11 with numpy 2 cannot answer for more than 255 masks at once, nor give more than 63 boxes.
    parts: list[Ints] = [coco_mask.area(rles[k : k + 255]) for k in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def mask_boxes(rles: list[Json]) -> Floats:
    """Tight boxes of compressed RLEs, float64 [N, 4], pixels, x, y, width, height."""
    parts: list[Floats] = [coco_mask.toBbox(rles[k : k + 63]) for k in range(0, len(rles), 63)]
    return np.concatenate([np.zeros((0, 4)), *parts])


def mask_sizes(rles: list[Json]) -> Ints:
    """Height and width of each mask, or, where all are equal, of one: int64 [N or 1, 2]."""
    sizes = [rle["size"] for rle in rles]
    same = bool(sizes) and sizes.count(sizes[0]) == len(sizes)
    return np.array(sizes[:1] if same else sizes, np.int64).reshape(-1, 2)


def check_masks(rles: list[Json], where: Callable[[int], str]) -> None:
    """Refuses what is no compressed RLE, and masks whose runs do not fill their frame.

    Args:
        rles: N masks, none empty.
        where: what errors call each.

    Raises:
        DatasetError: the first such mask.
    """
    texts = _counts(rles, where)
    totals = _totals(texts, where)
    sizes = np.broadcast_to(mask_sizes(rles), (len(rles), 2))
    pixels = sizes.prod(1)
    wrong = (totals != pixels) | (pixels >= LARGEST) | (pixels <= 0)
    if wrong.any():
        k = int(np.argmax(wrong))
        raise DatasetError(
            f"{where(k)}: damaged mask: its runs cover {totals[k]} pixels,"
            f" its frame of {sizes[k, 0]} x {sizes[k, 1]} has {pixels[k]}"
        )


def _counts(rles: list[Json], where: Callable[[int], str]) -> list[bytes]:
    """The compressed runs of each mask."""
    try:
        return _texts(rles)
    except (KeyError, TypeError, ValueError):
        k, what = next((k, what) for k, rle in enumerate(rles) if (what := _fault(rle)))
        raise DatasetError(f"{where(k)}: malformed mask: {what}") from None


def _fault(rle: Json) -> str:
    """What keeps one mask from being read, if anything does."""
    try:
        _texts([rle])
    except (KeyError, TypeError, ValueError) as error:
        return f"key {error} is missing" if isinstance(error, KeyError) else str(error)
    return ""


def _texts(rles: list[Json]) -> list[bytes]:
    if not all(isinstance(rle, dict) for rle in rles):
        raise ValueError("expected a compressed RLE")
    texts = [rle["counts"] for rle in rles]
    texts = [text.encode("ascii") if type(text) is str else text for text in texts]
    if not all(texts) or not {*map(type, texts)} <= {bytes}:
        raise ValueError("expected a compressed RLE")
    sizes = [rle["size"] for rle in rles]
    if not all(
        isinstance(size, list | tuple) and len(size) == 2 and {*map(type, size)} <= {int}
        for size in sizes
    ):
        raise ValueError(f"expected size = height, width, got {sizes[0]!r:.60}")
    return texts


def _totals(texts: list[bytes], where: Callable[[int], str]) -> Ints:
    """The sum of each mask's runs, int64 [N], all masks at once.

    COCO writes each run as digits of five bits, the lowest first, bit 5 set on all but the last, the highest bit of
    the last its sign; from the fourth run on, what is written is the difference to the run before the previous.
    """
    if not texts:
        return np.zeros(0, np.int64)
    digits = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)
    lengths = np.array([len(text) for text in texts])
    stops = np.cumsum(lengths)
    last = digits < 32
    low = np.flatnonzero(~last)
    # The run that each lower digit belongs to, and its place in it: most runs have one digit, their last.
    run = low - np.arange(len(low))
    highest = np.append(run[1:] != run[:-1], np.ones(min(1, len(run)), bool))
    count = np.diff(np.flatnonzero(highest), prepend=-1)
    place = np.arange(len(low)) - np.repeat(np.cumsum(count) - count, count)
    if digits.max() >= 64 or place.max(initial=0) > 4 or not last[stops - 1].all():
        k = next(k for k, text in enumerate(texts) if DAMAGE.search(text))
        raise DatasetError(f"{where(k)}: malformed mask: its counts are no compressed RLE")
    values = SIGNED.take(digits[last])
    values[run[highest]] <<= (5 * (place[highest] + 1)).astype(np.int32)
    np.add.at(values, run, (digits[low].astype(np.int32) & 31) << (5 * place).astype(np.int32))
    begins = stops - lengths
    offsets = begins - np.searchsorted(low, begins)
    totals, good = _summed(values, offsets)
    if not good.all():
        k = int(np.argmin(good))
        raise DatasetError(f"{where(k)}: malformed mask: its counts are no compressed RLE")
    return totals


def _summed(values: NDArray[np.int32], offsets: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """The sum of each mask's runs, and whether each of them is a number of pixels; masks begin at ``offsets``."""
    number = np.diff(offsets, append=len(values)) - 1
    first = values[offsets].astype(np.int64)
    # Behind the first run two chains of differences alternate: as two columns each is a cumulative sum.
    rows, odd = (number + 1) // 2, number & 1
    pairs = np.zeros((int(rows.sum()), 2), np.int64)
    target = np.arange(len(values) - len(offsets)) + np.repeat(np.cumsum(odd) - odd, number)
    pairs.ravel()[target] = np.delete(values, offsets)
    ends = np.cumsum(rows)
    runs = _since(pairs, ends - rows, rows)
    runs[ends[odd > 0] - 1, 1] = 0
    damaged = ((runs < 0) | (runs > LARGEST)).any(1)
    sums = np.stack((runs.sum(1), damaged))
    sums = np.concatenate((np.zeros((2, 1), np.int64), np.cumsum(sums, axis=1)), axis=1)
    total, bad = sums[:, ends] - sums[:, ends - rows]
    return first + total, (bad == 0) & (first >= 0)


def _since(pairs: Ints, begins: Ints, rows: Ints) -> Ints:
    """Cumulative sums of rows that begin anew at each mask."""
    sums = np.concatenate((np.zeros((1, 2), np.int64), np.cumsum(pairs, axis=0)))
    found: Ints = sums[1:] - np.repeat(sums[begins], rows, axis=0)
    return found
