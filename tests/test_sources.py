"""Sources: real files of many formats, damaged ones, pictures of all kinds, addresses, cameras."""

from __future__ import annotations

import contextlib
import functools
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sipvideo.errors import SourceError
from sipvideo.sources import (
    Camera,
    ImageFolder,
    NetworkStream,
    Source,
    VideoFile,
    open_source,
    read_picture,
)
from sipvideo.structures import Frame
from tests.media import SIZE, Tone, film, number_in, picture, turn_mp4, write_video


def read_until_error(source: Source) -> tuple[list[Frame], str]:
    """The frames before a SourceError, and its line."""
    frames: list[Frame] = []
    with pytest.raises(SourceError) as caught:
        frames.extend(source)  # extend keeps what came before the error
    return frames, str(caught.value)


def quarters(image: NDArray[np.uint8]) -> list[tuple[int, ...]]:
    """The colours in the middle of the four quarters, in reading order."""
    h, w = image.shape[:2]
    points = [
        (h // 4, w // 4),
        (h // 4, w * 3 // 4),
        (h * 3 // 4, w // 4),
        (h * 3 // 4, w * 3 // 4),
    ]
    return [tuple(image[y, x].tolist()) for y, x in points]


def assert_alike(image: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: int = 8) -> None:
    assert image.shape == expected.shape
    got, wanted = np.array(quarters(image)), np.array(quarters(expected))
    assert np.abs(got - wanted).max() <= tolerance, (got, wanted)


# Video files


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
        assert [f.timestamp for f in source] == [float(t * base) for t in ticks]


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
    frames = list(VideoFile(path))
    assert [number_in(f.image) % 24 for f in frames] == [k % 24 for k in range(30) if k != 10]
    assert [f.index for f in frames] == [k for k in range(30) if k != 10]


# Pictures


def save(path: Path, image: NDArray[Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def test_pictures_come_in_natural_order_with_names_and_times(tmp_path: Path) -> None:
    for number in (10, 2, 1, 100):
        save(tmp_path / f"frame{number}.png", picture(number))
    save(tmp_path / ".hidden.png", picture(0))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    with ImageFolder(tmp_path, fps=10) as source:
        frames = list(source)
    assert [f.name for f in frames] == ["frame1.png", "frame2.png", "frame10.png", "frame100.png"]
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert [f.timestamp for f in frames] == [0, 0.1, 0.2, 0.3]
    assert (source.frame_count, source.fps, source.duration) == (4, 10, 0.4)
    assert source.frame_size == SIZE
    for frame, number in zip(frames, (1, 2, 10, 100), strict=True):
        assert np.array_equal(frame.image, picture(number))


def test_patterns_and_single_pictures_are_image_folders_too(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b1.png"):
        save(tmp_path / "deep" / name, picture(1))
    with open_source(str(tmp_path / "*" / "a*.png")) as source:
        assert [f.name for f in source] == ["a1.png", "a2.png"]
    with open_source(str(tmp_path / "deep" / "b1.png")) as source:
        assert [f.name for f in source] == ["b1.png"]
    with open_source(str(tmp_path / "deep"), fps=5) as source:
        assert [f.timestamp for f in source] == [0, 0.2, 0.4]


def test_a_folder_with_brackets_in_its_name_is_no_pattern(tmp_path: Path) -> None:
    save(tmp_path / "take [1]" / "a.png", picture(1))
    assert len(list(open_source(str(tmp_path / "take [1]")))) == 1


def test_pictures_may_differ_in_size(tmp_path: Path) -> None:
    sizes = [(30, 40), (41, 31), (1, 1)]
    for k, size in enumerate(sizes):
        save(tmp_path / f"{k}.png", picture(k, size))
    assert [f.size for f in ImageFolder(tmp_path)] == sizes


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".JPEG"])
def test_every_picture_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", picture(3))
    assert_alike(read_picture(path), picture(3))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    exif = Image.Exif()
    exif[0x112] = orientation
    path = save(tmp_path / f"a{suffix}", picture(3), exif=exif.tobytes())
    assert_alike(read_picture(path), np.rot90(picture(3), turns))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight_without_losing_the_range(tmp_path: Path, suffix: str) -> None:
    deep = picture(3).astype(np.uint16) * 257
    ok, data = cv2.imencode(suffix, deep[:, :, ::-1])
    assert ok
    (tmp_path / f"a{suffix}").write_bytes(data.tobytes())
    assert np.array_equal(read_picture(tmp_path / f"a{suffix}"), picture(3))


def test_grey_pictures_get_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
    for path in (save(tmp_path / "g.png", grey), save(tmp_path / "g.bmp", grey)):
        assert np.array_equal(read_picture(path), np.repeat(grey[:, :, None], 3, 2))
    deep = tmp_path / "deep.png"
    deep.write_bytes(cv2.imencode(".png", grey.astype(np.uint16) * 257)[1].tobytes())
    assert np.array_equal(read_picture(deep)[:, :, 1], grey)


def test_transparent_parts_become_white(tmp_path: Path) -> None:
    image = np.dstack((picture(3), np.full(SIZE, 255, np.uint8)))
    image[:48, :, 3] = 0
    image[48:, :64, 3] = 128
    got = read_picture(save(tmp_path / "a.png", image))
    assert (got[:48] == 255).all()
    assert np.array_equal(got[48:, 64:], picture(3)[48:, 64:])
    half = picture(3)[60, 10] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(got[60, 10] - half).max() <= 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
def test_a_damaged_picture_is_named_and_the_ones_before_it_are_kept(
    tmp_path: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    paths = [save(tmp_path / f"{k}{suffix}", noise) for k in range(3)]
    paths[1].write_bytes(paths[1].read_bytes()[: paths[1].stat().st_size * 6 // 10])
    frames, message = read_until_error(ImageFolder(tmp_path))
    assert [f.name for f in frames] == [paths[0].name]
    assert message == f"{paths[1]}: not a picture, or damaged"


def test_a_jpeg_with_a_film_behind_it_is_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "motion.jpg", picture(2))
    path.write_bytes(path.read_bytes() + b"\xff\xda\x00\x08" + bytes(range(256)) * 20)
    assert_alike(read_picture(path), picture(2))


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    path.write_bytes(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.float32))[1].tobytes())
    with pytest.raises(SourceError, match="expected 8 or 16 bits per channel, got float32"):
        read_picture(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere", "no such file"),
        ("nowhere/*.jpg", "no such file or folder"),
        ("nowhere.jpg", "no such file or folder"),
        (".", "no pictures"),
        ("empty.png", "not a picture, or damaged"),
    ],
)
def test_where_there_are_no_pictures_the_source_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text == "empty.png":
        Path(text).write_bytes(b"")
    with pytest.raises(SourceError, match=f"^{re.escape(text)}: {message}"):
        open_source(text)


def test_a_frame_rate_of_zero_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0))
    with pytest.raises(SourceError, match="expected a frame rate above 0, got 0"):
        ImageFolder(tmp_path, fps=0)


# Network streams


@contextlib.contextmanager
def tcp_server(data: bytes, then_silent: bool = False) -> Iterator[str]:
    """Sends the bytes to whoever connects, then hangs up, or keeps the line open without a word."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(data)
                    if then_silent:
                        done.wait(10)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join(10)


@pytest.fixture
def transport_stream(tmp_path: Path) -> bytes:
    return film(tmp_path / "a.ts", 30).read_bytes()


def test_a_network_stream_gives_every_frame_that_arrives(transport_stream: bytes) -> None:
    with tcp_server(transport_stream) as address, open_source(address) as source:
        assert isinstance(source, NetworkStream)
        assert source.is_live
        assert source.start is None
        assert source.frame_size == SIZE
        frames = list(source)
        assert [number_in(f.image) for f in frames] == [k % 24 for k in range(30)]
        assert np.allclose(np.diff([f.timestamp for f in frames]), 0.04)
        with pytest.raises(SourceError, match="can be read only once"):
            list(source)


def test_a_silent_stream_ends_with_an_error_after_the_timeout(transport_stream: bytes) -> None:
    with (
        tcp_server(transport_stream, then_silent=True) as address,
        NetworkStream(address, timeout=1) as source,
    ):
        frames, message = read_until_error(source)
    assert len(frames) > 10
    assert re.search(rf"reading stopped after {len(frames)} frames .*: no answer for 1 s", message)


def test_an_address_without_answer_is_refused_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, but never says a word
        port = server.getsockname()[1]
        with pytest.raises(SourceError, match=r"no answer for 0\.3 s") as caught:
            NetworkStream(f"rtsp://me:secret@127.0.0.1:{port}/door", timeout=0.3)
    assert f"rtsp://127.0.0.1:{port}/door" in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(SourceError, match=r"tcp://127\.0\.0\.1:\d+: cannot be opened: .*refused"):
        NetworkStream(f"tcp://127.0.0.1:{port}", timeout=2)


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(
        SourceError, match="nonsense://host/x: cannot be opened: Protocol not found"
    ):
        open_source("nonsense://host/x")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


def test_a_film_on_a_web_server_is_read_like_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, [picture(k) for k in range(20)], options={"movflags": "faststart"})
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        try:
            with open_source(f"{address}/a.mp4") as source:
                assert not source.is_live
                assert source.duration == pytest.approx(0.8)
                assert [number_in(f.image) for f in source] == list(range(20))
            with pytest.raises(SourceError, match="404"):
                open_source(f"{address}/b.mp4")
        finally:
            server.shutdown()
            thread.join()


def test_a_file_address_and_a_name_with_a_colon_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "plain.mp4", 3).rename("take:2.mp4")
    assert len(list(open_source("take:2.mp4"))) == 3
    assert len(list(open_source(f"file://{tmp_path}/take:2.mp4"))) == 3


# Cameras


@pytest.mark.parametrize("text", ["97", "/dev/video97"])
def test_a_missing_camera_is_refused_without_noise(
    capfd: pytest.CaptureFixture[str], text: str
) -> None:
    with pytest.raises(SourceError, match="97: no such camera, or another program is using it"):
        open_source(text)
    assert capfd.readouterr() == ("", "")


def test_a_camera_gives_rgb_on_a_rising_clock_until_it_is_unplugged(tmp_path: Path) -> None:
    # OpenCV opens a file like a device; its end is what unplugging looks like.
    path = film(tmp_path / "device.avi", 6, "mjpeg")
    with Camera(str(path)) as source:
        assert source.is_live
        assert source.frame_size == SIZE
        frames, message = read_until_error(source)
    assert message == f"{path}: no more pictures after 6 frames"
    assert [f.index for f in frames] == list(range(6))
    assert (np.diff([f.timestamp for f in frames]) > 0).all()
    assert_alike(frames[2].image, picture(2), tolerance=12)
