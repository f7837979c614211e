"""Zones and lines, with what they count, in a picture for people."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.draw import Colour, colour_of, draw_tags
from sipvideo.events.watch import EventWatch

Picture = NDArray[np.uint8]
INK = 0.16
"""Share of a zone's colour in its area."""


def draw_places(picture: Picture, watch: EventWatch) -> None:
    """Draws the zones and lines of a watch, with their counts of now, into an RGB picture uint8 [H, W, 3]."""
    height, width = picture.shape[:2]
    line = max(1, round(min(height, width) / 300))
    texts: list[str] = []
    places: list[tuple[float, float]] = []
    colours: list[Colour] = []
    counts = watch.counts()
    zones, lines = counts.zones, counts.lines
    for number, (name, zone) in enumerate(counts.rules.zones.items()):
        corners = np.rint(np.array(zone.polygon) * (width, height)).astype(np.int32)
        colour = colour_of(3 * number + 1)
        _wash(picture, corners, colour)
        cv2.polylines(picture, [corners], True, colour, line, cv2.LINE_AA)
        inside = sum(zones[name].inside.values())
        texts.append(f"{name}: {inside} in, {sum(zones[name].visits.values())} came")
        places.append((float(corners[:, 0].mean()), float(corners[:, 1].min())))
        colours.append(colour)
    for number, (name, rule) in enumerate(counts.rules.lines.items()):
        ends = np.array((rule.begin, rule.end)) * (width, height)
        colour = colour_of(3 * number + 2)
        _arrowed(picture, ends, colour, line)
        crossed = {word: sum(by.values()) for word, by in lines[name].crossed.items()}
        texts.append(f"{name}: " + ", ".join(f"{count} {word}" for word, count in crossed.items()))
        places.append((float(ends[:, 0].mean()), float(ends[:, 1].min())))
        colours.append(colour)
    if texts:
        draw_tags(picture, [_ascii(text) for text in texts], _points(places), colours, 1.0)


def _wash(picture: Picture, corners: NDArray[np.int32], colour: Colour) -> None:
    """A light tint, in the zone's own rectangle alone."""
    height, width = picture.shape[:2]
    x0, y0 = np.maximum(corners.min(0), 0).tolist()
    x1, y1 = np.minimum(corners.max(0) + 1, (width, height)).tolist()
    region = picture[y0:y1, x0:x1]
    inside = np.zeros(region.shape[:2], np.uint8)
    cv2.fillPoly(inside, [corners - (x0, y0)], 1)
    tinted = cv2.addWeighted(region, 1 - INK, np.full_like(region, colour), INK, 0)
    cv2.copyTo(tinted, inside, region)


def _arrowed(picture: Picture, ends: NDArray[np.float64], colour: Colour, line: int) -> None:
    """The line, and from its middle an arrow to where the first direction leads: to its right."""
    (x0, y0), (x1, y1) = np.rint(ends).astype(int).tolist()
    cv2.line(picture, (x0, y0), (x1, y1), colour, 2 * line, cv2.LINE_AA)
    along = ends[1] - ends[0]
    across = np.array((-along[1], along[0])) / max(float(np.hypot(*along)), 1e-9)
    middle = ends.mean(0)
    tip = middle + across * 12 * line
    begin, end = np.rint((middle, tip)).astype(int).tolist()
    cv2.arrowedLine(picture, begin, end, colour, line, cv2.LINE_AA, tipLength=0.4)


def _points(places: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Boxes without a size, which tags are put beside."""
    return np.array([(x, y, x, y) for x, y in places], np.float32).reshape(-1, 4)


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode("ascii")
