"""People made unrecognisable before anything else sees the picture.

A veil stands between detection and everything that shows, saves or sends a picture, so that what it covers reaches
no disk, no page and no network. It covers more than the masks: a margin around them, where objects were in the last
moments (a detector misses somebody for a frame, an outline trembles), and doubtful objects too, which others never see.
A person that the model does not see at all stays visible: that is told wherever the veil is offered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.config import VeilConfig
from sipvideo.masks import BoolArray
from sipvideo.structures import Detections, Frame

CELLS = 6
"""Cells across an object of average shape, and across the frame where all of it is covered: nobody is known by six."""
WHOLE_CELLS = 24
SMALLEST_CELL = 4
SCALE = 4
"""The cover is reckoned on a grid of so many pixels: margins are large, and 4K stays affordable."""


class Veil:
    """Covers the frames of one video, in their order.

    Args:
        settings: how generously.
        labels: classes that are covered.
        report: score from which others may see an object; those below are only covered.
        shown: classes that others may see; None: all.
    """

    def __init__(
        self,
        settings: VeilConfig,
        labels: frozenset[int],
        report: float,
        shown: frozenset[int] | None = None,
    ) -> None:
        self.settings, self.labels, self.report, self.shown = settings, labels, report, shown
        self.reset()

    def another(self) -> Veil:
        """The same for another video."""
        return Veil(self.settings, self.labels, self.report, self.shown)

    def reset(self) -> None:
        """Forgets where objects were: a new video begins."""
        self._places: deque[tuple[float, BoolArray]] = deque()
        self._size = (0, 0)

    def state(self) -> dict[str, Any]:
        """All that is carried from frame to frame: when and where somebody was, on the coarse grid. No picture."""
        times, cells = zip(*self._places, strict=True) if self._places else ((), ())
        return {"size": list(self._size), "times": list(times), "cells": np.array(cells, bool)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where another veil with the same settings was. Raises LookupError, TypeError, ValueError."""
        height, width = state["size"]
        places = zip(state["times"], state["cells"], strict=True)
        self._size, self._places = (height, width), deque(places)

    def __call__(self, frame: Frame, detections: Detections) -> tuple[Frame, Detections]:
        """The frame with a covered picture, and the detections that others may see.

        Args:
            frame: the next one; its picture is not touched.
            detections: all that was found in it, doubtful objects too.
        """
        image = frame.image
        if self.settings.everything:
            covered = self._cover(image, WHOLE_CELLS)
        else:
            covered = image.copy()
            self._paint(covered, image, self.hidden(frame, detections).view(np.uint8))
        reported = detections.scores >= self.report
        if self.shown is not None:
            reported &= np.isin(detections.labels, sorted(self.shown))
        return replace(frame, image=covered), detections[reported]

    def hidden(self, frame: Frame, detections: Detections) -> BoolArray:
        """The pixels to cover, now and from a moment ago, bool [H, W]; once per frame."""
        now, size = frame.timestamp, frame.size
        if size != self._size or (self._places and now < self._places[-1][0]):
            self.reset()
            self._size = size
        while self._places and now - self._places[0][0] > self.settings.seconds:
            self._places.popleft()
        here = np.zeros([-(-side // SCALE) for side in size], np.uint8)
        masks = detections.masks
        for k, label in enumerate(detections.labels.tolist()):
            if label in self.labels:
                margin = self.settings.margin * masks.area(k) ** 0.5
                _add_grown(here, masks.crop(k), masks.windows[k].tolist(), margin)
        current = here.astype(bool)
        cells = current.copy()
        for _, before in self._places:
            cells |= before
        self._places.append((now, current))
        return cells.repeat(SCALE, 0).repeat(SCALE, 1)[: size[0], : size[1]]

    def _paint(
        self, target: NDArray[np.uint8], image: NDArray[np.uint8], hidden: NDArray[np.uint8]
    ) -> None:
        """Covers each connected part by itself: its cells follow its size."""
        count, _, parts, _ = cv2.connectedComponentsWithStats(hidden, connectivity=8)
        for x0, y0, width, height, _ in parts[1:count].tolist():
            region = slice(y0, y0 + height), slice(x0, x0 + width)
            cv2.copyTo(self._cover(image[region], CELLS), hidden[region], target[region])

    def _cover(self, region: NDArray[np.uint8], cells: int) -> NDArray[np.uint8]:
        if self.settings.how == "fill":
            return np.full_like(region, 128)
        height, width = region.shape[:2]
        cell = max(SMALLEST_CELL, round((height * width) ** 0.5 / cells))
        grid = max(1, round(width / cell)), max(1, round(height / cell))
        small = cv2.resize(region, grid, interpolation=cv2.INTER_AREA)
        return np.asarray(
            cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
        )


def _add_grown(cells: NDArray[np.uint8], crop: BoolArray, window: list[int], margin: float) -> None:
    """Marks the cells that a mask touches or comes near to."""
    x0, y0, x1, y1 = window
    if not crop.size:
        return
    reach = max(1, round(margin / SCALE))
    left, top = x0 // SCALE, y0 // SCALE
    right, bottom = -(-x1 // SCALE), -(-y1 // SCALE)
    # Whole cells with any pixel of the mask: it is padded to the grid first.
    padded = np.zeros(((bottom - top) * SCALE, (right - left) * SCALE), bool)
    padded[y0 - top * SCALE : y1 - top * SCALE, x0 - left * SCALE : x1 - left * SCALE] = crop
    coarse = padded.reshape(bottom - top, SCALE, right - left, SCALE).any((1, 3))
    grown = cv2.dilate(
        np.pad(coarse, reach).view(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)),
    )
    h, w = cells.shape
    a, b = max(top - reach, 0), max(left - reach, 0)
    c, d = min(bottom + reach, h), min(right + reach, w)
    cells[a:c, b:d] |= np.asarray(grown, np.uint8)[
        a - top + reach : c - top + reach, b - left + reach : d - left + reach
    ]
