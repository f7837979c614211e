"""What a run that was killed has written: a whole output is made of it, wherever the writing stopped."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from sipvideo.sinks import AnnotatedVideo, Sink, YouTubeVISResults
from sipvideo.sinks import sink as sink_module
from sipvideo.sinks.sink import hidden
from sipvideo.sources import VideoFile
from sipvideo.structures import Frame, FrameResult
from tests.media import Tone, picture, write_video
from tests.sinks.runs import SIZE, assert_whole, every_sink, one_result, plain

FRAMES = 75
KINDS = range(10)


def run(count: int = FRAMES, size: tuple[int, int] = SIZE) -> list[FrameResult]:
    """Three seconds with two objects that have embeddings."""
    rng = np.random.default_rng(0)
    results = []
    for k in range(count):
        frame = Frame(picture(k, size), k, k / 25)
        masks = [rng.random(SIZE) < 0.5 for _ in range(2)]
        result = one_result([1, 2], masks, labels=[0, 1], frame=frame)
        embeddings = rng.normal(size=(2, 8)).astype(np.float32)
        found = dataclasses.replace(result.detections, embeddings=embeddings)
        results.append(dataclasses.replace(result, detections=found))
    return results


def killed(sink: Sink, results: list[FrameResult], folder: Path) -> Path:
    """Writes, and copies what lies on disk then, as a process that is killed leaves it; the sink goes on and ends."""
    for result in results:
        sink.write(result)
    folder.mkdir()
    left = folder / sink._partial.name
    if sink._partial.is_dir():
        shutil.copytree(sink._partial, left)
    else:
        shutil.copy(sink._partial, left)
    sink.close()
    return left


def sink_number(number: int, folder: Path) -> Sink:
    sinks = every_sink(folder)
    chosen = sinks.pop(number)
    for other in sinks:
        other.discard()
    return chosen


@pytest.mark.parametrize("number", KINDS)
def test_a_killed_run_loses_less_than_two_seconds(tmp_path: Path, number: int) -> None:
    sink = sink_number(number, tmp_path)
    results = run(1 if number == 1 else FRAMES)
    left = killed(sink, results, tmp_path / "killed")
    path = left.with_name(sink.path.name)
    kept = sink.assemble(left, path)
    assert_whole(path)
    assert not left.exists()
    if kept.frames is not None:
        assert len(results) - 50 < kept.frames <= len(results)
        if kept.seconds is not None:
            assert kept.seconds == pytest.approx((kept.frames - 1) / 25, abs=0.15)
    if number not in (0, 9):  # the video's last pieces, the last second of appearances
        assert same(path, sink.path)


def same(path: Path, other: Path) -> bool:
    """Whether a file or a folder has the same bytes; Parquet notes no time of its making."""
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        return names == sorted(file.name for file in other.iterdir()) and all(
            same(path / name, other / name) for name in names
        )
    return path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("number", [0, 3, 4, 5, 7, 8, 9])
def test_a_file_cut_off_anywhere_gives_a_whole_output(tmp_path: Path, number: int) -> None:
    sink = sink_number(number, tmp_path)
    whole = killed(sink, run(), tmp_path / "killed")
    content = whole.read_bytes()
    counts = []
    rng = np.random.default_rng(number)
    for length in sorted(rng.integers(1, len(content), 12).tolist()):
        part = hidden(tmp_path / f"{length}{sink.path.suffix}")
        part.write_bytes(content[:length])
        path = part.with_name(f"{length}{sink.path.suffix}")
        kept = sink.assemble(part, path)
        assert not part.exists()
        counts.append(kept.frames or 0)
        assert kept.frames == 0 or path.exists()
        if kept.frames:
            assert_whole(path)
    assert counts == sorted(counts)
    assert counts[-1] > FRAMES / 2 or number in (7, 8, 9)


def test_the_hidden_file_of_a_video_plays_while_it_grows(tmp_path: Path) -> None:
    sink = AnnotatedVideo(tmp_path / "a.mp4", plain)
    shown = []
    for result in run(size=(48, 64)):
        sink.write(result)
        if result.frame.index in (40, 74):
            with av.open(f"file:{sink._partial}") as container:
                shown.append(sum(1 for _ in container.decode(video=0)))
    sink.discard()
    assert 41 - 50 < shown[0] < shown[1]
    assert shown[1] > FRAMES - 50


@pytest.mark.parametrize(("delay", "plays"), [(3.0, True), (12.0, False)])
def test_sound_that_begins_late_costs_no_picture(tmp_path: Path, delay: float, plays: bool) -> None:
    pictures = [picture(k, (48, 64)) for k in range(350)]
    source = write_video(tmp_path / "late.mkv", pictures, tone=Tone(begin=int(delay)))
    with VideoFile(source) as clip, AnnotatedVideo(tmp_path / "a.mp4", plain, clip) as sink:
        for frame in clip:
            sink.write(one_result([], [], frame=frame))
            if frame.index == 300:
                content = sink._partial.read_bytes()
    assert (b"moof" in content) == plays
    with av.open(str(sink.path)) as container:
        sound = container.streams.audio[0]
        assert sum(1 for _ in container.decode(video=0)) == 350
        assert float(sound.start_time * sound.time_base) == pytest.approx(delay, abs=0.05)


def test_a_json_of_several_videos_survives(tmp_path: Path) -> None:
    sink = YouTubeVISResults(tmp_path / "a.json", 7, [4, 5], length=30)
    first, second = run(20), run(10)
    for result in first:
        sink.write(result)
    sink.start_video(9)
    left = killed(sink, second, tmp_path / "killed")
    kept = sink.assemble(left, tmp_path / "again.json")
    assert kept.frames == 30
    tracks = json.loads((tmp_path / "again.json").read_text())
    assert [(t["video_id"], t["category_id"]) for t in tracks] == [(7, 4), (7, 5), (9, 4), (9, 5)]
    assert [len(t["segmentations"]) for t in tracks] == [30, 30, 10, 10]
    assert (tmp_path / "again.json").read_bytes() == sink.path.read_bytes()


@pytest.mark.parametrize("number", KINDS)
def test_growing_files_are_forced_to_the_disk_and_whole_ones_before_they_get_their_name(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipvideo.sinks.sink.FORCE_EVERY", 0.0)
    happened: list[str] = []
    force, replace = sink_module.to_disk, os.replace

    def forced(path: Path) -> None:
        happened.append(f"forced {path.name}")
        force(path)

    def named(old: Path, new: Path) -> None:
        happened.append(f"named {Path(old).name} {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(sink_module, "to_disk", forced)
    monkeypatch.setattr(os, "replace", named)
    sink = sink_number(number, tmp_path)
    if sink.path.suffix == "":
        sink.discard()
        pytest.skip("single pictures are not forced to the disk")
    with sink:
        sink.write(one_result([], [], index=0))
        assert f"forced {hidden(sink.path).name}" in happened
    (last,) = [k for k, what in enumerate(happened) if what.endswith(f" {sink.path.name}")]
    assert f"forced {happened[last].split()[1]}" in happened[:last]


def test_files_are_not_forced_to_the_disk_after_every_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[Path] = []
    monkeypatch.setattr(sink_module, "FORCE_EVERY", 3600.0)
    monkeypatch.setattr(sink_module, "to_disk", forced.append)
    with YouTubeVISResults(tmp_path / "a.json") as sink:
        for k in range(5):
            sink.write(one_result([], [], index=k))
        assert forced == []
