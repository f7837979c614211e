"""Overlapping masks made exclusive, for formats in which a pixel belongs to one object."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sipvideo.exchange.collection import Film, Track, dense


class Exclusive:
    """Gives each pixel to one object: to the one with the higher score, among equals to the smaller one.

    Attributes:
        lost: pixels of objects that were given to others.
        pixels: of all objects.
        boxes: objects without a mask, which are left out.
        gone: objects of which nothing was left in a frame.
    """

    def __init__(self) -> None:
        self.lost = self.pixels = self.boxes = self.gone = 0

    def masks(self, film: Film, frame: int) -> Iterator[tuple[Track, NDArray[np.bool_]]]:
        """The objects of a frame with what is left of their masks, bool [H, W]."""
        found: list[tuple[float, int, int, Track, NDArray[np.bool_]]] = []
        for track, shape in film.objects(frame):
            if shape.segmentation is None:
                self.boxes += 1
                continue
            mask = dense(shape.segmentation, film.size)
            found.append((-(shape.score or 0.0), int(mask.sum()), len(found), track, mask))
        taken = np.zeros(film.size, bool)
        for _, area, _, track, mask in sorted(found, key=lambda one: one[:3]):
            left = mask & ~taken
            taken |= mask
            self.pixels += area
            self.lost += area - int(left.sum())
            if left.any():
                yield track, left
            else:
                self.gone += 1

    @property
    def notes(self) -> list[str]:
        """What is lost."""
        notes = []
        if self.lost:
            share = 100 * self.lost / self.pixels
            notes.append(
                f"{self.lost} of {self.pixels} pixels ({share:.2f} %) lie on two objects, and are given to one"
                + (f"; {self.gone} masks vanish under others" if self.gone else "")
            )
        if self.boxes:
            notes.append(f"{self.boxes} boxes without a mask are left out")
        return notes
