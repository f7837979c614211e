"""Tracking figures on masks: HOTA (Luiten et al., IJCV 2021), CLEAR MOT (Bernardin and Stiefelhagen, 2008) and IDF1
(Ristani et al., 2016), equal to those of TrackEval.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sipvideo.evaluation.cells import read_tracks
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.tracks import Overlaps, frame_iou
from sipvideo.evaluation.ytvos import YTVOS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""IoU thresholds over which HOTA is averaged."""

EPSILON = float(np.finfo(float).eps)


@dataclass(frozen=True)
class TrackingScores:
    """Figures of one class or all, 0..1 unless said otherwise.

    On masks ``mota`` is what is also called MOTSA, and ``smota`` sMOTSA; a match in these, in ``motp`` and in the ID
    figures is an IoU of at least 0.5. ``mota`` and ``smota`` may be negative. The last six are counts.
    """

    hota: float
    det_a: float
    ass_a: float
    loc_a: float
    idf1: float
    idp: float
    idr: float
    mota: float
    smota: float
    motp: float
    true_positives: int
    false_negatives: int
    false_positives: int
    id_switches: int
    fragmentations: int
    objects: int


@dataclass(frozen=True, eq=False)
class TrackingCounts:
    """What the figures of any set of videos and classes are computed from, by adding up.

    Attributes:
        hota: float64 [5, 19], by threshold: true positives, misses, false positives, and the sums of their IoU and
            of their association accuracy.
        clear: float64 [10]: true positives, misses, false positives, identity switches, fragmentations, sum of IoU;
            identity true positives, misses and false positives; objects.
    """

    hota: Floats
    clear: Floats

    @classmethod
    def none(cls) -> TrackingCounts:
        """Nothing seen, nothing missed."""
        return cls(np.zeros((5, len(ALPHAS))), np.zeros(10))

    def __add__(self, other: TrackingCounts) -> TrackingCounts:
        return TrackingCounts(self.hota + other.hota, self.clear + other.clear)

    def scores(self) -> TrackingScores:
        """The figures of what was counted."""
        hit, miss, wrong, overlap, association = self.hota
        det_a = hit / np.maximum(1, hit + miss + wrong)
        ass_a = association / np.maximum(1, hit)
        loc_a = np.maximum(1e-10, overlap) / np.maximum(1e-10, hit)
        tp, fn, fp, switches, fragments, iou, idtp, idfn, idfp, objects = self.clear.tolist()
        truth = max(1.0, tp + fn)
        return TrackingScores(
            hota=float(np.sqrt(det_a * ass_a).mean()),
            det_a=float(det_a.mean()),
            ass_a=float(ass_a.mean()),
            loc_a=float(loc_a.mean()),
            idf1=idtp / max(1.0, idtp + 0.5 * idfp + 0.5 * idfn),
            idp=idtp / max(1.0, idtp + idfp),
            idr=idtp / max(1.0, idtp + idfn),
            mota=(tp - fp - switches) / truth,
            smota=(iou - fp - switches) / truth,
            motp=iou / max(1.0, tp),
            true_positives=int(tp),
            false_negatives=int(fn),
            false_positives=int(fp),
            id_switches=int(switches),
            fragmentations=int(fragments),
            objects=int(objects),
        )


@dataclass(frozen=True, eq=False)
class TrackingReport:
    """Tracking figures of one run.

    Attributes:
        score_threshold: only predictions with at least this score were looked at.
        combined: all detections together.
        class_average: the mean over the classes that have objects or predictions; counts are sums.
        classes: by category id, those that have objects or predictions.
        counts: by (video id, category id), for any other selection.
    """

    score_threshold: float
    combined: TrackingScores
    class_average: TrackingScores
    classes: dict[Any, TrackingScores]
    counts: dict[tuple[Any, Any], TrackingCounts]

    def to_json(self) -> Json:
        """The figures as plain values."""
        return {
            "score_threshold": self.score_threshold,
            "combined": asdict(self.combined),
            "class_average": asdict(self.class_average),
            "classes": {str(key): asdict(scores) for key, scores in self.classes.items()},
        }


