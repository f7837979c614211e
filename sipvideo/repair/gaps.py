"""Gaps of identities filled: the object's masks before and after it carried into the frames where it was missed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sipvideo.carry import Carrier
from sipvideo.masks import CompactMasks
from sipvideo.repair.changes import Change
from sipvideo.structures import Detections, FrameResult

VISIBLE = 0.5
"""Least share of a mask that must not be covered by others for the object to be taken as visible."""
BLIND_SECONDS = 0.5
"""Longest gap that is filled without pictures: beyond it more objects are hidden than missed."""
AGREE = 0.3
"""Least overlap of a mask carried across the whole gap with what was detected there."""


@dataclass(frozen=True, eq=False)
class Filling:
    """An object to be put into a frame: one row of detections."""

    track_id: int
    found: Detections


class Gaps:
    """Puts objects into the frames in which they were missed for a short while.

    Args:
        seconds: of the longest gap.
        changed: called with every gap that was filled.
        pictures: the frames have pictures: objects are carried by their motion, and those that cannot be found
            again are taken as hidden. Without pictures their place is interpolated.
    """

    def __init__(
        self, seconds: float, changed: Callable[[Change], None], *, pictures: bool = True
    ) -> None:
        self.seconds = seconds if pictures else min(seconds, BLIND_SECONDS)
        self._changed = changed
        self._pictures = pictures
        self.waiting: deque[tuple[FrameResult, list[Filling]]] = deque()
        self.coming: FrameResult | None = None
        """The frame that has come and does not wait yet."""

    def filled(self, results: Iterable[FrameResult]) -> Generator[FrameResult, None, None]:
        """Every frame, once ``seconds`` more have been seen."""
        waiting = self.waiting
        for result in results:
            now, self.coming = result.frame.timestamp, result
            while waiting and not now - waiting[0][0].frame.timestamp <= self.seconds:
                yield _with(*waiting.popleft())
            self._fill(waiting, result)
            waiting.append((result, []))
            self.coming = None
        while waiting:
            yield _with(*waiting.popleft())

    def _fill(self, waiting: deque[tuple[FrameResult, list[Filling]]], result: FrameResult) -> None:
        """Fills the gaps that end with a result."""
        last: dict[int, int] = {}
        for t, (before, _) in enumerate(waiting):
            last.update(dict.fromkeys(before.track_ids.tolist(), t))
        for track_id in result.track_ids.tolist():
            t = last.get(track_id, len(waiting))
            if track_id < 0 or t >= len(waiting) - 1:
                continue
            span = [r for r, _ in list(waiting)[t:]] + [result]
            if any(between.frame.size != result.frame.size for between in span):
                continue
            carried = self._across(span, track_id)
            times = []
            for k, found in enumerate(carried, t + 1):
                seen = found and _visible(found, waiting[k][0].detections)
                if seen:
                    waiting[k][1].append(Filling(track_id, seen))
                    times.append(waiting[k][0].frame.timestamp)
            if times:
                how = "carried by the picture's motion" if self._pictures else "interpolated"
                why = f"{len(times)} frames, {how}"
                self._changed(Change("filled", track_id, track_id, times[0], times[-1], why))

    def _across(self, span: Sequence[FrameResult], track_id: int) -> list[Detections | None]:
        """The object in every frame between the first and the last of a span."""
        if not self._pictures:
            return _interpolated(span, track_id)
        forth = _carried(span, track_id)
        back = _carried(span[::-1], track_id)[::-1]
        middle = (span[0].frame.timestamp + span[-1].frame.timestamp) / 2
        chosen = []
        for result, a, b in zip(span[1:-1], forth, back, strict=True):
            near, far = (a, b) if result.frame.timestamp <= middle else (b, a)
            chosen.append(near or far)
        return chosen


def _row(result: FrameResult, track_id: int) -> Detections:
    return result.detections[(result.track_ids == track_id).nonzero()[0]]


def _carried(span: Sequence[FrameResult], track_id: int) -> list[Detections | None]:
    """The object of the first frame in those up to the last, by the motion of the picture.

    None from where it is lost; nowhere if it does not arrive where it is known to be.
    """
    carrier = Carrier()
    carrier.begin(span[0].frame, _row(span[0], track_id))
    found: list[Detections | None] = []
    for result in span[1:]:
        moved = carrier.carry(result.frame)
        found.append(moved[0] if moved is not None and len(moved[0]) else None)
    arrived = found.pop()
    if arrived is not None and arrived.masks.iou(_row(span[-1], track_id).masks)[0, 0] < AGREE:
        return [None] * len(found)
    return found


def _interpolated(span: Sequence[FrameResult], track_id: int) -> list[Detections | None]:
    """The object's box between its two places, with the mask that is nearer in time moved there."""
    first, last = _row(span[0], track_id), _row(span[-1], track_id)
    begin, end = span[0].frame.timestamp, span[-1].frame.timestamp
    found: list[Detections | None] = []
    for result in span[1:-1]:
        share = np.float32((result.frame.timestamp - begin) / max(end - begin, 1e-9))
        boxes = first.boxes + share * (last.boxes - first.boxes)
        near = first if share <= 0.5 else last
        steps = (boxes[:, :2] + boxes[:, 2:] - near.boxes[:, :2] - near.boxes[:, 2:]) / 2
        x, y = np.rint(steps[0]).astype(int).tolist()
        x0, y0 = near.masks.windows[0, :2].tolist()
        masks = CompactMasks.from_crops(
            [near.masks.crop(0)], [(x0 + x, y0 + y)], near.masks.frame_size
        )
        found.append(replace(near, boxes=boxes, masks=masks))
    return found


def _visible(found: Detections, others: Detections) -> Detections | None:
    """The object without what others cover of it; None where little is left."""
    crop = found.masks.crop(0)
    whole = int(crop.sum())
    x0, y0, x1, y1 = found.masks.windows[0].tolist()
    for k, (a0, b0, a1, b1) in enumerate(others.masks.windows.tolist()):
        left, top, right, bottom = max(x0, a0), max(y0, b0), min(x1, a1), min(y1, b1)
        if left < right and top < bottom:
            part = others.masks.crop(k)[top - b0 : bottom - b0, left - a0 : right - a0]
            crop[top - y0 : bottom - y0, left - x0 : right - x0] &= ~part
    if not whole or crop.sum() < VISIBLE * whole:
        return None
    masks = CompactMasks.from_crops([crop], [(x0, y0)], found.masks.frame_size)
    return replace(found, masks=masks)


def _with(result: FrameResult, fillings: Sequence[Filling]) -> FrameResult:
    """The result with some objects more, by descending score."""
    if not fillings:
        return result
    parts = [result.detections, *(filling.found for filling in fillings)]
    ids = [*result.track_ids.tolist(), *(filling.track_id for filling in fillings)]
    filled = np.arange(len(ids)) >= len(result.track_ids)
    every = Detections.concatenated(parts)
    returned = result.returned
    if returned is not None:
        returned = np.append(returned, np.zeros(len(fillings), np.float32))
    whole = replace(
        result,
        detections=every,
        track_ids=np.array(ids, np.int64),
        filled=filled,
        returned=returned,
    )
    return whole.selected(np.argsort(-every.scores, kind="stable"))
