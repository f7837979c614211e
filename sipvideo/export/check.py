"""Whether an exported model sees what the original sees: same objects, boxes, masks and identities on real frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sipvideo import boxes
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Frame, FrameResult

MARGIN = 0.1
"""Clear objects: those whose score is this much above the threshold. Others may come and go by rounding."""
SAME_BOX = 0.5
"""Box overlap from which two detections are of one object."""


@dataclass(frozen=True)
class Limits:
    """What an export of some precision must reach to be called good; shares 0..1, score differences 0..1."""

    matched: float
    score_error: float
    mask_iou: float
    least_mask_iou: float
    ids_equal: float


LIMITS = {
    "fp32": Limits(0.999, 0.001, 0.999, 0.97, 1.0),
    "fp16": Limits(0.99, 0.01, 0.99, 0.9, 0.99),
    "int8": Limits(0.9, 0.05, 0.9, 0.0, 0.95),
}
"""By precision. The worst mask of a quantised network is told, but decides nothing: it may be of a few pixels."""


@dataclass
class Agreement:
    """Two models' results on the same frames, compared.

    Attributes:
        frames: how many.
        objects: clear ones of both models.
        matched: of those that the other model sees too, at the same place and of the same class.
        box_errors: largest difference of a side per matched pair, frame pixels.
        score_errors: absolute, per matched pair.
        mask_ious: per matched pair.
        ids: pairs of identities of matched objects -> how often; -1 is left out.
    """

    frames: int = 0
    objects: int = 0
    matched: int = 0
    box_errors: list[float] = field(default_factory=list)
    score_errors: list[float] = field(default_factory=list)
    mask_ious: list[float] = field(default_factory=list)
    ids: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, original: FrameResult, exported: FrameResult, clear: float) -> None:
        """One more frame; ``clear`` is the score from which an object must be seen by both."""
        a, b = original.detections, exported.detections
        rows, columns = _pairs(original, exported)
        self.frames += 1
        for detections, found in ((a, rows), (b, columns)):
            wanted = np.flatnonzero(detections.scores >= clear)
            self.objects += len(wanted)
            self.matched += len(np.intersect1d(wanted, found))
        if not len(rows):
            return
        clearly = (a.scores[rows] >= clear) | (b.scores[columns] >= clear)
        rows, columns = rows[clearly], columns[clearly]
        ious = a.masks[rows].iou(b.masks[columns]).diagonal()
        self.box_errors += np.abs(a.boxes[rows] - b.boxes[columns]).max(1).tolist()
        self.score_errors += np.abs(a.scores[rows] - b.scores[columns]).tolist()
        self.mask_ious += ious.tolist()
        pairs = zip(
            original.track_ids[rows].tolist(), exported.track_ids[columns].tolist(), strict=True
        )
        self.ids.update((one, other) for one, other in pairs if one >= 0 and other >= 0)

    def figures(self) -> dict[str, float]:
        """The comparison as numbers; without any object all shares are 1."""
        return {
            "frames": self.frames,
            "objects": self.objects,
            "matched": self.matched / self.objects if self.objects else 1.0,
            "box_error_pixels": _mean(self.box_errors, 0.0),
            "box_error_pixels_max": max(self.box_errors, default=0.0),
            "score_error": _mean(self.score_errors, 0.0),
            "mask_iou": _mean(self.mask_ious, 1.0),
            "mask_iou_min": min(self.mask_ious, default=1.0),
            "ids_equal": self.ids_equal(),
        }

    def ids_equal(self) -> float:
        """Share of matched objects whose identities correspond, one to one, in the whole video.

        Numbers themselves may differ: an uncertain object that is seen a frame later moves all numbers after it.
        """
        taken_a: set[int] = set()
        taken_b: set[int] = set()
        same = 0
        for (a, b), count in self.ids.most_common():
            if a not in taken_a and b not in taken_b:
                same += count
                taken_a.add(a)
                taken_b.add(b)
        return same / self.ids.total() if self.ids else 1.0

    def faults(self, limits: Limits) -> list[str]:
        """What is worse than allowed, one line each; empty: a good export."""
        figures = self.figures()
        lines = []
        if not self.objects:
            lines.append(
                "no clear object in the frames: take a video with objects that the model knows"
            )
        for name, least in (
            ("matched", limits.matched),
            ("mask_iou", limits.mask_iou),
            ("mask_iou_min", limits.least_mask_iou),
            ("ids_equal", limits.ids_equal),
        ):
            if not figures[name] >= least:
                lines.append(f"{name} {figures[name]:.4f} is below {least}")
        if not figures["score_error"] <= limits.score_error:
            lines.append(f"score_error {figures['score_error']:.4f} is above {limits.score_error}")
        return lines

    def table(self, limits: Limits) -> str:
        """The comparison for people, with what was allowed."""
        figures, bound = self.figures(), asdict(limits)
        rows = [
            ("frames, clear objects", f"{self.frames}, {self.objects}", ""),
            ("objects seen by both", f"{figures['matched']:.2%}", f">= {bound['matched']:.1%}"),
            (
                "box error, mean and largest",
                f"{figures['box_error_pixels']:.2f} px, {figures['box_error_pixels_max']:.1f} px",
                "",
            ),
            ("score error, mean", f"{figures['score_error']:.4f}", f"<= {bound['score_error']}"),
            ("mask IoU, mean", f"{figures['mask_iou']:.4f}", f">= {bound['mask_iou']}"),
            ("mask IoU, least", f"{figures['mask_iou_min']:.4f}", f">= {bound['least_mask_iou']}"),
            ("same identities", f"{figures['ids_equal']:.2%}", f">= {bound['ids_equal']:.1%}"),
        ]
        return "\n".join(f"{name:<29}{value:<22}{limit}".rstrip() for name, value, limit in rows)


def compare(
    original: VideoSegmenter,
    exported: VideoSegmenter,
    frames: Iterable[Frame],
    clear: float,
    done: Callable[[], None] = lambda: None,
) -> Agreement:
    """Runs both, each with its tracker.

    Args:
        original: in PyTorch.
        exported: the same model as exported.
        frames: of one video.
        clear: score from which an object must be seen by both.
        done: called after each frame.
    """
    original.reset()
    exported.reset()
    agreement = Agreement()
    for frame in frames:
        agreement.add(original.step(frame), exported.step(frame), clear)
        done()
    return agreement


def _pairs(
    original: FrameResult, exported: FrameResult
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of detections of one object in both: the assignment of largest overlap within classes."""
    a, b = original.detections, exported.detections
    overlap = boxes.iou(a.boxes, b.boxes)
    overlap = np.where(a.labels[:, None] == b.labels[None], overlap, 0)
    rows, columns = linear_sum_assignment(-overlap)
    same = overlap[rows, columns] >= SAME_BOX
    return rows[same], columns[same]


def _mean(values: list[float], otherwise: float) -> float:
    return float(np.mean(values)) if values else otherwise
