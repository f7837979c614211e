"""Times of pictures where the container does not tell them, tells them wrongly, or starts its clock elsewhere."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import Source, VideoFile
from sipvideo.structures import Detections, FrameResult
from tests.media import Tone, number_in, picture, write_video
from tests.sinks.runs import plain

TENTH = Fraction(1, 10)
B_FRAMES = {"bf": "2", "x264-params": "b-adapt=0:scenecut=0"}
"""Every third picture is decoded before the two that are shown before it."""


def ten_per_second(path: Path, codec: str, begin: int = 0, tone: Tone | None = None) -> Path:
    images = [picture(k) for k in range(15)]
    ticks = range(begin * 10, begin * 10 + 15)
    encoder = {**B_FRAMES, "preset": "medium"} if codec == "libx264" else {"bf": "2"}
    if codec == "libx265":
        encoder = {"x265-params": "log-level=none:bframes=2:b-adapt=0", "preset": "ultrafast"}
    return write_video(
        path, images, codec, ticks, time_base=TENTH, encoder=encoder, fps=10, tone=tone
    )


def with_decoding_times(source: Path, target: Path) -> Path:
    """The same packets in another container, presented when they are decoded, as some writers have it."""
    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in file.demux(stream):
            if packet.dts is None:
                continue
            packet.pts = packet.dts
            packet.stream = copy
            out.mux(packet)
    return target


def assert_tenths(source: Source) -> None:
    frames = list(source)
    assert [number_in(frame.image) for frame in frames] == list(range(15))
    assert np.allclose([frame.timestamp for frame in frames], np.arange(15) / 10, atol=1e-3)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize(
    "name", ["a.avi", "a.asf", "a.wmv", "a.mkv", "a.mp4", "a.mov", "a.ts", "a.flv", "a.nut"]
)
def test_pictures_decoded_ahead_of_their_turn_come_at_even_steps(
    tmp_path: Path, codec: str, name: str
) -> None:
    if (codec, name) == ("mpeg4", "a.flv"):
        pytest.skip("no such container")
    assert_tenths(VideoFile(ten_per_second(tmp_path / name, codec)))


@pytest.mark.parametrize(
    ("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265"), ("a.m4v", "mpeg4")]
)
def test_elementary_streams_have_the_rate_that_they_tell(
    tmp_path: Path, name: str, codec: str
) -> None:
    with VideoFile(ten_per_second(tmp_path / name, codec)) as source:
        assert_tenths(source)
        assert source.fps == pytest.approx(10)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.nut"])
def test_decoding_times_given_as_presentation_times_are_put_right(
    tmp_path: Path, name: str
) -> None:
    whole = ten_per_second(tmp_path / "whole.mp4", "libx264")
    assert_tenths(VideoFile(with_decoding_times(whole, tmp_path / name)))


def test_an_avi_with_empty_places_keeps_its_times_and_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    images = [picture(k) for k in range(15)]
    write_video(path, images, "mpeg4", range(0, 30, 2), time_base=Fraction(1, 20), fps=20)
    assert_tenths(VideoFile(path))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov", "a.ts", "a.flv", "a.nut", "a.webm"])
@pytest.mark.parametrize("sound", [True, False])
def test_second_0_is_the_start_of_the_file_whatever_its_clock_says(
    tmp_path: Path, name: str, sound: bool
) -> None:
    codec = "libvpx" if name == "a.webm" else "libx264"
    audio = "libopus" if name == "a.webm" else "aac"
    tone = Tone(audio, seconds=1.5, rate=48000, begin=7200) if sound else None
    path = ten_per_second(tmp_path / name, codec, 7200, tone)
    target = tmp_path / "out.mp4"
    with VideoFile(path) as source, AnnotatedVideo(target, plain, source) as sink:
        assert source.start == 0
        assert source.duration is None or source.duration == pytest.approx(1.5, abs=0.25)
        times = []
        for frame in source:
            times.append(frame.timestamp)
            nothing = Detections.empty(frame.size)
            sink.write(FrameResult(frame, nothing, np.zeros(0, np.int64), 1.0))
    assert times[0] == pytest.approx(0, abs=0.1)
    assert np.allclose(np.diff(times), 0.1, atol=2e-3)
    with av.open(str(target)) as container:
        assert container.duration is not None
        assert container.duration / av.time_base == pytest.approx(1.5, abs=0.15)
        sounds = [p.pts * p.time_base for p in container.demux(audio=0) if p.pts] if sound else []
        assert len(sounds) > 50 or not sound
        assert all(second < 1.6 for second in sounds)


def test_a_play_list_on_the_disk_counts_from_its_own_start(tmp_path: Path) -> None:
    ten_per_second(tmp_path / "part.ts", "libx264", 3600)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXTINF:1.5,", "part.ts"]
    (tmp_path / "list.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
    with VideoFile(tmp_path / "list.m3u8") as source:
        assert_tenths(source)
        assert source.duration == pytest.approx(1.5, abs=0.15)


def test_a_play_list_without_an_end_mark_is_read_from_its_first_piece_and_ends(
    tmp_path: Path,
) -> None:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1"]
    for k in range(5):
        ten_per_second(tmp_path / f"{k}.ts", "libx264", 100 + 2 * k)
        lines += ["#EXTINF:0.5,", f"{k}.ts"]
    (tmp_path / "list.m3u8").write_text("\n".join([*lines, ""]))
    assert len(list(VideoFile(tmp_path / "list.m3u8"))) == 75


def test_recordings_joined_end_to_end_go_on_where_the_clock_starts_anew(tmp_path: Path) -> None:
    first = ten_per_second(tmp_path / "a.ts", "libx264", 100)
    for begin in (100, 0, 9000):
        second = ten_per_second(tmp_path / "b.ts", "libx264", begin)
        path = tmp_path / "joined.ts"
        path.write_bytes(first.read_bytes() + second.read_bytes())
        times = [frame.timestamp for frame in VideoFile(path)]
        assert len(times) == 30
        assert np.allclose(np.diff(times), 0.1, atol=2e-3)


def test_a_lost_picture_leaves_the_others_at_their_times(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    images = [picture(k) for k in range(15)]
    write_video(path, images, "mjpeg", range(15), time_base=TENTH, fps=10)
    data = bytearray(path.read_bytes())
    starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
    data[starts[5] : starts[6] - 8] = bytes(starts[6] - 8 - starts[5])
    path.write_bytes(data)
    times = [frame.timestamp for frame in VideoFile(path)]
    assert np.allclose(times, [k / 10 for k in range(15) if k != 5])
