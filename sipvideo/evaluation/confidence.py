"""How sure a figure is: bootstrap over videos, of one run or of the difference of two.

Videos, not tracks, are drawn again, since the tracks of one video are not independent. Nothing is matched again: a
video drawn twice counts its matches twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.evaluation.tracking import TrackingCounts
from sipvideo.evaluation.ytvoseval import YTVOSeval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BATCH = 16
"""Resamples that are computed at once: bounds the memory."""


@dataclass(frozen=True)
class Interval:
    """A figure and the bounds between which it lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A figure of run B minus that of run A on the same videos.

    Attributes:
        value: the difference.
        low, high: 95 % confidence interval.
        p_value: two-sided; how often a difference this far from 0 would come from the choice of videos alone.
    """

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """Predictions of one class in all videos by descending score, ignored ones left out at each threshold.

    Attributes:
        video: int64 [N], place of each prediction's video.
        right, wrong: bool [T, N].
        objects: int64 [V], objects that count, by video.
    """

    video: Ints
    right: Bools
    wrong: Bools
    objects: Ints


@dataclass(frozen=True, eq=False)
class VideoMatches:
    """The matches that the average precision of any selection of videos follows from.

    Attributes:
        videos: V ids.
        thresholds: float64 [T], IoU.
        classes: one entry per category.
    """

    videos: tuple[Any, ...]
    thresholds: Floats
    classes: tuple[ClassMatches, ...]
    recall_points: Floats

    @classmethod
    def of(cls, evaluation: YTVOSeval) -> VideoMatches:
        """From an evaluation, for all areas and the largest number of tracks of each video and category."""
        p = evaluation.params
        count = len(p.areaRng) * len(p.occRng) * len(p.vidIds)
        classes = [
            _class_matches(
                evaluation.evalVids[begin : begin + len(p.vidIds)], p.maxDets[-1], p.iouThrs
            )
            for begin in range(0, len(evaluation.evalVids), max(1, count))
        ]
        return cls(
            tuple(p.vidIds), np.asarray(p.iouThrs), tuple(classes), np.asarray(p.recThrs, float)
        )

    def of_video(self, place: int) -> VideoMatches:
        """The matches of one video, of the classes that it has objects of."""
        alone = []
        for c in self.classes:
            if c.objects[place]:
                own = c.video == place
                video = np.zeros(int(own.sum()), np.int64)
                alone.append(
                    ClassMatches(video, c.right[:, own], c.wrong[:, own], c.objects[[place]])
                )
        return replace(self, videos=self.videos[place : place + 1], classes=tuple(alone))

    def average_precision(self, weights: Floats) -> Floats:
        """AP for each resample and threshold, float64 [B, T]; -1 where a resample has no objects.

        Args:
            weights: float64 [B, V], how often each video was drawn.
        """
        shape = len(weights), len(self.thresholds)
        total, classes = np.zeros(shape), np.zeros(len(weights))
        for c in self.classes:
            objects = weights @ c.objects
            if c.objects.any():
                classes += objects > 0
                total += self._class_precision(c, weights, objects)
        return np.where(classes[:, None] > 0, total / np.maximum(1, classes[:, None]), -1.0)

    def _class_precision(self, c: ClassMatches, weights: Floats, objects: Floats) -> Floats:
        """AP of one class, float64 [B, T], 0 where a resample has none of its objects."""
        b, t, n = len(weights), len(self.thresholds), len(c.video)
        drawn = weights[:, None, c.video]
        hits = np.cumsum(drawn * c.right, 2)
        precision = np.zeros((b, t, n + 1))
        np.divide(
            hits, hits + np.cumsum(drawn * c.wrong, 2) + np.spacing(1), out=precision[..., :n]
        )
        precision = np.maximum.accumulate(precision[..., ::-1], 2)[..., ::-1]
        # The hits that each recall point takes: whole numbers, that compare without rounding. A shift for each
        # row makes one sorted list of all.
        points = self.recall_points
        count = np.maximum(objects, 1)[:, None]
        need = np.ceil(points * count)
        need -= (need - 1) / count >= points
        need += need / count < points
        shift = np.arange(b * t).reshape(b, t, 1) * (objects.max(initial=0) + 2)
        first = np.searchsorted((hits + shift).ravel(), (need[:, None] + shift).ravel())
        at = np.clip(first.reshape(b, t, -1) - np.arange(b * t).reshape(b, t, 1) * n, 0, n)
        result: Floats = np.take_along_axis(precision, at, 2).mean(2)
        result[objects == 0] = 0
        return result


def _class_matches(records: Sequence[Any], limit: int, thresholds: Any) -> ClassMatches:
    objects = np.array([0 if e is None else int((e["gtIgnore"] == 0).sum()) for e in records])
    kept = [(v, e) for v, e in enumerate(records) if e is not None]
    empty = np.zeros((len(thresholds), 0), bool)
    scores = np.concatenate([np.zeros(0), *(e["dtScores"][:limit] for _, e in kept)])
    video = np.concatenate(
        [np.zeros(0, np.int64), *(np.full(len(e["dtScores"][:limit]), v) for v, e in kept)]
    )
    matched = np.concatenate([empty, *(e["dtMatches"][:, :limit] != 0 for _, e in kept)], 1)
    counts = ~np.concatenate([empty, *(e["dtIgnore"][:, :limit] for _, e in kept)], 1)
    order = np.argsort(-scores, kind="stable")
    right, wrong = (matched & counts)[:, order], (~matched & counts)[:, order]
    return ClassMatches(video[order], right, wrong, objects)


def resampled(videos: int, resamples: int, seed: int = 0) -> Floats:
    """How often each video is drawn in each resample, float64 [resamples, videos]."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(videos, np.full(videos, 1 / videos), resamples).astype(float)


