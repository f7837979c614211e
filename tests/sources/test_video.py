"""Video files of many formats, whole and damaged."""

from __future__ import annotations

import gc
import re
import threading
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sipvideo.errors import SourceError
from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, FrameResult
from tests.media import SIZE, Tone, film, number_in, picture, turn_mp4, write_video
from tests.sinks.runs import plain
from tests.sources.frames import assert_alike, read_until_error


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.webm", "libvpx-vp9"),
        ("a.avi", "mjpeg"),
        ("a.avi", "mpeg4"),
        ("a.mov", "mjpeg"),
        ("a.ts", "libx264"),
        ("a.h264", "libx264"),
    ],
)
def test_every_frame_comes_in_order_with_its_time_and_colours(
    tmp_path: Path, name: str, codec: str
) -> None:
    with VideoFile(film(tmp_path / name, 20, codec)) as source:
        frames = list(source)
    assert source.frame_size == SIZE
    assert source.fps == 25
    assert not source.is_live
    assert [number_in(f.image) for f in frames] == list(range(20))
    assert [f.index for f in frames] == list(range(20))
    seconds = [f.timestamp - (source.start or 0) for f in frames]
    assert np.allclose(seconds, np.arange(20) / 25, atol=1e-6)
    for frame in frames:
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert_alike(frame.image, picture(frame.index))


def test_mp4_declares_count_rate_duration_and_path(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 30, tone=Tone(seconds=3))
    with VideoFile(path) as source:
        assert source.frame_count == 30
        assert source.duration == pytest.approx(1.2)
        assert source.path == path
        assert source.start == 0


def test_variable_frame_rate_timestamps_are_kept_exactly(tmp_path: Path) -> None:
    ticks = np.cumsum(np.random.default_rng(3).integers(90, 4000, 25)).tolist()
    base = Fraction(1, 12800)
    path = tmp_path / "vfr.mp4"
    images = [picture(k) for k in range(25)]
    write_video(path, images, ticks=ticks, time_base=base, options={"movie_timescale": "12800"})
    with VideoFile(path) as source:
        assert source.time_base == base
        assert [f.timestamp for f in source] == [float((t - ticks[0]) * base) for t in ticks]


def test_pictures_free_their_memory_without_the_garbage_collector(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 20)
    gc.collect()
    gc.disable()
    before = {id(one) for one in gc.get_objects() if type(one) is av.VideoFrame}  # other tests'
    try:
        assert len(list(VideoFile(path))) == 20
        found = [one for one in gc.get_objects() if type(one) is av.VideoFrame]
        left = [one for one in found if id(one) not in before]
    finally:
        gc.enable()
    assert left == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_titles_of_other_encodings_are_no_obstacle(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with av.open(str(path), "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = "caf\u00e9"
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE
        stream.metadata["title"] = "\u00fcber"
        stream.metadata["DURATION"] = "00:00:1.2.3"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert b"caf\xe9" in path.read_bytes()
    assert len(list(VideoFile(path))) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 3)])
def test_tiny_pictures_are_read_and_written(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [np.full((*size, 3), 40 * k, np.uint8) for k in range(1, 5)]
    path, target = tmp_path / "tiny.mkv", tmp_path / "out.mp4"
    write_video(path, images, "ffv1")
    with VideoFile(path) as source, AnnotatedVideo(target, plain, source) as sink:
        for frame, image in zip(source, images, strict=True):
            assert frame.size == size
            assert np.abs(frame.image.astype(int) - image).max() <= 2
            nothing = Detections.empty(size)
            sink.write(FrameResult(frame, nothing, np.zeros(0, np.int64), 1.0))
    assert len(list(VideoFile(target))) == 4


def test_the_size_may_change_on_the_way(tmp_path: Path) -> None:
    for name in ("a.ts", "a.h264"):
        large, small = tmp_path / f"1{name}", tmp_path / f"2{name}"
        write_video(large, [picture(k) for k in range(5)])
        write_video(small, [picture(k, (64, 96)) for k in range(5)], ticks=range(5, 10))
        path = tmp_path / name
        path.write_bytes(large.read_bytes() + small.read_bytes())
        frames = list(VideoFile(path))
        assert [frame.size for frame in frames] == [SIZE] * 5 + [(64, 96)] * 5
        assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 3, 4] * 2
        assert np.allclose(np.diff([frame.timestamp for frame in frames]), 0.04, atol=1e-3)


def test_turned_pixels_turn_their_shape(tmp_path: Path) -> None:
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        image = av.VideoFrame.from_ndarray(picture(0, (96, 96)), format="rgb24")
        container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    turn_mp4(path, (0, 1, -1, 0))
    assert VideoFile(path).pixel_aspect == Fraction(11, 16)


@pytest.mark.parametrize("size", [(97, 129), (33, 64), (2, 2), (64, 35)])
def test_odd_sizes_keep_their_size(tmp_path: Path, size: tuple[int, int]) -> None:
    images = [picture(k, size) for k in range(3)]
    with VideoFile(write_video(tmp_path / "odd.mp4", images)) as source:
        assert source.frame_size == size
        assert [f.size for f in source] == [size] * 3


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((1, 0, 0, 1), lambda image: image),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((1, 0, 0, -1), lambda image: image[::-1]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2)),
        ((0, -1, -1, 0), lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    ],
)
def test_a_phone_video_is_turned_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], upright: Any
) -> None:
    path = film(tmp_path / "phone.mp4", 3)
    turn_mp4(path, matrix)
    expected = upright(picture(1))
    with VideoFile(path) as source:
        assert source.frame_size == expected.shape[:2]
        assert_alike(list(source)[1].image, expected)


