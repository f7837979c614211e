"""A mended mask carried from frame to frame, until the run's own object agrees with it again.

Three things tell where the object is in the next frame: the picture's motion carries its mask there; coefficients over
the network's maps and colours, fitted to the mended mask, know what it looks like; and the network's own masks are
asked for the one that overlaps it. The first drifts, the second mixes it up with what looks alike, the third has the
errors that were mended: together they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import FloatArray, Frame
from sipvideo.studio.reach import Seen, depth_of, values_of
from sipvideo.studio.refine import OpenFrame, Refiner
from sipvideo.studio.window import Window

SIDE = 96
"""Longer side of the window that is looked at, pixels of its own."""
FLOW_SIDE = 256
"""Longer side of the part of the picture in which motion is looked for, pixels."""
MARGIN = 0.6
"""What is looked at around the mask, as a share of its sides."""
CARRIED, LOOKS, FOUND = 1.0, 1.2, 1.0
"""Weights of the carried mask, of what the object looks like, and of the network's own mask."""
EDGE = 4.0
"""Window pixels from its edge at which a mask is sure."""
SAME = 0.5
"""Overlap from which the network's mask shows the same object."""
AGREES = 0.85
"""Overlap with the run's own object from which that is good again."""
LOST = 0.15
"""Share of the first mask's pixels below which the object is taken as hidden or gone."""


@dataclass(frozen=True)
class Step:
    """The object in one frame.

    Attributes:
        frame: its number in the run.
        masks: one mask; empty: it is not seen any more.
        agrees: the run's own object is good here: this is the last step, and nothing is to be changed in it.
    """

    frame: int
    masks: CompactMasks
    agrees: bool = False


def propagate(
    refiner: Refiner,
    begin: tuple[Frame, CompactMasks],
    rest: Iterable[tuple[int, Frame, CompactMasks | None]],
) -> Iterator[Step]:
    """Follows an object through the frames after a mended one, or before it in turn.

    Ends where the run's own object overlaps what is carried so far that it can be trusted again, where the object is
    lost, and with the frames.

    Args:
        refiner: with the studio's segmenter.
        begin: the frame that was mended, and its one mask.
        rest: the frames that follow, in the order in which they are to be gone through: number, frame, and the run's
            own mask of the object there, None where it has none.
    """
    frame, masks = begin
    followed = Followed(refiner.open(frame), masks)
    for number, frame, own in rest:
        moved = followed.to(refiner.open(frame))
        if own is not None and len(own) and float(moved.iou(own)[0, 0]) >= AGREES:
            yield Step(number, own, agrees=True)
            return
        if moved.area(0) < LOST * followed.first_area:
            yield Step(number, CompactMasks.empty(frame.size))
            return
        yield Step(number, moved)


class Followed:
    """An object in the latest frame, and what it looked like when it was mended: what was carried teaches nothing."""

    def __init__(self, opened: OpenFrame, masks: CompactMasks) -> None:
        self.first_area = masks.area(0)
        self._opened, self._mask = opened, masks.dense(0)
        window = Window.around(self._mask, (), SIDE, MARGIN)
        self._coefficients = _looks(opened.seen(window, centred=False), window.shrunk(self._mask))

    def to(self, opened: OpenFrame) -> CompactMasks:
        """The object in the next frame."""
        carried = _carried(self._opened.image, opened.image, self._mask)
        if not carried.any():
            return CompactMasks.from_dense(carried[None])
        window = Window.around(carried, (), SIDE, MARGIN)
        seen = opened.seen(window, centred=False)
        small = window.shrunk(carried)
        logits = CARRIED * _sureness(small)
        values = values_of(seen)
        looks = (values.reshape(-1, values.shape[2]) @ self._coefficients).reshape(small.shape)
        logits = logits + LOOKS * np.clip(looks, -1, 1)
        found = opened.best_detection(carried, SAME)
        if found is not None:
            logits = logits + FOUND * _sureness(window.shrunk(found))
        decided = window.pasted(carried, logits.astype(np.float32), ()).masks
        self._opened, self._mask = opened, decided.dense(0)
        return decided


def _sureness(mask: BoolArray) -> FloatArray:
    return np.asarray(np.clip(depth_of(mask) / EDGE, -1, 1), np.float32)


def _looks(seen: Seen, mask: BoolArray) -> FloatArray:
    """Coefficients float32 [K] that tell the object from what is around it."""
    values = values_of(seen).reshape(mask.size, -1)
    wanted = np.where(mask, 1.0, -1.0).reshape(-1)
    # Both sides count the same, however large the object is in its window.
    weight = np.where(mask, 1 / max(mask.sum(), 1), 1 / max((~mask).sum(), 1)).reshape(-1)
    weighted = (values * weight[:, None]).T
    spread = np.diag(weighted @ values).mean()
    ridge = 0.02 * spread * np.eye(values.shape[1])
    return np.asarray(np.linalg.solve(weighted @ values + ridge, weighted @ wanted), np.float32)


def _carried(before: NDArray[np.uint8], after: NDArray[np.uint8], mask: BoolArray) -> BoolArray:
    """A mask moved to the next picture by the motion of every pixel."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return mask
    height, width = mask.shape
    margin = MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0]) + 16
    x0, y0 = int(max(columns[0] - margin, 0)), int(max(rows[0] - margin, 0))
    x1, y1 = int(min(columns[-1] + margin, width)), int(min(rows[-1] + margin, height))
    factor = min(1.0, FLOW_SIDE / max(x1 - x0, y1 - y0))
    size = max(16, round((x1 - x0) * factor)), max(16, round((y1 - y0) * factor))
    greys = [
        cv2.resize(
            cv2.cvtColor(np.ascontiguousarray(image[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY),
            size,
            interpolation=cv2.INTER_AREA,
        )
        for image in (after, before)
    ]
    # From the new picture back: where each of its pixels was.
    motion = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = motion.calc(greys[0], greys[1], None)  # type: ignore[call-overload]
    small = cv2.resize(mask[y0:y1, x0:x1].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    where = (x + flow[..., 0]).astype(np.float32), (y + flow[..., 1]).astype(np.float32)
    moved = cv2.remap(small, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    result = np.zeros_like(mask)
    result[y0:y1, x0:x1] = cv2.resize(moved, (x1 - x0, y1 - y0)) > 0.5
    return result
