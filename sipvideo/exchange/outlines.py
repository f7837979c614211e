"""Masks as polygons, for formats that know nothing else.

Outlines run along the edges of pixels, so that COCO's rasterisation gives back the very mask. Holes, and parts where a
format takes one polygon per object, are joined to the rest by bridges: lines that are walked there and back, and so
enclose nothing.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int32]
"""Corners x, y [K, 2] of a closed outline, in pixels; the mask is on its right where y points down."""


def outlines(mask: NDArray[np.bool_], tolerance: float = 0.0) -> list[Ring]:
    """One polygon for each part of a mask, its holes joined to it.

    Args:
        mask: bool [H, W].
        tolerance: pixels that an outline may leave the mask's; fewer corners for people to drag. 0: exact.

    Returns:
        Polygons int32 [K, 2], x and y of corners of pixels; empty where the mask is, or nothing of a part was left.
    """
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    found = []
    for number in range(1, count):
        rings = [_simple(ring, tolerance) for ring in _rings(parts == number)]
        rings = [ring for ring in rings if len(ring) > 2]
        if rings:
            found.append(_bridged(rings))
    return found


def outline(mask: NDArray[np.bool_], tolerance: float = 0.0) -> Ring | None:
    """All of a mask as one polygon; arguments as :func:`outlines`, None where nothing is left."""
    parts = outlines(mask, tolerance)
    return _bridged(parts) if parts else None


def as_list(ring: Ring) -> list[float]:
    """x, y, x, y..., as COCO writes polygons."""
    return [float(value) for value in ring.reshape(-1)]


def _simple(ring: Ring, tolerance: float) -> Ring:
    if tolerance <= 0:
        return ring
    kept: Any = cv2.approxPolyDP(ring.reshape(-1, 1, 2), tolerance, closed=True)
    return np.asarray(kept, np.int32).reshape(-1, 2)


def _rings(part: NDArray[np.bool_]) -> list[Ring]:
    """The outer outline of a connected part first, then its holes'."""
    ways = _edges(part)
    rings = []
    while ways:
        start = min(ways)  # the topmost edge that is left: of the outer outline as long as that is
        corner, heading, ring = start, (0, 0), []
        while True:
            ends = ways[corner]
            # Where two pixels touch at a corner only, turning right stays at the same pixel.
            right = (corner[0] + heading[1], corner[1] - heading[0])
            end = right if right in ends else ends[0]
            ends.remove(end)
            if not ends:
                del ways[corner]
            step = (end[0] - corner[0], end[1] - corner[1])
            if step != heading:
                ring.append((corner[1], corner[0]))
            corner, heading = end, step
            if corner == start:
                break
        rings.append(np.array(ring, np.int32))
    return rings


def _edges(part: NDArray[np.bool_]) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """From each corner (y, x) the corners to which an edge of the outline leads, the mask on its right."""
    inside = np.pad(part, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(corners: NDArray[np.intp], first: tuple[int, int], last: tuple[int, int]) -> None:
        for y, x in corners.tolist():
            ways.setdefault((y + first[0], x + first[1]), []).append((y + last[0], x + last[1]))

    here = inside[1:-1, 1:-1]
    add(np.argwhere(here & ~inside[:-2, 1:-1]), (0, 0), (0, 1))
    add(np.argwhere(here & ~inside[2:, 1:-1]), (1, 1), (1, 0))
    add(np.argwhere(here & ~inside[1:-1, :-2]), (1, 0), (0, 0))
    add(np.argwhere(here & ~inside[1:-1, 2:]), (0, 1), (1, 1))
    return ways


def _bridged(rings: list[Ring]) -> Ring:
    """Several outlines as one. Bridges run along rows and columns, where rasterising there and back cancels out."""
    first, *others = rings
    if not others:
        return first
    path = [*first.tolist(), first[0].tolist()]
    x, y = path[0]
    for ring in others:
        points = ring.tolist()
        across = points[0][0]
        path += [[across, y], *points, points[0], [across, y], [x, y]]
    return np.array(path, np.int32)
