"""Settings of the tracker that fit somebody's own videos: tried out on cached reports, judged on videos left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sipvideo.config import TrackerConfig
from sipvideo.evaluation.replay import Replay, tracking_counts
from sipvideo.evaluation.tracking import TrackingCounts
from sipvideo.tracker import Tracker

Floats = NDArray[np.float64]
Values = dict[str, float]

SCORE_THRESHOLD = "postprocess.score_threshold"

SPACE: dict[str, tuple[float, float, bool]] = {
    SCORE_THRESHOLD: (0.1, 0.6, False),
    "tracker.birth_score": (0.15, 0.8, False),
    "tracker.keep_score": (0.05, 0.6, False),
    "tracker.match_affinity": (-0.3, 0.5, False),
    "tracker.sure_score": (0.2, 0.9, False),
    "tracker.doubt_penalty": (0.0, 4.0, False),
    "tracker.duplicate_iou": (0.2, 0.95, False),
    "tracker.part_share": (0.5, 1.0, False),
    "tracker.embedding_weight": (0.0, 0.9, False),
    "tracker.label_penalty": (0.0, 1.0, False),
    "tracker.mask_weight": (0.0, 1.0, False),
    "tracker.max_age": (0.3, 10.0, True),
    "tracker.probation": (0.0, 1.0, False),
    "tracker.embedding_momentum": (0.3, 0.98, False),
    "tracker.velocity_memory": (0.05, 2.0, True),
    "tracker.velocity_fade": (0.05, 3.0, True),
    "tracker.size_memory": (0.3, 10.0, True),
    "tracker.margin": (0.02, 0.6, True),
    "tracker.margin_growth": (0.2, 6.0, True),
    "tracker.margin_doubt": (0.0, 1.5, False),
    "tracker.side_weight": (0.0, 0.8, False),
    "tracker.bare_affinity": (0.0, 0.3, False),
    "tracker.bare_growth": (0.2, 6.0, True),
    "tracker.bare_side_weight": (0.0, 0.8, False),
    "tracker.return_likeness": (0.2, 0.95, False),
    "tracker.return_ratio": (0.5, 1.0, False),
}
"""What is tuned: least and greatest value, and whether steps are relative."""
MOST_FOLDS = 5
DRAWS = 2000
"""Of videos, for an interval."""
ENOUGH = 1e-6
"""HOTA by which a trial must be better to be preferred to the default."""


@dataclass(frozen=True)
class Trial:
    """One set of values, and how well they did.

    Attributes:
        values: by name of the setting.
        counts: what the figures of each video are computed from.
    """

    values: Values
    counts: tuple[TrackingCounts, ...]

    def hota(self, videos: Sequence[int]) -> float:
        """HOTA of some of the videos, all classes as one."""
        return sum((self.counts[k] for k in videos), TrackingCounts.none()).scores().hota


@dataclass(frozen=True)
class Gain:
    """What tuning is worth.

    Attributes:
        default, tuned: HOTA on videos that had no say in the choice of the values.
        low, high: 95 % interval of the difference, by draws of videos; None with fewer than two videos.
        best: the values that are best on all videos.
    """

    default: float
    tuned: float
    low: float | None
    high: float | None
    best: Values

    @property
    def sure(self) -> bool:
        """The whole interval is above 0."""
        return self.low is not None and self.low > 0


def tried(values: Mapping[str, float], videos: Sequence[Replay], default: TrackerConfig) -> Trial:
    """Runs the tracker with these values over the reports of all videos.

    Args:
        values: of settings in ``SPACE``; the others are as in ``default``.
        videos: reports with scores down to the least threshold that is tried.
        default: what is changed.
    """
    changed = {k.removeprefix("tracker."): v for k, v in values.items() if k != SCORE_THRESHOLD}
    config = TrackerConfig.model_validate(default.model_dump() | changed)
    least = values.get(SCORE_THRESHOLD, 0.0)
    counts = []
    for video in videos:
        reports = [report[report.scores > least] for report in video.reports]
        seen = replace(video, reports=tuple(reports))
        counts.append(tracking_counts(seen, seen.results(seen.identities(Tracker(config)))))
    return Trial(dict(values), tuple(counts))


def suggested(suggest: Callable[[str, float, float, bool], float]) -> Values:
    """The next values to try; ``suggest`` is given name, least, greatest and whether steps are relative."""
    values = {name: suggest(name, *limits) for name, limits in SPACE.items()}
    keep, birth = "tracker.keep_score", "tracker.birth_score"
    values[keep] = min(values[keep], values[birth])
    return values


def starting_point(threshold: float, default: TrackerConfig) -> Values:
    """The default, as values to try first."""
    known = {name: getattr(default, name.removeprefix("tracker.")) for name in list(SPACE)[1:]}
    return {SCORE_THRESHOLD: threshold} | {name: float(value) for name, value in known.items()}


def judged(trials: Sequence[Trial], seed: int = 0) -> Gain:
    """What the best values gain over the default, which is the first trial.

    Videos are dealt into folds; those of each fold are scored with the trial that is best on the others, so that no
    video has a say in what it is scored with. (It had one in which values were proposed.)

    Args:
        trials: at least one, all over the same videos.
        seed: of the folds and draws.
    """
    default, count = trials[0], len(trials[0].counts)
    everything = list(range(count))
    best = _best(trials, everything)
    if count < 2:
        return Gain(default.hota(everything), best.hota(everything), None, None, best.values)
    rng = np.random.default_rng(seed)
    folds = [
        part.tolist() for part in np.array_split(rng.permutation(count), min(MOST_FOLDS, count))
    ]
    chosen = {}
    for fold in folds:
        winner = _best(trials, [k for k in everything if k not in fold])
        chosen.update(dict.fromkeys(fold, winner))
    tuned = Trial({}, tuple(chosen[k].counts[k] for k in everything))
    draws = rng.integers(0, count, (DRAWS, count)).tolist()
    differences = [tuned.hota(draw) - default.hota(draw) for draw in draws]
    low, high = np.percentile(differences, (2.5, 97.5)).tolist()
    return Gain(default.hota(everything), tuned.hota(everything), low, high, best.values)


def _best(trials: Sequence[Trial], videos: Sequence[int]) -> Trial:
    """The default where nothing is better."""
    best, most = trials[0], trials[0].hota(videos) + ENOUGH
    for trial in trials[1:]:
        hota = trial.hota(videos)
        if hota > most:
            best, most = trial, hota
    return best
