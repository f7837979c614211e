"""What was decided about the detections of one frame."""

from __future__ import annotations

from dataclasses import dataclass

from sipvideo.masks import BoolArray
from sipvideo.structures import FloatArray, IntArray
from sipvideo.tracker.similarity import Cues


@dataclass(frozen=True, eq=False)
class Match:
    """The decision, and what it was made from.

    Attributes:
        columns: int64 [N], the track that each detection goes on with, by place in ``Tracker.tracks``; -1: none.
        confident: bool [N], detections that may begin an identity.
        needed: float32 [N], what the affinity of each detection and its track must exceed.
        cues: of all pairs; None where there were no pairs.
        parted: detections and tracks that were chosen by place, but the detection looks clearly more like somebody who
            left: it is a newcomer.
    """

    columns: IntArray
    confident: BoolArray
    needed: FloatArray
    cues: Cues | None = None
    parted: frozenset[tuple[int, int]] = frozenset()