def precision_intervals(
    matches: VideoMatches, resamples: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Confidence intervals of AP, AP50 and AP75; none without videos."""
    if not matches.videos:
        return {}
    drawn = _figures(matches, resampled(len(matches.videos), resamples, seed))
    exact = _figures(matches, np.ones((1, len(matches.videos))))
    return {name: _interval(float(exact[name][0]), values) for name, values in drawn.items()}


def hota_interval(
    counts: Mapping[tuple[Any, Any], TrackingCounts],
    videos: Sequence[Any],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Confidence interval of HOTA over all detections.

    Args:
        counts: by video and category, from a :class:`~sipvideo.evaluation.tracking.TrackingReport`.
        videos: all video ids, in the order of the other intervals, so that they use the same resamples.
        resamples: how many.
        seed: the same seed draws the same videos.
    """
    by_video = hota_counts(counts, videos)
    drawn = _hota(resampled(len(videos), resamples, seed) @ by_video)
    return _interval(float(_hota(by_video.sum(0)[None])[0]), drawn)


def hota_counts(counts: Mapping[tuple[Any, Any], TrackingCounts], videos: Sequence[Any]) -> Floats:
    """HOTA's counts of every video, float64 [V, 5 x 19]."""
    place = {key: n for n, key in enumerate(videos)}
    result = np.zeros((len(videos), TrackingCounts.none().hota.size))
    for (video, _), count in counts.items():
        result[place[video]] += count.hota.ravel()
    return result


def precision_difference(
    a: VideoMatches, b: VideoMatches, resamples: int = 1000, seed: int = 0
) -> dict[str, Difference]:
    """AP, AP50 and AP75 of run B minus those of run A, with significance: the same videos are drawn for both.

    Raises:
        DatasetError: the runs were scored on different videos or thresholds.
    """
    if a.videos != b.videos or not np.array_equal(a.thresholds, b.thresholds):
        raise DatasetError("two runs compare only when scored on the same videos and thresholds")
    weights = resampled(len(a.videos), resamples, seed) if a.videos else np.zeros((0, 0))
    ones = np.ones((1, len(a.videos)))
    drawn = [_figures(m, weights) for m in (a, b)]
    exact = [_figures(m, ones) for m in (a, b)]
    return {
        name: difference(
            float(exact[1][name][0] - exact[0][name][0]), drawn[1][name] - drawn[0][name]
        )
        for name in drawn[0]
    }


def hota_difference(a: Floats, b: Floats, resamples: int = 1000, seed: int = 0) -> Difference:
    """HOTA of run B minus that of run A, from the :func:`hota_counts` of the same videos."""
    weights = resampled(len(a), resamples, seed) if len(a) else np.zeros((0, 0))
    exact = _hota(b.sum(0)[None]) - _hota(a.sum(0)[None])
    return difference(float(exact[0]), _hota(weights @ b) - _hota(weights @ a))


def difference(value: float, drawn: Floats) -> Difference:
    """A difference and its resamples [B] as interval and two-sided p-value."""
    # One is added to both counts since the sample itself is one of the possible draws.
    tail = 1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    p_value = min(1.0, 2 * tail / (len(drawn) + 1))
    interval = _interval(value, drawn)
    return Difference(value, interval.low, interval.high, p_value)


def _interval(value: float, drawn: Floats) -> Interval:
    if not len(drawn):
        return Interval(value, value, value)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _figures(matches: VideoMatches, weights: Floats) -> dict[str, Floats]:
    """AP, AP50 and AP75 of every resample in which there are objects."""
    parts = [
        matches.average_precision(weights[k : k + BATCH]) for k in range(0, len(weights), BATCH)
    ]
    precision = np.concatenate([np.zeros((0, len(matches.thresholds))), *parts])
    figures = {"ap": precision.mean(1)}
    for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
        if threshold in matches.thresholds:
            figures[name] = precision[:, matches.thresholds == threshold][:, 0]
    return figures


def _hota(counts: Floats) -> Floats:
    """HOTA from counts, float64 [B] from [B, 5 x 19]."""
    hit, miss, wrong, _, association = counts.reshape(
        len(counts), 5, counts.shape[1] // 5
    ).transpose(1, 0, 2)
    det_a = hit / np.maximum(1, hit + miss + wrong)
    hota: Floats = np.sqrt(det_a * association / np.maximum(1, hit)).mean(1)
    return hota
