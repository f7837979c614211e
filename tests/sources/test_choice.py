"""Which of several video streams is the film, and that the choice is told."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from sipvideo.errors import SourceError
from sipvideo.sources import VideoFile
from tests.media import Tone, picture, write_video


def write_streams(path: Path, streams: list[tuple[str, tuple[int, int], int, Disposition]]) -> Path:
    """One file of several video streams: codec, (height, width), number of pictures, marks."""
    with av.open(str(path), "w") as container:
        made: list[Any] = []
        for codec, (height, width), _, marks in streams:
            stream: Any = container.add_stream(codec, rate=10)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.disposition = marks
            made.append(stream)
        container.start_encoding()
        for stream, (_, size, count, _) in zip(made, streams, strict=True):
            for index in range(count):
                frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


NO_MARK = Disposition(0)
FILM = ("libx264", (96, 128), 12, NO_MARK)
DEFAULT = ("libx264", (96, 128), 12, Disposition.default)
STILL = ("mjpeg", (200, 300), 1, NO_MARK)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv"])
@pytest.mark.parametrize(
    "streams",
    [
        [STILL, FILM],
        [FILM, STILL],
        [STILL, DEFAULT],
        [("libx264", (48, 64), 12, NO_MARK), FILM],
        [FILM, ("libx264", (48, 64), 12, NO_MARK)],
        [("libx264", (120, 160), 12, NO_MARK), DEFAULT],
        [("mjpeg", (48, 64), 3, NO_MARK), ("mjpeg", (300, 400), 1, NO_MARK), FILM],
    ],
)
def test_the_film_is_found_among_stills_thumbnails_and_smaller_ones(
    tmp_path: Path, name: str, streams: list[tuple[str, tuple[int, int], int, Disposition]]
) -> None:
    path = write_streams(tmp_path / name, streams)
    source = VideoFile(path)
    frames = list(source)
    assert [frame.size for frame in frames] == [(96, 128)] * 12
    assert np.allclose([frame.timestamp for frame in frames], np.arange(12) / 10, atol=2e-3)
    number = [(size, count) for _, size, count, _ in streams].index(((96, 128), 12)) + 1
    about = f"number {number} is shown (128 x 96, h264)"
    assert source.notes == [f"of {len(streams)} video streams {about}"]


def test_a_cover_is_not_taken_for_the_film(tmp_path: Path) -> None:
    cover = ("mjpeg", (300, 400), 1, Disposition.attached_pic)
    source = VideoFile(write_streams(tmp_path / "a.mp4", [cover, FILM]))
    assert [frame.size for frame in source] == [(96, 128)] * 12
    assert source.notes == ["of 2 video streams number 1 is shown (128 x 96, h264)"]


def test_one_stream_is_no_choice(tmp_path: Path) -> None:
    source = VideoFile(write_streams(tmp_path / "a.mp4", [FILM]))
    assert len(list(source)) == 12
    assert source.notes == []


def test_the_best_variant_of_a_play_list_is_shown(tmp_path: Path) -> None:
    master = ["#EXTM3U"]
    for name, size in (("low", (48, 64)), ("high", (96, 128)), ("middle", (72, 96))):
        images = [picture(k, size) for k in range(25)]
        write_video(tmp_path / f"{name}.ts", images, tone=Tone(seconds=1))
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1.0,", f"{name}.ts"]
        (tmp_path / f"{name}.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
        rate = size[0] * 10_000
        master += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION={size[1]}x{size[0]}",
            f"{name}.m3u8",
        ]
    (tmp_path / "master.m3u8").write_text("\n".join([*master, ""]))
    source = VideoFile(tmp_path / "master.m3u8")
    assert [frame.size for frame in source] == [(96, 128)] * 25
    assert source.notes == ["of 3 video streams number 2 is shown (128 x 96, h264)"]


def test_covers_alone_are_no_video(tmp_path: Path) -> None:
    cover = ("mjpeg", (48, 64), 1, Disposition.attached_pic)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound: Any = container.add_stream("aac", rate=44100)
        stream: Any = container.add_stream("mjpeg", rate=1)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        stream.disposition = cover[3]
        frame = av.VideoFrame.from_ndarray(picture(0, (48, 64)), format="rgb24")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        silence.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    with pytest.raises(SourceError, match="no video in it"):
        VideoFile(path)
