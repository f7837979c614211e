"""What tuning is worth, judged on videos left out."""

from __future__ import annotations

import numpy as np

from sipvideo.config import TrackerConfig
from sipvideo.evaluation.tracking import ALPHAS, TrackingCounts
from sipvideo.evaluation.tuning import SPACE, Trial, judged, starting_point, suggested


def counted(*shares: float) -> tuple[TrackingCounts, ...]:
    """Videos of which such a share is found, all with right identities: HOTA is the share's root."""
    videos = []
    for share in shares:
        hota = np.zeros((5, len(ALPHAS)))
        hota[0], hota[1], hota[3], hota[4] = (
            100 * share,
            100 * (1 - share),
            100 * share,
            100 * share,
        )
        videos.append(TrackingCounts(hota, np.zeros(10)))
    return tuple(videos)


def test_every_tuned_setting_is_one_of_the_tracker_and_the_default_can_be_tried() -> None:
    start = starting_point(0.3, TrackerConfig())
    assert start.keys() == SPACE.keys()
    for name, value in start.items():
        low, high, _ = SPACE[name]
        assert low <= value <= high, name
    values = suggested(lambda name, low, high, log: low if "birth" in name else high)
    assert values["tracker.keep_score"] == values["tracker.birth_score"]


def test_what_helps_everywhere_is_a_sure_gain() -> None:
    trials = [
        Trial({"a": 0.0}, counted(0.5, 0.6, 0.5, 0.6)),
        Trial({"a": 1.0}, counted(0.8, 0.9, 0.8, 0.9)),
    ]
    gain = judged(trials)
    assert gain.best == {"a": 1.0}
    assert gain.sure
    assert gain.tuned > gain.default + 0.15


def test_what_helped_by_chance_is_seen_through() -> None:
    """Each trial is great on one video and bad on the others: the best on all promises what does not hold."""
    shares = [[0.99 if k == lucky else 0.45 for k in range(5)] for lucky in range(5)]
    trials = [Trial({"a": 0.0}, counted(*[0.5] * 5))]
    trials += [Trial({"a": float(k + 1)}, counted(*row)) for k, row in enumerate(shares)]
    gain = judged(trials)
    assert gain.best != {"a": 0.0}
    assert not gain.sure
    assert gain.tuned < gain.default


def test_nothing_better_keeps_the_default_and_one_video_has_no_interval() -> None:
    trials = [Trial({"a": 0.0}, counted(0.5)), Trial({"a": 1.0}, counted(0.4))]
    gain = judged(trials)
    assert gain.best == {"a": 0.0}
    assert (gain.low, gain.high) == (None, None)
    assert not gain.sure
