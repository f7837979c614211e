"""The annotated video: clock, sizes, colours and sound."""

from __future__ import annotations

import gc
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sipvideo.errors import SinkError
from sipvideo.sinks import (
    AnnotatedVideo,
)
from sipvideo.sources import Source, VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from tests.media import Tone, film, number_in, picture, write_video
from tests.sinks.runs import (
    one_result,
    plain,
)


def annotate(source: Source, path: Path, stop_after: int | None = None) -> AnnotatedVideo:
    with AnnotatedVideo(path, plain, source, crf=8) as sink:
        for frame in source:
            if frame.index == stop_after:
                break
            size = frame.size
            sink.write(FrameResult(frame, Detections.empty(size), np.zeros(0, np.int64), 1.0))
    return sink


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    """Presentation time in seconds and content of every packet of the first stream of a kind."""
    with av.open(str(path)) as container:
        streams = getattr(container.streams, kind)
        if not streams:
            return []
        found = [p for p in container.demux(streams[0]) if p.pts is not None]
        return [(float(p.pts * p.time_base), bytes(p)) for p in found]


def test_an_annotated_video_plays_everywhere(tmp_path: Path) -> None:
    annotate(VideoFile(film(tmp_path / "in.mp4", 10)), tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == 1


def test_frames_and_colours_survive(tmp_path: Path) -> None:
    annotate(VideoFile(film(tmp_path / "in.mp4", 20)), tmp_path / "out.mp4")
    for k, frame in enumerate(VideoFile(tmp_path / "out.mp4")):
        assert number_in(frame.image) == k
        difference = frame.image[20:40, 20:40].astype(int) - picture(k)[20:40, 20:40]
        assert np.abs(difference).max() <= 6


@pytest.mark.parametrize(
    "base", [Fraction(1, 12800), Fraction(1, 90000), Fraction(1, 30000), Fraction(1001, 30000)]
)
def test_a_variable_clock_is_kept_to_the_tick(tmp_path: Path, base: Fraction) -> None:
    step = 3 if base.numerator > 1 else base.denominator // 10
    ticks = np.cumsum(np.random.default_rng(5).integers(1, step, 40)).tolist()
    images = [picture(k) for k in range(40)]
    options = {"movie_timescale": str(base.denominator)}
    write_video(tmp_path / "in.mp4", images, ticks=ticks, time_base=base, options=options)
    source = VideoFile(tmp_path / "in.mp4")
    annotate(source, tmp_path / "out.mp4")
    wanted = [float((t - ticks[0]) * base) for t in ticks]
    assert [f.timestamp for f in source] == wanted
    assert [f.timestamp for f in VideoFile(tmp_path / "out.mp4")] == wanted


def test_frames_at_the_same_time_stay_apart_and_in_order(tmp_path: Path) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", plain) as sink:
        for k, second in enumerate((0.0, 1.0, 1.0, 0.5, 2.0)):
            sink.write(one_result([], [], frame=Frame(picture(k), k, second)))
    frames = list(VideoFile(tmp_path / "a.mp4"))
    assert [number_in(f.image) for f in frames] == list(range(5))
    seconds = np.array([f.timestamp for f in frames])
    assert np.allclose(seconds, [0, 1, 1, 1, 2], atol=1e-4)
    assert (np.diff(seconds) > 0).all()


def test_a_pause_that_mp4_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    day = 86400.0
    with AnnotatedVideo(tmp_path / "a.mp4", plain) as sink:
        for k, second in enumerate((0.0, 1.0, 1 + day, 1.5 + day, 3600 + 2 * day, 3601 + 2 * day)):
            sink.write(one_result([], [], frame=Frame(picture(k), k, second)))
    frames = list(VideoFile(tmp_path / "a.mp4"))
    assert [number_in(f.image) for f in frames] == list(range(6))
    assert np.allclose([f.timestamp for f in frames], [0, 1, 1.04, 1.54, 1.58, 2.58], atol=1e-3)
    assert [note.split(" is")[0] for note in sink.notes] == [
        "a pause of 24.0 hours at 1.0 s",
        "a pause of 25.0 hours at 1.5 s",
    ]


def test_sound_behind_a_pause_that_mp4_cannot_hold_is_left_out_and_said(tmp_path: Path) -> None:
    images = [picture(k) for k in range(20)]
    write_video(tmp_path / "in.mp4", images, tone=Tone("aac", seconds=2, rate=48000))
    source = VideoFile(tmp_path / "in.mp4")
    with AnnotatedVideo(tmp_path / "out.mp4", plain, source) as sink:
        for frame in source:
            later = frame.timestamp + (4e6 if frame.index >= 10 else 0)
            sink.write(one_result([], [], frame=replace(frame, timestamp=later)))
    assert "and the sound behind it: mp4" in sink.notes[0]
    with av.open(str(tmp_path / "out.mp4")) as container:
        sounds = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
    assert 0.3 < max(sounds) <= 0.4
    assert len(list(VideoFile(tmp_path / "out.mp4"))) == 20


def test_times_of_microseconds_leave_room_for_a_pause_of_an_hour(tmp_path: Path) -> None:
    class Exact(Source):
        time_base = Fraction(1, 1_000_000)

        def _frames(self) -> Any:
            return iter(())

    with AnnotatedVideo(tmp_path / "a.mp4", plain, Exact("exact")) as sink:
        for k, second in enumerate((0.0, 1.0, 3601.0, 3602.0)):
            sink.write(one_result([], [], frame=Frame(picture(k), k, second)))
    times = [frame.timestamp for frame in VideoFile(tmp_path / "a.mp4")]
    assert np.allclose(times, [0, 1, 3601, 3602], atol=2e-5)
    assert sink.notes == []


def test_a_live_clock_starts_at_zero(tmp_path: Path) -> None:
    class Live(Source):
        start = None

        def _frames(self) -> Any:
            yield from (Frame(picture(k), k, 54321.5 + k / 10) for k in range(5))

    annotate(Live("live"), tmp_path / "a.mp4")
    seconds = [f.timestamp for f in VideoFile(tmp_path / "a.mp4")]
    assert np.allclose(seconds, np.arange(5) / 10, atol=1e-5)


@pytest.mark.parametrize("size", [(33, 51), (34, 51), (33, 50), (1, 1), (96, 128)])
def test_odd_sizes_are_padded_to_even_by_repeating_the_edge(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image = picture(9, size)
    with AnnotatedVideo(tmp_path / "a.mp4", plain, crf=1) as sink:
        sink.write(one_result([], [], frame=Frame(image, 0, 0.0)))
    got = next(iter(VideoFile(tmp_path / "a.mp4"))).image
    assert got.shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    difference = got[-1, : size[1]].astype(int) - got[size[0] - 1, : size[1]]
    assert np.abs(difference).max() <= 16
    assert np.abs(got[0, 0].astype(int) - image[0, 0]).max() <= 24


def test_other_sizes_are_fitted_between_black_bars(tmp_path: Path) -> None:
    white = [np.full((*size, 3), 255, np.uint8) for size in ((60, 80), (60, 40), (30, 80), (7, 9))]
    with AnnotatedVideo(tmp_path / "a.mp4", plain, crf=4) as sink:
        for k, image in enumerate(white):
            sink.write(one_result([], [], frame=Frame(image, k, k / 25)))
    first, tall, wide, small = (f.image for f in VideoFile(tmp_path / "a.mp4"))
    assert first.min() > 245
    assert tall[:, 24:56].min() > 230
    assert max(tall[:, :16].max(), tall[:, 64:].max()) < 12
    assert wide[20:40].min() > 230
    assert max(wide[:10].max(), wide[50:].max()) < 12
    assert small[4:56, 8:72].min() > 230


def test_pictures_larger_than_h264_goes_are_drawn_at_the_size_to_which_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipvideo.sinks.yuv.MOST_PIXELS", 24 * 32 // 4)
    mask = np.zeros((24, 32), bool)
    mask[4:12, 8:24] = True
    drawn: list[FrameResult] = []

    def draw(result: FrameResult) -> np.ndarray:
        drawn.append(result)
        return plain(result)

    with AnnotatedVideo(tmp_path / "a.mp4", draw) as sink:
        for k in range(2):
            sink.write(one_result([7], [mask], index=k))
    small = drawn[0]
    assert small.frame.size == small.detections.masks.frame_size == (12, 16)
    assert np.array_equal(small.detections.masks.dense(0), mask[::2, ::2])
    assert np.allclose(small.detections.boxes, np.array([[8, 4, 24, 12]]) / 2 + 0.15)
    assert [frame.size for frame in VideoFile(tmp_path / "a.mp4")] == [(12, 16)] * 2
    (note,) = sink.notes
    assert note.startswith("2 pictures are larger than H.264 goes, and shown smaller: ")


@pytest.mark.parametrize("size", [(8, 20_000), (17_000, 3)])
def test_pictures_wider_or_higher_than_h264_goes_become_a_video(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    with AnnotatedVideo(tmp_path / "a.mp4", plain) as sink:
        sink.write(one_result([], [], frame=Frame(np.full((*size, 3), 99, np.uint8), 0, 0.0)))
    (frame,) = VideoFile(tmp_path / "a.mp4")
    assert max(frame.size) == 16384
    assert abs(int(frame.image.min()) - 99) < 4


def test_pixel_shape_is_kept(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(0), format="rgb24")))
        container.mux(stream.encode(None))
    assert VideoFile(tmp_path / "in.mp4").pixel_aspect == Fraction(16, 11)
    annotate(VideoFile(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert VideoFile(tmp_path / "out.mp4").pixel_aspect == Fraction(16, 11)


@pytest.mark.parametrize(
    ("name", "tone"),
    [
        ("in.mp4", Tone("aac", 2.0)),
        ("in.mkv", Tone("libmp3lame", 2.0)),
        ("in.mp4", Tone("libopus", 2.0, 48000)),
        ("in.mkv", Tone("ac3", 2.0)),
    ],
)
def test_sound_is_copied_bit_by_bit_and_in_time(tmp_path: Path, name: str, tone: Tone) -> None:
    source = VideoFile(film(tmp_path / name, 50, tone=tone))
    sink = annotate(source, tmp_path / "out.mp4")
    before, after = packets(tmp_path / name, "audio"), packets(tmp_path / "out.mp4", "audio")
    assert len(before) > 40
    assert [content for _, content in after] == [content for _, content in before]
    assert np.allclose([t for t, _ in after], [t for t, _ in before], atol=0.0011)
    assert sink.notes == []


def test_sound_of_a_transport_stream_stays_in_step_with_its_pictures(tmp_path: Path) -> None:
    ticks = range(500, 550)
    images = [picture(k) for k in range(50)]
    write_video(tmp_path / "in.ts", images, ticks=ticks, tone=Tone("aac", 2.0, begin=20))
    source = VideoFile(tmp_path / "in.ts")
    assert source.start == 0
    assert source.clock_start == pytest.approx(20, abs=0.1)
    annotate(source, tmp_path / "out.mp4")
    assert [f.timestamp for f in VideoFile(tmp_path / "out.mp4")] == pytest.approx(
        [f.timestamp for f in source], abs=1e-5
    )
    before, after = packets(tmp_path / "in.ts", "audio"), packets(tmp_path / "out.mp4", "audio")
    assert len(before) == len(after)
    shifted = [t - source.clock_start for t, _ in before]
    assert np.allclose([t for t, _ in after], shifted, atol=1e-3)


def test_sound_that_mp4_cannot_hold_becomes_aac(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.avi", 50, "mpeg4", tone=Tone("pcm_s16le", 2.0)))
    sink = annotate(source, tmp_path / "out.mp4")
    assert sink.notes == ["pcm_s16le sound does not fit into mp4, it became AAC"]
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        sound = [f.to_ndarray() for f in container.decode(audio=0)]
    wave = np.concatenate(sound, axis=1)[0]
    assert wave.size / 44100 == pytest.approx(2.0, abs=0.05)
    spectrum = np.abs(np.fft.rfft(wave))
    assert np.argmax(spectrum) * 44100 / wave.size == pytest.approx(440, abs=3)


def test_sound_may_outlast_the_pictures_unless_the_run_ends_early(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.mp4", 50, tone=Tone("aac", 4.0)))
    annotate(source, tmp_path / "whole.mp4")
    annotate(source, tmp_path / "part.mp4", stop_after=25)
    assert packets(tmp_path / "whole.mp4", "audio")[-1][0] == pytest.approx(4, abs=0.1)
    assert packets(tmp_path / "part.mp4", "audio")[-1][0] == pytest.approx(1, abs=0.05)
    assert len(packets(tmp_path / "part.mp4", "video")) == 25


def test_pictures_and_sound_lie_side_by_side_in_the_file(tmp_path: Path) -> None:
    source = VideoFile(film(tmp_path / "in.mp4", 200, tone=Tone("aac", 8.0)))
    annotate(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = {}
        for kind in ("video", "audio"):
            container.seek(0)
            stream = getattr(container.streams, kind)[0]
            places[kind] = [
                (p.pos, float(p.dts * p.time_base)) for p in container.demux(stream) if p.size
            ]
    merged = sorted(places["video"] + places["audio"])
    seconds = np.array([t for _, t in merged])
    assert np.abs(seconds - np.maximum.accumulate(seconds)).max() < 1.5


def test_a_source_is_never_overwritten_by_its_own_annotation(tmp_path: Path) -> None:
    path = film(tmp_path / "in.mp4", 3)
    before = path.read_bytes()
    with pytest.raises(SinkError, match="is the source itself"):
        AnnotatedVideo(path, plain, VideoFile(path))
    assert path.read_bytes() == before


def test_damaged_sound_is_left_out_and_said(tmp_path: Path) -> None:
    path = film(tmp_path / "in.mkv", 30, tone=Tone("flac", 1.2))
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        pieces = [bytes(p) for p in container.demux(audio=0) if p.size > 200]
    for piece in pieces[3:6]:
        place = data.index(piece)
        data[place : place + len(piece)] = bytes(len(piece))
    path.write_bytes(data)
    sink = annotate(VideoFile(path), tmp_path / "out.mp4")
    assert sink.notes == [
        "flac sound does not fit into mp4, it became AAC",
        "3 pieces of the sound are damaged and left out",
    ]
    assert len(list(VideoFile(tmp_path / "out.mp4"))) == 30
    assert len(packets(tmp_path / "out.mp4", "audio")) > 30


def test_the_encoder_s_threads_end_with_the_video(tmp_path: Path) -> None:
    """Also where whoever draws knows the sink, so that both wait for the garbage collector."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads of the encoder are counted on Linux")
    frame = Frame(picture(0, (180, 320)), 0, 0.0)
    no_ids = np.zeros(0, np.int64)
    known: list[AnnotatedVideo] = []
    gc.collect()
    before = len(list(tasks.iterdir()))
    for k in range(4):
        sink = AnnotatedVideo(tmp_path / f"{k}.mp4", lambda result: result.frame.image)
        known.append(sink)
        with sink:
            sink.write(FrameResult(frame, Detections.empty(frame.size), no_ids, 0.0))
    assert len(list(tasks.iterdir())) < before + 4
