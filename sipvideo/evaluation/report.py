"""All figures of one run, and the comparison of two."""

from __future__ import annotations

import contextlib
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sipvideo.evaluation.confidence import (
    Difference,
    Interval,
    VideoMatches,
    hota_counts,
    hota_difference,
    hota_interval,
    precision_difference,
    precision_intervals,
)
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.lengths import LengthScore, precision_by_length
from sipvideo.evaluation.mistakes import Mistakes, find_mistakes
from sipvideo.evaluation.oviseval import OVISeval
from sipvideo.evaluation.tracking import TrackingReport, evaluate_tracking
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.evaluation.ytvoseval import YTVOSeval

PRECISION = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALL = ("ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large")
DEGREES = ("light", "medium", "heavy")


@dataclass(frozen=True)
class ClassFigures:
    """One class: average precision and recall (-1 without objects), objects and predictions."""

    category_id: int
    name: str
    ap: float
    ap50: float
    ar_100: float
    objects: int
    predictions: int


@dataclass(frozen=True)
class VideoFigures:
    """One video alone: AP over the classes in it (-1 without objects), objects and predictions."""

    video_id: int
    ap: float
    ap50: float
    objects: int
    predictions: int


@dataclass(frozen=True, eq=False)
class Report:
    """All figures of one run on one dataset.

    Attributes:
        mode: compat or strict.
        kind: segm or bbox.
        figures: the published twelve by name, in the published order, 0..1, -1 without ground truth; where all
            ground truth carries ``occlusion``, the eighteen of OVIS.
        intervals: 95 % confidence of ap, ap50, ap75 and hota over videos.
        classes: every category of the dataset.
        lengths: short, medium and long tracks.
        videos: every video; the lowest AP are the worst.
        tracking: HOTA and its relatives.
        mistakes: what went wrong.
        warnings: lines for people.
        evaluation: the evaluation itself, with the precision-recall curves in ``eval["precision"]``.
        matches: what another run is compared with.
    """

    mode: str
    kind: str
    figures: dict[str, float]
    intervals: dict[str, Interval]
    classes: tuple[ClassFigures, ...]
    lengths: dict[str, LengthScore]
    videos: tuple[VideoFigures, ...]
    tracking: TrackingReport
    mistakes: Mistakes
    warnings: tuple[str, ...]
    evaluation: YTVOSeval
    matches: VideoMatches

    def to_json(self) -> Json:
        """The figures as plain values, ready for ``json.dump``."""
        return {
            "mode": self.mode,
            "kind": self.kind,
            "figures": self.figures,
            "intervals": {name: asdict(i) for name, i in self.intervals.items()},
            "classes": [asdict(c) for c in self.classes],
            "lengths": {name: asdict(score) for name, score in self.lengths.items()},
            "videos": [asdict(v) for v in self.videos],
            "tracking": self.tracking.to_json(),
            "mistakes": self.mistakes.to_json(),
            "warnings": list(self.warnings),
        }