def test_the_quarter_turn_agrees_with_the_angle_that_ffmpeg_reports(tmp_path: Path) -> None:
    path = film(tmp_path / "phone.mp4", 1)
    turn_mp4(path, (0, 1, -1, 0))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation == -90  # clockwise
    assert_alike(next(iter(VideoFile(path))).image, np.rot90(picture(0), -1))


@pytest.mark.parametrize(("matrix", "full"), [(1, False), (5, False), (1, True), (5, True)])
def test_colours_follow_the_marks_of_the_file(tmp_path: Path, matrix: int, full: bool) -> None:
    path = tmp_path / "marked.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        frame = av.VideoFrame.from_ndarray(picture(5), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=matrix, dst_color_range=2 if full else 1
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert_alike(next(iter(VideoFile(path))).image, picture(5), tolerance=4)


def test_a_file_can_be_read_twice_with_the_same_result(tmp_path: Path) -> None:
    with VideoFile(film(tmp_path / "a.mp4", 12)) as source:
        first, second = list(source), list(source)
    assert [f.timestamp for f in first] == [f.timestamp for f in second]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, second, strict=True))


def test_closing_ends_a_running_iteration_and_refuses_a_new_one(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "a.mp4", 12))
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == []
    with pytest.raises(SourceError, match="the source is closed"):
        iter(source)


def test_a_source_can_be_closed_while_another_thread_reads_it(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "a.mp4", 200))
    started, seen = threading.Event(), []

    def read() -> None:
        for frame in source:
            seen.append(frame.index)
            started.set()

    reader = threading.Thread(target=read)
    reader.start()
    started.wait(10)
    source.close()
    reader.join(10)
    assert not reader.is_alive()
    assert seen == list(range(len(seen)))


def test_open_files_do_not_pile_up_when_readers_stop_early(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    path = film(tmp_path / "a.mp4", 12)
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        with VideoFile(path) as source:
            for _ in source:
                break
    assert len(list(descriptors.iterdir())) <= before


def test_an_edit_list_that_hides_frames_is_not_taken_for_damage(tmp_path: Path) -> None:
    whole, cut = film(tmp_path / "whole.mp4", 50), tmp_path / "cut.mp4"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None or stream.time_base is None:
                continue
            shift = int(1 / stream.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
            target.mux(packet)
    frames = list(VideoFile(cut))
    assert [number_in(f.image) for f in frames][-1] == 49 % 24
    assert len(frames) < 40


def test_a_last_frame_that_is_held_for_long_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = write_video(tmp_path / "slides.mp4", [picture(k) for k in range(3)], ticks=[0, 25, 1500])
    assert [f.timestamp for f in VideoFile(path)] == [0, 1, 60]


# Damaged and wrong files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "no such file"),
        ("text.mp4", b"These are only words.\n" * 50, "not a video"),
        ("empty.mp4", b"", "not a video"),
        ("noise.avi", bytes(range(256)) * 40, "not a video"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    content: bytes | None,
    message: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        VideoFile(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.int16), format="s16", layout="mono"
        )
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    with pytest.raises(SourceError, match=r"song\.m4a: no video in it"):
        VideoFile(path)


def test_an_mp4_without_its_index_is_called_cut_off(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 30)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"a\.mp4: damaged or cut off: the index \(moov\)"):
        VideoFile(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")]
)
def test_a_file_that_is_cut_off_gives_its_frames_and_then_says_where_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, codec: str
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (*SIZE, 3), np.uint8) for _ in range(40)]
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = write_video(tmp_path / name, noise, codec, options=options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, message = read_until_error(VideoFile(path))
    assert 10 <= len(frames) < 30
    assert [f.index for f in frames] == list(range(len(frames)))
    found = re.search(r"ends after (\d+) frames, at ([\d.]+) s of 1\.60 s", message)
    assert found is not None
    assert int(found[1]) == len(frames)
    assert float(found[2]) == pytest.approx(len(frames) / 25, abs=0.06)
    assert capfd.readouterr() == ("", "")


def test_a_file_whose_pictures_are_all_damaged_is_refused(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 10)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"not one frame can be decoded \(h264\)"):
        VideoFile(path)


def test_a_single_damaged_packet_costs_frames_but_not_the_rest(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", 30, "mjpeg")
    data = bytearray(path.read_bytes())
    starts = [m.start() for m in re.finditer(b"\xff\xd8\xff", data)]
    data[starts[10] : starts[11] - 8] = bytes(starts[11] - 8 - starts[10])
    path.write_bytes(data)
    source = VideoFile(path)
    assert source.notes == []
    frames = list(source)
    assert [number_in(f.image) % 24 for f in frames] == [k % 24 for k in range(30) if k != 10]
    assert [f.index for f in frames] == [k for k in range(30) if k != 10]
    assert source.notes == ["1 pictures cannot be decoded and are left out"]


def test_damaged_pictures_that_the_decoder_shows_all_the_same_are_told(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", 30, "libx264")
    data = bytearray(path.read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, 40, np.uint8).tobytes()
    middle = len(data) * 5 // 8
    data[middle : middle + 40] = noise
    path.write_bytes(data)
    source = VideoFile(path)
    frames = list(source)
    assert len(frames) >= 20
    assert len(source.notes) == 1
    assert "damaged" in source.notes[0] or "cannot be decoded" in source.notes[0]


def test_pictures_with_metadata_of_a_kind_that_pyav_does_not_know_are_read(tmp_path: Path) -> None:
    file = BytesIO()
    exif = Image.Exif()
    exif[0x010F] = "maker"
    Image.fromarray(picture(3)).save(file, "JPEG", exif=exif, quality=95)
    path = tmp_path / "camera.mjpeg"
    path.write_bytes(file.getvalue() * 4)
    assert [number_in(frame.image) for frame in VideoFile(path)] == [3] * 4