def evaluate_tracking(
    truth: YTVOS,
    found: YTVOS,
    score_threshold: float = 0.5,
    kind: str = "segm",
    video_ids: Collection[Any] | None = None,
) -> TrackingReport:
    """Scores the tracks as a tracker's output: per frame, without confidence.

    Args:
        truth: ground truth; crowds are objects like others, as in TrackEval.
        found: predictions, from ``truth.loadRes``.
        score_threshold: least score of a prediction that counts. The figures depend on it strongly.
        kind: segm or bbox.
        video_ids: videos that count; by default all.

    Raises:
        DatasetError: a malformed track.
    """
    counts: dict[tuple[Any, Any], TrackingCounts] = {}
    chosen = set(truth.getVidIds() if video_ids is None else video_ids)
    for video in truth.getVidIds():
        if video in chosen:
            counts |= _video_counts(truth, found, video, score_threshold, kind)
    by_class: dict[Any, TrackingCounts] = {}
    for (_, category), count in counts.items():
        by_class[category] = by_class.get(category, TrackingCounts.none()) + count
    classes = {
        key: by_class[key].scores()
        for key in sorted(by_class, key=lambda key: (isinstance(key, str), key))
    }
    combined = sum(by_class.values(), TrackingCounts.none()).scores()
    return TrackingReport(
        score_threshold, combined, _average(list(classes.values()), combined), classes, counts
    )


def _average(classes: list[TrackingScores], combined: TrackingScores) -> TrackingScores:
    if not classes:
        return combined
    values = asdict(combined)
    for name, value in values.items():
        if isinstance(value, float):
            values[name] = float(np.mean([getattr(scores, name) for scores in classes]))
    return TrackingScores(**values)


def _video_counts(
    truth: YTVOS, found: YTVOS, video: Any, score_threshold: float, kind: str
) -> dict[tuple[Any, Any], TrackingCounts]:
    """Counts of one video by class; classes with neither objects nor predictions are left out."""
    objects = list(truth.vidToAnns.get(video, ()))
    predictions = [p for p in found.vidToAnns.get(video, ()) if p["score"] >= score_threshold]
    g = read_tracks(truth, objects, kind, "annotation")
    d = read_tracks(found, predictions, kind, "track")
    g_class = np.array([o["category_id"] for o in objects])
    d_class = np.array([p["category_id"] for p in predictions])
    keys = dict.fromkeys((*g_class.tolist(), *d_class.tolist()))
    frames = max(g.present.shape[1], d.present.shape[1])
    g_present, d_present = (_long(t.present, frames) for t in (g, d))
    places = {key: n for n, key in enumerate(keys)}
    groups = (
        np.array([places[c] for c in d_class.tolist()], np.int64),
        np.array([places[c] for c in g_class.tolist()], np.int64),
    )
    iou = frame_iou(d, g, groups)
    result = {}
    for key, n in places.items():
        rows, columns = (
            np.flatnonzero((own == n) & seen.any(1))
            for own, seen in ((groups[1], g_present), (groups[0], d_present))
        )
        if len(rows) or len(columns):
            scene = _Scene(g_present[rows], d_present[columns], _selected(iou, rows, columns))
            result[video, key] = TrackingCounts(
                scene.hota(), np.array([*scene.clear(), *scene.identity(), len(rows)])
            )
    return result


def _long(present: Bools, frames: int) -> Bools:
    return np.pad(present, ((0, 0), (0, frames - present.shape[1])))


