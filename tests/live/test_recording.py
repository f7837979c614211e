"""Recordings of live results: whole whenever they end, never waited for, nothing lost in silence."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from sipvideo.live import recording as module
from sipvideo.live.recording import Recording, file_name
from sipvideo.results import Results
from sipvideo.structures import Detections, Frame, FrameResult
from tests.scenes import clock, crossing, film
from tests.waiting import until

NAMES = ("walker", "runner")


def results(count: int, begin: float = 1000.0, fps: float = 10.0) -> list[FrameResult]:
    return [
        FrameResult(
            Frame(shot.frame.image, index, begin + index / fps),
            shot.truth,
            shot.truth_ids,
            5.0,
        )
        for index, shot in enumerate(film(crossing(), clock(count / fps, fps)))
    ]


def times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def test_a_recording_plays_with_the_times_of_its_frames(tmp_path: Path) -> None:
    given = [r for k, r in enumerate(results(12)) if k not in (3, 4, 5, 9)]
    with Recording("cam", NAMES, tmp_path) as recording:
        assert all(recording.write(result) for result in given)
    wanted = [result.frame.timestamp - given[0].frame.timestamp for result in given]
    assert times(recording.folder / "video.mp4") == pytest.approx(wanted, abs=1e-3)
    lines = (recording.folder / "results.jsonl").read_text().splitlines()
    assert len(lines) == recording.frames == len(given)
    summary = json.loads((recording.folder / "summary.json").read_text())
    assert summary["state"] == "complete"
    assert summary["frames"] == 8
    assert summary["duration"] == pytest.approx(1.1)
    assert summary["files"].keys() == {"video.mp4", "results.jsonl", "objects.csv"}
    assert summary["files"]["video.mp4"] == (recording.folder / "video.mp4").stat().st_size


def test_results_beyond_the_room_are_counted_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    write = Results.write

    def slow(self: Results, result: FrameResult) -> None:
        gate.wait()
        write(self, result)

    monkeypatch.setattr(Results, "write", slow)
    recording = Recording("cam", NAMES, tmp_path, ("lines",))
    given = results(40)
    taken = [recording.write(result) for result in given]
    gate.set()
    recording.stop()
    assert module.WAITING_FRAMES <= sum(taken) < len(given)
    assert recording.frames == sum(taken)
    assert recording.dropped == len(given) - sum(taken)
    assert json.loads((recording.folder / "summary.json").read_text())["dropped"] > 0


def test_large_pictures_wait_in_smaller_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    monkeypatch.setattr(Results, "write", lambda self, result: gate.wait())
    monkeypatch.setattr(module, "WAITING_BYTES", 3 * 120 * 160 * 3)
    with Recording("cam", NAMES, tmp_path, ("lines",)) as recording:
        taken = sum(recording.write(result) for result in results(20))
        gate.set()
    assert 3 <= taken <= 4


def test_carried_results_say_so(tmp_path: Path) -> None:
    seen, carried = results(2)
    with Recording("cam", NAMES, tmp_path, ("lines",)) as recording:
        recording.write(seen)
        recording.write(replace(carried, carried=True))
    lines = (recording.folder / "results.jsonl").read_text().splitlines()
    assert [json.loads(line).get("carried", False) for line in lines] == [False, True]


def test_a_recording_without_results_leaves_nothing(tmp_path: Path) -> None:
    with Recording("cam", NAMES, tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_recording_without_objects_is_whole(tmp_path: Path) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    with Recording("cam", NAMES, tmp_path) as recording:
        for k in range(3):
            nothing = Detections.empty((60, 80))
            recording.write(
                FrameResult(Frame(image, k, k / 5), nothing, np.zeros(0, np.int64), 1.0)
            )
    assert len(times(recording.folder / "video.mp4")) == 3


def test_a_failing_disk_ends_the_recording_with_one_line_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    recording = Recording("cam", NAMES, tmp_path, ("lines",))
    (recording.folder / "results.jsonl").mkdir()
    given = results(5)
    recording.write(given[0])
    until(lambda: recording.problem is not None)
    until(lambda: not recording.write(given[1]))
    recording.stop()
    assert "results.jsonl" in str(recording.problem)


def test_a_folder_that_cannot_be_made_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(module.SinkError, match="file"):
        Recording("cam", NAMES, tmp_path / "file")


def test_recordings_of_one_second_do_not_meet(tmp_path: Path) -> None:
    with Recording("cam", NAMES, tmp_path) as one, Recording("cam", NAMES, tmp_path) as two:
        assert one.folder != two.folder


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("rtsp://10.0.0.1:8554/door?x=1", "rtsp_10.0.0.1_8554_door_x_1"),
        ("/videos/street one.mp4", "street_one"),
        ("camera 0", "camera_0"),
        ("..", "source"),
    ],
)
def test_sources_give_safe_file_names(name: str, wanted: str) -> None:
    assert file_name(name) == wanted
