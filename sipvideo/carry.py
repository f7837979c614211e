"""Objects carried from one frame to the next by the motion of the picture inside them, without a detector.

Points inside every mask are followed by sparse optical flow on a small grey picture; what most of them did, a shift
and a change of size, is what the object did. Carrying finds nothing new and does not notice what goes behind
something else: it bridges a few frames between two looks of a detector.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.cuts import scene_changed
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, Frame, IntArray

SIDE = 384
"""Long side of the small picture, pixels."""
POINTS = 20
"""Followed in each object at most."""
SURVIVORS = 0.4
"""Least share of an object's points that must be found again."""
RETURN_ERROR = 1.0
"""Pixels of the small picture by which a point followed forth and back may miss itself."""
INSIDE = 0.2
"""Least share of a mask that must still be in the picture."""
STEP = {"winSize": (15, 15), "maxLevel": 3}

Points = NDArray[np.float32]
"""float32 [P, 2], x, y in pixels of the small picture."""


class Carrier:
    """Moves the objects of the last detected frame along with the picture."""

    def __init__(self) -> None:
        self._key: tuple[Frame, Detections] | None = None
        self._grey: NDArray[np.uint8] | None = None
        self._time, self._scale = 0.0, 1.0

    def begin(self, frame: Frame, detections: Detections) -> None:
        """What a detector found in the frame at hand: the frames that follow are carried from here."""
        self._key = (frame, detections)
        self._grey = None

    def carry(self, frame: Frame) -> tuple[Detections, IntArray] | None:
        """The objects in the next frame, and which rows of those given to :meth:`begin` they are.

        Scores, classes and embeddings stay as detected. Objects whose motion is unclear, and those that left the
        picture, are missing.

        Returns:
            None where nothing can be carried: there was no frame before, it had another size, or the scene has
            changed since. Then the frame must be detected.
        """
        if self._key is None or self._key[0].size != frame.size:
            return None
        first, detections = self._key
        if self._grey is None:
            self._start(first, detections)
        grey = self._small(frame)
        assert self._grey is not None
        if scene_changed(self._grey, grey, frame.timestamp - self._time):
            self._key = None
            return None
        self._follow(grey)
        self._time = frame.timestamp
        return self._moved(detections)

    def _start(self, frame: Frame, detections: Detections) -> None:
        """Chooses points inside every mask; those that leave an object are later struck off."""
        self._scale = min(1.0, SIDE / max(frame.size))
        self._grey, self._time = self._small(frame), frame.timestamp
        chosen = [
            _points(self._grey, mask, window, self._scale)
            for mask, window in zip(detections.masks, detections.masks.windows, strict=True)
        ]
        self._owner = np.repeat(np.arange(len(chosen)), [len(points) for points in chosen])
        self._first = self._now = np.concatenate([np.zeros((0, 2), np.float32), *chosen])
        self._wanted = np.bincount(self._owner, minlength=len(chosen)) * SURVIVORS

    def _small(self, frame: Frame) -> NDArray[np.uint8]:
        height, width = (max(1, round(side * self._scale)) for side in frame.size)
        grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def _follow(self, grey: NDArray[np.uint8]) -> None:
        """Moves all points on; those that do not find back to where they were are lost."""
        assert self._grey is not None
        if len(self._now):
            there, found, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._now, None, **STEP)  # type: ignore[call-overload]
            back, returned, _ = cv2.calcOpticalFlowPyrLK(grey, self._grey, there, None, **STEP)  # type: ignore[call-overload]
            miss = np.hypot(*(back - self._now).T)
            kept = (found[:, 0] > 0) & (returned[:, 0] > 0) & (miss < RETURN_ERROR)
            self._owner, self._first, self._now = self._owner[kept], self._first[kept], there[kept]
        self._grey = grey

    def _moved(self, detections: Detections) -> tuple[Detections, IntArray]:
        rows, crops, origins, boxes = [], [], [], []
        height, width = detections.masks.frame_size
        for k in range(len(detections)):
            mine = self._owner == k
            if mine.sum() < max(self._wanted[k], 1):
                continue
            size, shift = _motion(self._first[mine], self._now[mine])
            shift = shift / self._scale
            crop, origin = _placed(
                detections.masks.crop(k), detections.masks.windows[k], size, shift
            )
            x, y = origin
            inside = crop[max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)].sum()
            if inside <= INSIDE * crop.sum():
                continue
            rows.append(k)
            crops.append(crop)
            origins.append(origin)
            boxes.append(detections.boxes[k] * size + np.tile(shift, 2))
        index = np.array(rows, np.int64)
        limits = np.array([width, height, width, height], np.float32)
        moved = replace(
            detections[index],
            boxes=np.array(boxes, np.float32).reshape(-1, 4).clip(0, limits),
            masks=CompactMasks.from_crops(crops, origins, (height, width)),
        )
        return moved, index


def _points(
    grey: NDArray[np.uint8], mask: BoolArray, window: NDArray[np.int32], scale: float
) -> Points:
    """Up to ``POINTS`` places inside a mask whose surroundings can be found again."""
    if not mask.any():
        return np.zeros((0, 2), np.float32)
    x0, y0 = (int(v * scale) for v in window[:2])
    width = min(max(1, round(mask.shape[1] * scale)), grey.shape[1] - x0)
    height = min(max(1, round(mask.shape[0] * scale)), grey.shape[0] - y0)
    if width < 1 or height < 1:
        return np.zeros((0, 2), np.float32)
    small = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_AREA)
    # Away from the border, where half of what a point sees is background.
    inner = cv2.erode(small, np.ones((3, 3), np.uint8), borderValue=0)
    region = inner if cv2.countNonZero(inner) >= POINTS else small
    apart = max(2.0, float(np.sqrt(cv2.countNonZero(region) / POINTS)) * 0.7)
    corners = cv2.goodFeaturesToTrack(
        np.ascontiguousarray(grey[y0 : y0 + height, x0 : x0 + width]),
        POINTS,
        0.01,
        apart,
        mask=region,
    )
    places = [] if corners is None else corners.reshape(-1, 2) + np.array([x0, y0])
    return np.array(places, np.float32).reshape(-1, 2)


def _motion(before: Points, after: Points) -> tuple[float, Points]:
    """What most points did: after = size * before + shift, by medians. One or two points tell no size."""
    size = 1.0
    if len(before) >= 4:
        i, j = np.triu_indices(len(before), 1)
        was, now = (np.hypot(*(points[i] - points[j]).T) for points in (before, after))
        far = np.argsort(was)[len(was) // 2 :]
        size = min(max(float(_median(now[far] / np.maximum(was[far], 1e-3))), 0.5), 2.0)
    return size, _median(after - size * before)


def _median(values: Points) -> Points:
    """Along the first axis; numpy's own takes ten times as long for so few."""
    ordered = np.sort(values, axis=0)
    return np.asarray((ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2)


def _placed(
    mask: BoolArray, window: NDArray[np.int32], size: float, shift: Points
) -> tuple[BoolArray, tuple[int, int]]:
    """A mask's crop at its new size, and where its top left corner goes (x, y)."""
    x0, y0, x1, y1 = window * size + np.tile(shift, 2)
    left, top = round(x0), round(y0)
    width, height = max(1, round(x1 - left)), max(1, round(y1 - top))
    if (height, width) != mask.shape:
        resized = cv2.resize(
            mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        mask = resized.astype(bool)
    return mask, (left, top)
