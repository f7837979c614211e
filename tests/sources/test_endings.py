"""Whole files whose declared lengths belong to something else, and files that were really cut off."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sipvideo.sources import VideoFile
from tests.media import SIZE, Tone, picture, write_video
from tests.sources.frames import read_until_error


def noise(count: int) -> list[Any]:
    """Pictures of about equal size in every codec."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(count)]


def trimmed(source: Path, target: Path, begin: float, seconds: float) -> Path:
    """A cut without encoding: frames before ``begin`` stay in the file, hidden by an edit list."""
    with av.open(str(source)) as file, av.open(str(target), "w") as out:
        stream = file.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in file.demux(stream):
            if packet.dts is None or packet.pts is None or stream.time_base is None:
                continue
            if packet.pts * stream.time_base >= begin + seconds:
                break
            shift = round(begin / stream.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            out.mux(packet)
    return target


def test_a_trimmed_film_is_whole(tmp_path: Path) -> None:
    images = [picture(k) for k in range(40)]
    path = write_video(
        tmp_path / "long.mp4", images, time_base=Fraction(1, 10), fps=10, encoder={"g": "250"}
    )
    for name in ("a.mp4", "a.mov"):
        frames = list(VideoFile(trimmed(path, tmp_path / name, 1.15, 0.5)))
        assert len(frames) == 5


def test_few_frames_in_a_long_avi_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "few.avi"
    ticks = [0, 2, 4, 6, 8, 40]
    images = [picture(k) for k in range(6)]
    write_video(path, images, "mjpeg", ticks, time_base=Fraction(1, 20), fps=20)
    assert [round(f.timestamp, 3) for f in VideoFile(path)] == [k / 20 for k in ticks]


@pytest.mark.parametrize("name", ["a.wmv", "a.asf", "a.mkv", "a.mp4", "a.ts", "a.avi", "a.flv"])
def test_pictures_that_sound_outlasts_are_whole(tmp_path: Path, name: str) -> None:
    codec = {"a.wmv": "wmv2", "a.asf": "wmv2", "a.avi": "mpeg4", "a.flv": "flv"}.get(
        name, "libx264"
    )
    audio = {"a.wmv": "wmav2", "a.asf": "wmav2", "a.avi": "mp2"}.get(name, "aac")
    images = [picture(k) for k in range(10)]
    write_video(tmp_path / name, images, codec, tone=Tone(audio, seconds=8))
    assert len(list(VideoFile(tmp_path / name))) == 10


def test_slow_pictures_of_wmv_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "slow.wmv"
    images = [picture(k) for k in range(5)]
    write_video(path, images, "wmv2", range(0, 10, 2), time_base=Fraction(1), fps=1)
    assert len(list(VideoFile(path))) == 5


CONTAINERS = [
    ("a.mp4", "libx264"),
    ("a.mov", "mjpeg"),
    ("frag.mp4", "libx264"),
    ("a.mkv", "libx264"),
    ("b.mkv", "mpeg4"),
    ("a.webm", "libvpx"),
    ("a.avi", "mpeg4"),
    ("b.avi", "mjpeg"),
    ("a.wmv", "wmv2"),
    ("a.flv", "flv"),
    ("a.ts", "libx264"),
    ("a.m2ts", "libx264"),
    ("a.mpg", "mpeg1video"),
    ("a.vob", "mpeg2video"),
    ("a.ogv", "libtheora"),
    ("a.gif", "gif"),
    ("a.y4m", "rawvideo"),
    ("a.ivf", "libvpx"),
    ("a.mjpeg", "mjpeg"),
    ("a.mxf", "mpeg2video"),
]


@pytest.mark.parametrize(("name", "codec"), CONTAINERS)
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_file_that_lost_its_end_is_told_in_every_container(
    tmp_path: Path, name: str, codec: str, part: float
) -> None:
    options = {"movflags": "faststart"} if name in ("a.mp4", "a.mov") else {}
    if name.startswith("frag"):
        options = {"movflags": "frag_keyframe+empty_moov"}
    try:
        path = write_video(tmp_path / name, noise(20), codec, options=options, encoder={"g": "5"})
    except (ValueError, av.error.FFmpegError):
        pytest.skip(f"this build of PyAV cannot write {name}")
    assert len(list(VideoFile(path))) == 20
    data = path.read_bytes()
    path.write_bytes(data[: round(part * len(data)) - 1])
    frames, message = read_until_error(VideoFile(path))
    assert 20 * part - 8 <= len(frames) < 20
    assert "damaged or cut off: ends after" in message or "reading stopped" in message


def test_bytes_lost_behind_the_last_frame_are_no_loss(tmp_path: Path) -> None:
    for name, codec in (("a.mkv", "libx264"), ("a.avi", "mjpeg")):
        path = write_video(tmp_path / name, [picture(k) for k in range(10)], codec)
        data = path.read_bytes()
        index = data.rindex(b"idx1" if name.endswith("avi") else b"\x1c\x53\xbb\x6b")
        path.write_bytes(data[: index + 12])
        assert len(list(VideoFile(path))) == 10
