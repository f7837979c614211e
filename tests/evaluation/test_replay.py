"""Reports are made once, come back as they were, and score as they should."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sipvideo.evaluation import replay
from sipvideo.evaluation.replay import NetworkReporter, Replay, TruthReporter, replays
from sipvideo.masks import from_rles
from sipvideo.structures import Detections, Frame, IntArray
from sipvideo.synth import SHAPES, Recipe, ShapesFilm, SyntheticDataset, video_names

RECIPE = Recipe(frames=8, size=(54, 96), objects=4, speed=0.5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shapes")
    made = SyntheticDataset(folder, {}, SHAPES, RECIPE.size)
    names = video_names("shapes", 3, 2)
    for k, name in enumerate(names):
        made.add(name, ShapesFilm(RECIPE, (3, k)))
    made.finish(names)
    return folder


def _exact(dataset: Path, cache: Path) -> list[Replay]:
    return list(replays(dataset, cache, TruthReporter(noise=0, misses=0)))


def test_exact_reports_with_their_own_identities_are_perfect(dataset: Path, tmp_path: Path) -> None:
    for video in _exact(dataset, tmp_path):
        assert len(video) == 8
        results = video.results(replay.perfect(video))
        scores = replay.tracking_counts(video, results).scores()
        assert (scores.hota, scores.idf1, scores.id_switches) == (1.0, 1.0, 0)


def test_one_identity_for_each_report_is_bad_for_association_alone(
    dataset: Path, tmp_path: Path
) -> None:
    (video, _) = _exact(dataset, tmp_path)
    first = np.cumsum([0, *map(len, video.reports)])
    ids = [k + np.arange(len(report)) for k, report in zip(first, video.reports, strict=False)]
    scores = replay.tracking_counts(video, video.results(ids)).scores()
    assert scores.det_a == 1
    assert scores.ass_a < 0.3


def test_noise_and_misses_are_as_asked(dataset: Path, tmp_path: Path) -> None:
    exact = _exact(dataset, tmp_path)
    noisy = list(replays(dataset, tmp_path, TruthReporter(noise=0.03, misses=0.3)))
    seen = sum(len(r) for v in exact for r in v.reports)
    assert 0.5 * seen < sum(len(r) for v in noisy for r in v.reports) < 0.9 * seen
    for video in noisy:
        for report, owners in zip(video.reports, video.owners(), strict=True):
            assert (owners >= 0).all()
            error = np.abs(report.boxes - report.masks.windows)
            assert error.max(initial=0) < 0.2 * max(RECIPE.size)
            assert report.embeddings.shape[1] == 0
            assert (np.diff(report.scores) <= 0).all()


class _Detector:
    """Finds one square, and counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        self.calls += 1
        (frame,) = frames
        mask = np.zeros(frame.size, bool)
        mask[5:20, 7 : 20 + frame.index] = True
        rle = replay.CompactMasks.from_dense(mask[None]).rle(0)
        return [
            Detections(
                boxes=np.array([[7, 5, 20 + frame.index, 20]], np.float32),
                scores=np.array([0.7], np.float32),
                labels=np.array([2]),
                masks=from_rles([rle], frame.size),
                embeddings=np.full((1, 3), frame.timestamp, np.float32),
                mask_scores=np.array([0.6], np.float32),
                grey=frame.image[::2, ::2, 0].copy(),
            )
        ]


def test_kept_reports_are_those_that_were_found(dataset: Path, tmp_path: Path) -> None:
    detector, told = _Detector(), []
    reporter = NetworkReporter(detector, "squares")
    list(replays(dataset, tmp_path, reporter, told.append))
    assert (detector.calls, len(told)) == (16, 2)
    videos = list(replays(dataset, tmp_path, reporter, told.append))
    assert (detector.calls, len(told)) == (16, 2)
    again = _Detector()
    for video in videos:
        for result in video.results([np.array([0])] * 8, with_pictures=True):
            (fresh,) = again([result.frame])
            kept = result.detections
            for name in ("boxes", "scores", "labels", "embeddings", "mask_scores", "grey"):
                np.testing.assert_array_equal(getattr(kept, name), getattr(fresh, name))
            np.testing.assert_array_equal(kept.masks.dense(0), fresh.masks.dense(0))


def test_another_detector_is_asked_itself(dataset: Path, tmp_path: Path) -> None:
    detector = _Detector()
    for key in ("squares", "other squares"):
        list(replays(dataset, tmp_path, NetworkReporter(detector, key)))
    assert detector.calls == 32


def test_every_second_frame_keeps_times_and_truth(dataset: Path, tmp_path: Path) -> None:
    (video, _) = _exact(dataset, tmp_path)
    half = video.every(2)
    assert half.seconds == video.seconds[::2]
    scores = replay.tracking_counts(half, half.results(replay.perfect(half))).scores()
    assert scores.hota == 1


class _Counter:
    def update(self, detections: Detections, timestamp: float) -> IntArray:
        return np.arange(len(detections))


def test_a_tracker_sees_the_frames_in_order(dataset: Path, tmp_path: Path) -> None:
    (video, _) = _exact(dataset, tmp_path)
    ids = video.identities(_Counter())
    assert [len(row) for row in ids] == [len(report) for report in video.reports]
    scores = replay.tracking_counts(video, video.results(ids)).scores()
    assert 0 < scores.ass_a <= 1
