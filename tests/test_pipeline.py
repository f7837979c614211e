"""The line from frames to results, with scripted detections and with the default model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import sipvideo
from sipvideo.config import TrackerConfig
from sipvideo.engine import Engine, HostEngine
from sipvideo.machine import usable_cores
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sinks import CocoRleLines, MotsText, TrackTable, YouTubeVISResults
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from sipvideo.tracker import build_tracker
from tests.media import write_video
from tests.scenes import Shot, clock, crossing, film, scripted


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return list(film(crossing(), clock(seconds=2, fps=25), seed=1))


def segmenter(shots: list[Shot]) -> VideoSegmenter:
    script = {shot.frame.index: shot.detections for shot in shots}
    tracker = build_tracker(TrackerConfig())
    return VideoSegmenter(lambda frame: script[frame.index], tracker, ("walker",))


def test_running_equals_stepping(shots: list[Shot]) -> None:
    ran = [r.track_ids.tolist() for r in segmenter(shots).run(s.frame for s in shots)]
    stepping = segmenter(shots)
    assert ran == [stepping.step(shot.frame).track_ids.tolist() for shot in shots]
    assert {k for ids in ran for k in ids} == {0, 1}


def test_each_run_is_a_new_video(shots: list[Shot]) -> None:
    one = segmenter(shots)
    first = [r.track_ids.tolist() for r in one.run(s.frame for s in shots)]
    again = [r.track_ids.tolist() for r in one.run(s.frame for s in shots)]
    assert first == again


def test_results_come_one_by_one_as_frames_come(shots: list[Shot]) -> None:
    taken = []

    def frames() -> Iterator[Frame]:
        for shot in shots:
            taken.append(shot.frame.index)
            yield shot.frame

    results = segmenter(shots).run(frames())
    assert taken == []
    next(results)
    next(results)
    assert taken == [0, 1]


def test_errors_of_the_source_reach_the_consumer_after_the_results_before(
    shots: list[Shot],
) -> None:
    def frames() -> Iterator[Frame]:
        yield shots[0].frame
        raise OSError("unplugged")

    results = segmenter(shots).run(frames())
    assert len(next(results).track_ids) == 2
    with pytest.raises(OSError, match="unplugged"):
        next(results)


def test_two_segmenters_do_not_know_of_each_other(shots: list[Shot]) -> None:
    alone = [r.track_ids.tolist() for r in segmenter(shots).run(s.frame for s in shots)]
    one, other = segmenter(shots), segmenter(shots)
    pairs = [(one.step(s.frame), other.step(s.frame)) for s in shots]
    assert [a.track_ids.tolist() for a, _ in pairs] == alone
    assert [b.track_ids.tolist() for _, b in pairs] == alone


def test_a_result_never_names_one_identity_twice(shots: list[Shot]) -> None:
    detections = scripted([[0, 0, 10, 10], [20, 20, 30, 30]])
    with pytest.raises(ValueError, match="unique"):
        FrameResult(shots[0].frame, detections, np.array([3, 3]), 1.0)
    result = FrameResult(shots[0].frame, detections, np.array([-1, -1]), 1.0)
    assert len(result.tracked().track_ids) == 0


def test_the_class_of_an_identity_is_voted_and_does_not_flicker(shots: list[Shot]) -> None:
    script = [scripted([[20, 20, 60, 80]], labels=label) for label in (3, 3, 5, 3, 3, 5, 3)]
    frames = [Frame(shots[0].frame.image, i, i / 25) for i in range(len(script))]

    def labels(preset: str) -> list[int]:
        tracker = build_tracker(TrackerConfig.model_validate({"preset": preset}))
        one = VideoSegmenter(lambda frame: script[frame.index], tracker, ("walker",) * 6)
        return [int(r.detections.labels[0]) for r in one.run(frames)]

    assert labels("sipvideo") == [3] * 7
    assert labels("paper") == [3, 3, 5, 3, 3, 5, 3]


def test_data_types_say_expected_and_got() -> None:
    with pytest.raises(ValueError, match=r"Frame.image: expected uint8 .* got float64 \[4, 4, 3\]"):
        Frame(np.zeros((4, 4, 3)), 0, 0.0)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"Detections.scores: expected float32 \[0\], got float32 \[2\]"
    ):
        Detections(
            np.zeros((0, 4), np.float32),
            np.zeros(2, np.float32),
            np.zeros(0, np.int64),
            Detections.empty((4, 4)).masks,
            np.zeros((0, 0), np.float32),
        )


def test_the_default_model_comes_with_the_package_and_runs() -> None:
    segmenter = sipvideo.load(device="cpu")
    assert segmenter.class_names[0] == "person"
    blank = Frame(np.zeros((70, 90, 3), np.uint8), 0, 0.0)
    result = segmenter.step(blank)
    assert result.detections.masks.frame_size == (70, 90)
    assert result.latency_ms > 0


def test_another_segmenter_shares_the_network_and_not_the_identities(shots: list[Shot]) -> None:
    one = segmenter(shots)
    one.step(shots[0].frame)
    other = one.another()
    assert other.engine is one.engine
    ids = [r.track_ids.tolist() for r in other.run(s.frame for s in shots[1:])]
    assert ids == [r.track_ids.tolist() for r in segmenter(shots).run(s.frame for s in shots[1:])]
    assert one.step(shots[1].frame).track_ids.tolist() == [0, 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_overlapping_gives_the_same_identities_whatever_thread_is_first(
    shots: list[Shot], workers: int
) -> None:
    alone = [r.track_ids.tolist() for r in segmenter(shots).run(s.frame for s in shots)]
    script = {shot.frame.index: shot.detections for shot in shots}

    def uneven(frame: Frame) -> Detections:
        time.sleep(0.003 * (frame.index % 3 == 0))
        return script[frame.index]

    one = VideoSegmenter(uneven, build_tracker(TrackerConfig()), ("walker",))
    for ahead in (1, 4):
        results = list(one.run((s.frame for s in shots), ahead, workers))
        assert [r.frame.index for r in results] == [s.frame.index for s in shots]
        assert [r.track_ids.tolist() for r in results] == alone


def test_overlapping_gives_files_equal_to_the_byte(tmp_path: Path) -> None:
    """With the default model, on a clip that is really decoded."""
    pictures = [shot.frame.image for shot in film(crossing(), clock(seconds=0.5, fps=25))]
    clip = write_video(tmp_path / "clip.mp4", pictures)
    segment = sipvideo.load(
        device="cpu",
        overrides=["postprocess.score_threshold=0.01", "tracker.birth_score=0.02"],
    )
    contents = []
    for ahead in (0, 4):
        folder = tmp_path / str(ahead)
        with (
            VideoFile(clip) as source,
            YouTubeVISResults(folder / "results.json") as tracks,
            CocoRleLines(folder / "results.jsonl", segment.class_names) as lines,
            MotsText(folder / "mots.txt") as mots,
            TrackTable(folder / "objects.csv", segment.class_names) as table,
        ):
            for result in segment.run(source, ahead, workers=2):
                for sink in (tracks, lines, mots, table):
                    sink.write(result)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]["objects.csv"].splitlines()) > 5


def test_an_engine_set_up_for_files_finds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pictures = [shot.frame.image for shot in film(crossing(), clock(seconds=0.5, fps=25))]
    clip = write_video(tmp_path / "clip.mp4", pictures)
    alone = sipvideo.load(
        device="cpu",
        overrides=["postprocess.score_threshold=0.01", "tracker.birth_score=0.02"],
        runtime="openvino",
    )
    several = alone.for_files()
    if usable_cores() > 1:
        assert isinstance(several.engine, HostEngine)
        assert several.engine.callers > 1
    with VideoFile(clip) as source:
        one = list(alone.run(source))
        other = list(several.run(source, ahead=3))
    assert sum(len(r.track_ids) for r in one) > 5
    for a, b in zip(one, other, strict=True):
        assert a.track_ids.tolist() == b.track_ids.tolist()
        np.testing.assert_allclose(a.detections.boxes, b.detections.boxes, atol=0.01)
        overlap = a.detections.masks.iou(b.detections.masks)
        assert (np.diag(overlap)[a.detections.masks.areas() > 0] > 0.99).all()


def test_batches_give_every_frame_its_own_detections_whatever_the_sizes(shots: list[Shot]) -> None:
    seen: list[int] = []

    class Batching(Engine):
        """Counts how many frames come together."""

        def detect(self, frames: Sequence[Frame]) -> list[Detections]:
            assert len({frame.size for frame in frames}) == 1
            seen.append(len(frames))
            return [scripted([[10, 10, 20 + frame.index, 30]]) for frame in frames]

    large = np.zeros((200, 160, 3), np.uint8)
    frames = [shot.frame for shot in shots[:5]] + [Frame(large, i, i / 25) for i in (5, 6)]
    one = VideoSegmenter(Batching(), build_tracker(TrackerConfig()), ("walker",))
    results = list(one.run(frames, ahead=2, batch=4))
    assert [r.frame.index for r in results] == list(range(7))
    assert [float(r.detections.boxes[0, 2]) for r in results] == [20.0 + i for i in range(7)]
    assert seen == [4, 1, 2]


def test_overlapping_errors_come_after_the_results_before(shots: list[Shot]) -> None:
    def frames() -> Iterator[Frame]:
        for shot in shots[:5]:
            yield shot.frame
        raise OSError("unplugged")

    results = segmenter(shots).run(frames(), ahead=3, workers=2)
    assert [next(results).frame.index for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="unplugged"):
        next(results)


def test_stopping_early_leaves_no_thread_and_frees_the_file(
    shots: list[Shot], tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.mp4", [shot.frame.image for shot in shots])
    before = set(threading.enumerate())
    with VideoFile(clip) as source:
        results = segmenter(shots).run(source, ahead=4, workers=2)
        next(results)
        results.close()
        assert set(threading.enumerate()) <= before
