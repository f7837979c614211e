"""Masks of annotation files: polygons and run lengths, looked at before native code gets them.

pycocotools believes what it is given. A coordinate that is no number or lies far outside makes it write where it must
not or ask for all memory, and runs that do not fill their frame are filled up with what lies in memory.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from sipvideo.annotations.fields import MAX_PIXELS, Json, Size, number, reach, shown, whole

MAX_OUTLINE = 4_000_000
"""Pixels that the outline of one polygon may be long; rasterising needs some eighty bytes for each."""


def to_rle(segmentation: Any, size: Size) -> Json:
    """A mask of (height, width) as compressed RLE.

    Args:
        segmentation: anything that :func:`read_segmentation` reads.
        size: of the picture.

    Raises:
        ValueError: it is malformed; the message says how.
    """
    found = read_segmentation(segmentation, size)
    if isinstance(found, list):
        parts = coco_mask.frPyObjects(found, *size)
        rle: Json = coco_mask.merge(parts)
        return rle
    if isinstance(found["counts"], list):
        rle = coco_mask.frPyObjects(found, *size)
        return rle
    return found


def read_segmentation(segmentation: Any, size: Size) -> list[list[float]] | Json:
    """A mask in one of the three published forms, checked so that native code may have it.

    Args:
        segmentation: polygons, a run length encoding with a list of counts or compressed counts, or any of these as
            JSON text. One polygon without its list, points as pairs, and numbers written as text are understood too.
        size: (height, width) of the picture.

    Returns:
        Polygons x, y, x, y... with three or more points; or ``{"size", "counts"}`` with a list of whole numbers
        or a text. What needed no change is the object given.

    Raises:
        ValueError: it is malformed; the message says how.
    """
    if size[0] * size[1] >= MAX_PIXELS:
        raise ValueError(f"a picture of {size[1]} x {size[0]} is too large for masks")
    if isinstance(segmentation, str):
        try:
            segmentation = json.loads(segmentation)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
    if isinstance(segmentation, list | tuple):
        if not segmentation:
            raise ValueError("expected a polygon or an RLE, got an empty list")
        return _polygons(segmentation, size)
    if not isinstance(segmentation, dict):
        raise ValueError(f"expected polygons or an RLE, got {shown(segmentation)}")
    return _rle(segmentation, size)


def _polygons(values: Any, size: Size) -> list[list[float]]:
    if not isinstance(values[0], list | tuple):
        values = [values]  # one polygon without the list around it
    elif all(_is_point(point) for point in values):
        values = [[side for point in values for side in point]]
    found, changed = [], not isinstance(values, list)
    for k, value in enumerate(values):
        try:
            polygon = _polygon(value, size)
        except ValueError as error:
            raise ValueError(f"polygon {k}: {error}" if len(values) > 1 else str(error)) from error
        changed = changed or polygon is not value
        found.append(polygon)
    return found if changed else values


def _is_point(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and not isinstance(value[0], list)


def _polygon(values: Any, size: Size) -> list[float]:
    found = _coordinates(values)
    x, y = found[0::2], found[1::2]
    low, right, bottom = reach(size)
    inside = min(x) >= low and max(x) <= right and min(y) >= low and max(y) <= bottom
    # Comparisons with NaN are false wherever it stands, but min and max may pass over it; a sum may not.
    if not inside or sum(found) != sum(found):
        _tell_outside(x, y, size)
    if 4 * max(size) * len(x) > MAX_OUTLINE:
        _check_outline(x, y)
    return found


def _coordinates(values: Any) -> list[float]:
    """x, y, x, y... of three or more points; the very same list where nothing had to be changed."""
    if not isinstance(values, list | tuple):
        raise ValueError(f"expected a list of coordinates, got {shown(values)}")
    if values and isinstance(values[0], list | tuple):
        if len(values) == 1:
            values = values[0]
        elif all(map(_is_point, values)):
            values = [side for point in values for side in point]
    if type(values) is not list or not {*map(type, values)} <= {int, float}:
        values = [number(value) for value in values]
    if len(values) < 6 or len(values) % 2:
        raise ValueError("a polygon needs three or more x, y pairs")
    found: list[float] = values
    return found


def _tell_outside(x: list[float], y: list[float], size: Size) -> None:
    low, right, bottom = reach(size)
    for a, b in zip(x, y, strict=True):
        number(a)
        number(b)
        if not (low <= a <= right and low <= b <= bottom):
            what = f"the point {a:g}, {b:g} is far outside of the picture, {size[1]} x {size[0]}"
            raise ValueError(what)


def _check_outline(x: list[float], y: list[float]) -> None:
    steps = np.maximum(*(np.abs(np.diff(v, append=v[:1])) for v in (np.array(x), np.array(y))))
    if steps.sum() + len(x) > MAX_OUTLINE:
        raise ValueError(f"its outline is {steps.sum():.3g} pixels long: no object's is")


def _rle(segmentation: Json, size: Size) -> Json:
    for key in ("size", "counts"):
        if key not in segmentation:
            raise ValueError(f"key {key!r} is missing")
    stated, counts = segmentation["size"], segmentation["counts"]
    if not isinstance(stated, list | tuple) or len(stated) != 2:
        raise ValueError(f"size: expected height, width, got {shown(stated)}")
    if type(stated) is not list or {*map(type, stated)} != {int}:
        stated = [whole(side) for side in stated]
    if stated != list(size):
        raise ValueError(f"expected a mask of {list(size)}, got {stated}")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    if isinstance(counts, list | tuple):
        if type(counts) is not list or not {*map(type, counts)} <= {int}:
            counts = [whole(count) for count in counts]
        total = sum(counts) if counts and min(counts) >= 0 else -1
    elif isinstance(counts, str):
        total = run_lengths(counts)
    else:
        raise ValueError("counts must be a list or a text")
    if total != size[0] * size[1]:
        raise ValueError("the RLE's counts do not add up to the picture")
    if counts is segmentation["counts"] and stated is segmentation["size"]:
        return segmentation
    return {"size": list(stated), "counts": counts}


def run_lengths(counts: str) -> int:
    """Sum of the runs of a compressed RLE.

    A run is written in characters of five bits each, low ones first, the sixth saying that more follow; from the
    third run on it is the difference to the run before the last.

    Raises:
        ValueError: the text is no RLE.
    """
    if not counts.isascii():
        raise ValueError("the text is no compressed RLE")
    letters = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        raise ValueError("the text is no compressed RLE")
    last = np.flatnonzero(~letters & 32)
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() > 6:
        raise ValueError("the text is no compressed RLE")
    shift = 5 * (np.arange(len(letters)) - np.repeat(first, last - first + 1))
    runs = np.add.reduceat((letters & 31) << shift, first)
    runs -= np.where(letters[last] & 16, np.int64(1) << (shift[last] + 5), 0)
    # Runs 1, 3, 5... and 2, 4, 6... are sums of their own; the first run stands apart.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("the text is no compressed RLE")
    return int(runs.sum())
