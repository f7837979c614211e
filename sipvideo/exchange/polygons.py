"""Masks as polygons for the formats that want them, and what that loses, in numbers."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as coco_mask

from sipvideo.exchange.collection import Film, Shape, dense
from sipvideo.exchange.outlines import as_list, outline, outlines


class Polygons:
    """Polygons of shapes.

    Args:
        tolerance: pixels that an outline may leave the mask's.
        single: one polygon per object, its parts joined by bridges.
    """

    def __init__(self, tolerance: float, *, single: bool) -> None:
        self.tolerance, self.single = tolerance, single
        self.boxes = self.gone = self.joined = self.kept = 0
        self.overlaps: list[float] = []

    def of(self, film: Film, shape: Shape) -> list[list[float]]:
        """x, y, x, y... of each polygon; none where there is no mask or nothing of it is left."""
        found = shape.segmentation
        if found is None:
            self.boxes += 1
            return []
        if isinstance(found, list) and (len(found) == 1 or not self.single):
            self.kept += 1
            return found
        mask = dense(found, film.size)
        if not mask.any():
            self.gone += 1
            return []
        parts = outlines(mask, self.tolerance)
        if self.single and len(parts) > 1:
            self.joined += 1
            whole = outline(mask, self.tolerance)
            parts = [] if whole is None else [whole]
        polygons = [as_list(ring) for ring in parts]
        self.gone += not polygons
        if polygons:
            self.overlaps.append(_overlap(polygons, mask) if self.tolerance else 1.0)
        return polygons

    @property
    def notes(self) -> list[str]:
        """What is lost."""
        notes = []
        if self.overlaps and self.tolerance:
            mean, least = np.mean(self.overlaps), np.min(self.overlaps)
            notes.append(
                f"{len(self.overlaps)} masks became polygons within {self.tolerance:g} pixels: IoU {mean:.4f} in the"
                f" mean, {least:.4f} at least (--tolerance 0: exact, with a corner per step)"
            )
        elif self.overlaps:
            notes.append(f"{len(self.overlaps)} masks became polygons along their pixels, exactly")
        if self.joined:
            notes.append(
                f"{self.joined} masks of several parts became one polygon, joined by lines"
            )
        if self.gone:
            notes.append(f"{self.gone} masks too small for a polygon are left out")
        if self.boxes:
            notes.append(f"{self.boxes} boxes without a mask are left out")
        return notes


def _overlap(
    polygons: list[list[float]], mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> float:
    """IoU."""
    height, width = mask.shape
    again = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width)))
    again = again.astype(bool)
    return float((again & mask).sum() / max((again | mask).sum(), 1))