def _selected(iou: Overlaps, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Overlaps:
    """The entries of chosen objects and predictions, renumbered, frame by frame."""
    keep = np.isin(iou.theirs, rows) & np.isin(iou.mine, columns)
    d = np.searchsorted(columns, iou.mine[keep])
    g = np.searchsorted(rows, iou.theirs[keep])
    t, value = iou.frame[keep], iou.area[keep]
    order = np.lexsort((d, g, t))
    return Overlaps(d[order], g[order], t[order], value[order])


class _Scene:
    """Objects and predictions of one class in one video.

    Args:
        objects: bool [G, T], where each object is present; each somewhere.
        predictions: bool [D, T].
        iou: in every frame, ordered by frame.
    """

    def __init__(self, objects: Bools, predictions: Bools, iou: Overlaps) -> None:
        self.objects, self.predictions, self.iou = objects, predictions, iou
        self.cuts = np.searchsorted(iou.frame, np.arange(objects.shape[1] + 1))

    def _frame(self, t: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        """Objects and predictions present in a frame, and their IoU [G, D]."""
        g, d = np.flatnonzero(self.objects[:, t]), np.flatnonzero(self.predictions[:, t])
        here = slice(self.cuts[t], self.cuts[t + 1])
        similarity = np.zeros((len(self.objects), len(self.predictions)))
        similarity[self.iou.theirs[here], self.iou.mine[here]] = self.iou.area[here]
        return g, d, similarity[np.ix_(g, d)]

    def _alignment(self) -> Floats:
        """How well each object and each prediction go together over the whole video, float64 [G, D]."""
        g, d, t, value = self.iou.theirs, self.iou.mine, self.iou.frame, self.iou.area
        shape, frames = (len(self.objects), len(self.predictions)), self.objects.shape[1]
        of_object = np.bincount(t * shape[0] + g, value, frames * shape[0])[t * shape[0] + g]
        of_prediction = np.bincount(t * shape[1] + d, value, frames * shape[1])[t * shape[1] + d]
        share = value / (of_object + of_prediction - value)
        together = np.bincount(g * shape[1] + d, share, shape[0] * shape[1]).reshape(shape)
        seen = self.objects.sum(1)[:, None] + self.predictions.sum(1)
        alignment: Floats = together / (seen - together)
        return alignment

    def hota(self) -> Floats:
        """HOTA's counts by threshold, as :class:`TrackingCounts` has them, float64 [5, 19]."""
        alignment = self._alignment()
        together = np.zeros((len(ALPHAS), *alignment.shape))
        hits, overlap = np.zeros(len(ALPHAS)), np.zeros(len(ALPHAS))
        for t in np.flatnonzero(self.objects.any(0) & self.predictions.any(0)).tolist():
            g, d, similarity = self._frame(t)
            rows, columns = linear_sum_assignment(-alignment[np.ix_(g, d)] * similarity)
            value = similarity[rows, columns]
            match = value >= ALPHAS[:, None] - EPSILON
            hits += match.sum(1)
            overlap += (match * value).sum(1)
            together[:, g[rows], d[columns]] += match
        seen = self.objects.sum(1)[:, None] + self.predictions.sum(1)
        association = (together * (together / np.maximum(1, seen - together))).sum((1, 2))
        misses, wrong = self.objects.sum() - hits, self.predictions.sum() - hits
        return np.stack((hits, misses, wrong, overlap, association))

    def clear(self) -> list[float]:
        """True positives, misses, false positives, identity switches, fragmentations and the sum of IoU."""
        count = len(self.objects)
        last, previous = np.full(count, -1), np.full(count, -1)
        segments = np.zeros(count)
        hits, switches, overlap = 0, 0, 0.0
        for t in np.flatnonzero(self.objects.any(0) & self.predictions.any(0)).tolist():
            g, d, similarity = self._frame(t)
            # Whom an object was matched to in the frame before comes first.
            score = 1000 * (d == previous[g][:, None]) + similarity
            score[similarity < 0.5 - EPSILON] = 0
            rows, columns = linear_sum_assignment(-score)
            matched = score[rows, columns] > EPSILON
            rows, columns = rows[matched], columns[matched]
            of, by = g[rows], d[columns]
            switches += int(((last[of] >= 0) & (last[of] != by)).sum())
            segments[of] += previous[of] < 0
            last[of] = by
            previous[:] = -1
            previous[of] = by
            hits += len(of)
            overlap += float(similarity[rows, columns].sum())
        misses, wrong = int(self.objects.sum()) - hits, int(self.predictions.sum()) - hits
        return [hits, misses, wrong, switches, float(np.maximum(segments - 1, 0).sum()), overlap]

    def identity(self) -> list[float]:
        """Identity true positives, misses and false positives under the best one-to-one assignment."""
        g, d = len(self.objects), len(self.predictions)
        good = self.iou.area >= 0.5
        common = np.bincount(self.iou.theirs[good] * d + self.iou.mine[good], minlength=g * d)
        # To leave a track unmatched costs all its frames, so only gains count.
        rows, columns = linear_sum_assignment(-common.reshape(g, d))
        hits = int(common.reshape(g, d)[rows, columns].sum())
        return [hits, int(self.objects.sum()) - hits, int(self.predictions.sum()) - hits]