def score(
    dataset: str | Path | Json | YTVOS,
    results: str | Path | list[Json],
    mode: Literal["compat", "strict"] = "strict",
    kind: Literal["segm", "bbox"] = "segm",
    score_threshold: float = 0.5,
    resamples: int = 1000,
) -> Report:
    """Scores a result file.

    Args:
        dataset: annotations in YouTube-VIS format: path, content, or loaded.
        results: predicted tracks: path or content.
        mode: strict refuses what makes the published figures silently wrong; compat gives the published figures.
        kind: compare masks or boxes.
        score_threshold: least score of a track that HOTA and its relatives look at.
        resamples: draws of videos for the confidence intervals; 0 for none.

    Raises:
        DatasetError: a file cannot be read, is malformed, or (strict) would be scored silently wrong.
    """
    truth = dataset if isinstance(dataset, YTVOS) else YTVOS(dataset)
    found = truth.loadRes(results)
    objects = truth.dataset.get("annotations") or []
    occluded = bool(objects) and all(a.get("occlusion") for a in objects)
    evaluation = (OVISeval if occluded else YTVOSeval)(truth, found, kind, mode)
    evaluation.evaluate()
    evaluation.accumulate()
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    names: tuple[str, ...] = (*PRECISION, *RECALL)
    if occluded:
        ap, ar = ([f"{w}_occlusion_{d}" for d in DEGREES] for w in ("ap", "ar"))
        names = (*PRECISION, *ap, *RECALL, *ar)
    matches = VideoMatches.of(evaluation)
    tracking = evaluate_tracking(truth, found, score_threshold, kind)
    intervals = {}
    if resamples and matches.videos:
        intervals = precision_intervals(matches, resamples)
        intervals["hota"] = hota_interval(tracking.counts, matches.videos, resamples)
    mistakes = find_mistakes(truth, found, evaluation.params)
    return Report(
        mode=mode,
        kind=kind,
        figures=dict(zip(names, evaluation.stats.tolist(), strict=True)),
        intervals=intervals,
        classes=_classes(evaluation),
        lengths=precision_by_length(evaluation),
        videos=_videos(evaluation, matches),
        tracking=tracking,
        mistakes=mistakes,
        warnings=(*_unknown(truth, found), *mistakes.warnings()),
        evaluation=evaluation,
        matches=matches,
    )


def compare(a: Report, b: Report, resamples: int = 1000) -> dict[str, Difference]:
    """Figures of run B minus those of run A: ap, ap50, ap75 and hota, with significance.

    Raises:
        DatasetError: the runs were scored on different videos.
    """
    differences = precision_difference(a.matches, b.matches, resamples)
    counts = [hota_counts(r.tracking.counts, r.matches.videos) for r in (a, b)]
    return {**differences, "hota": hota_difference(counts[0], counts[1], resamples)}


def _classes(evaluation: YTVOSeval) -> tuple[ClassFigures, ...]:
    truth, found = evaluation.cocoGt, evaluation.cocoDt
    precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]
    # All areas, with OVIS all degrees of occlusion, and most tracks.
    everything = (0,) * (precision.ndim - 4) + (-1,)
    precision = precision[(slice(None),) * 3 + everything]
    recall = recall[(slice(None),) * 2 + everything]
    return tuple(
        ClassFigures(
            key,
            str(truth.cats[key].get("name", key)),
            float(precision[:, :, k].mean()),
            float(precision[0, :, k].mean()),
            float(recall[:, k].mean()),
            len(truth.getAnnIds(catIds=[key])),
            len(found.getAnnIds(catIds=[key])),
        )
        for k, key in enumerate(evaluation.params.catIds)
    )


def _videos(evaluation: YTVOSeval, matches: VideoMatches) -> tuple[VideoFigures, ...]:
    if not matches.videos:
        return ()
    precision = np.concatenate(
        [matches.of_video(v).average_precision(np.ones((1, 1))) for v in range(len(matches.videos))]
    )
    return tuple(
        VideoFigures(
            key,
            float(precision[v].mean()),
            float(precision[v, 0]),
            len(evaluation.cocoGt.vidToAnns.get(key, ())),
            len(evaluation.cocoDt.vidToAnns.get(key, ())),
        )
        for v, key in enumerate(matches.videos)
    )


def _unknown(truth: YTVOS, found: YTVOS) -> list[str]:
    """A line about predictions in categories that the dataset does not have (strict mode refuses them)."""
    unknown: dict[Any, int] = {}
    for prediction in found.dataset["annotations"]:
        key = prediction["category_id"]
        if key not in truth.cats:
            unknown[key] = unknown.get(key, 0) + 1
    if not unknown:
        return []
    return [
        f"{sum(unknown.values())} predictions in unknown categories count for nothing:"
        f" {', '.join(map(str, sorted(unknown)))}"
    ]
