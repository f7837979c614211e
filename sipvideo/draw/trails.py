"""Where the objects of one video were in the last seconds."""

from __future__ import annotations

from collections import deque

import numpy as np

from sipvideo.draw.objects import Path
from sipvideo.structures import FrameResult


class Trails:
    """Where the objects of one video were in the last seconds.

    Args:
        seconds: length of the memory.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self.seconds = seconds
        self.clear()

    def clear(self) -> None:
        """Forgets everything, for a new video."""
        self._places: dict[int, deque[tuple[float, float, float]]] = {}
        self._frame_size = (0, 0)

    def add(self, result: FrameResult) -> None:
        """One more result; also one of a video that began anew or has another size."""
        now = result.frame.timestamp
        latest = max((places[-1][0] for places in self._places.values()), default=now)
        if result.frame.size != self._frame_size or now < latest:
            self.clear()
            self._frame_size = result.frame.size
        for track_id, box in zip(result.track_ids.tolist(), result.detections.boxes, strict=True):
            if track_id >= 0:
                x0, y0, x1, y1 = box.tolist()
                place = (now, (x0 + x1) / 2, (y0 + y1) / 2)
                self._places.setdefault(track_id, deque()).append(place)
        for track_id, places in list(self._places.items()):
            while places and now - places[0][0] > self.seconds:
                places.popleft()
            if not places:
                del self._places[track_id]

    def paths(self) -> dict[int, Path]:
        """Centre of the box by identity, oldest first; of all that were seen within the memory."""
        return {
            track_id: np.array([place[1:] for place in places], np.float32)
            for track_id, places in self._places.items()
        }
