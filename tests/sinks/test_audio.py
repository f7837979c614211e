"""Sound that an mp4 cannot hold as it is, that changes on the way, or that is broken."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.sinks import AnnotatedVideo
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, FrameResult
from tests.media import SIZE, picture
from tests.sinks.runs import plain


def write(
    path: Path,
    codec: str,
    rate: int,
    layout: str = "stereo",
    *,
    begin: float = 0.0,
    seconds: float = 0.8,
    tracks: int = 1,
) -> Path:
    """Numbered pictures at 25 per second and a tone, both from second ``begin`` on."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.height, video.width = SIZE
        sounds: list[Any] = [
            container.add_stream(codec, rate=rate, layout=layout) for _ in range(tracks)
        ]
        for index in range(round(25 * seconds)):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index + round(25 * begin), Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        channels = av.AudioLayout(layout).nb_channels
        wave = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000
        for sound in sounds:
            for start in range(0, len(wave), 1000):
                part = np.repeat(wave[start : start + 1000].astype(np.int16), channels)[None]
                piece = av.AudioFrame.from_ndarray(part, format="s16", layout=layout)
                piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
                piece.pts = start + round(begin * rate)
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return path


def joined(path: Path, parts: Sequence[Path]) -> Path:
    """Transport streams end to end, as recorders and ``cat`` join them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def annotate(path: Path) -> tuple[list[str], list[float], NDArray[Any], list[float]]:
    """Notes; times of the written pictures; the written sound, its loudness in tenths of a second; their times."""
    target = path.with_name("out.mp4")
    source = VideoFile(path)
    with AnnotatedVideo(target, plain, source) as sink:
        for frame in source:
            nothing = Detections.empty(frame.size)
            sink.write(FrameResult(frame, nothing, np.zeros(0, np.int64), 1.0))
    assert sink.frames_written
    pictures: list[float] = []
    samples: list[NDArray[Any]] = []
    times: list[float] = []
    with av.open(str(target)) as container:
        pictures = [float(frame.time) for frame in container.decode(video=0)]
    with av.open(str(target)) as container:
        for sound in container.decode(audio=0) if container.streams.audio else ():
            samples.append(sound.to_ndarray()[:1].ravel())
            times.append(float(sound.time or 0))
            rate = sound.sample_rate
    if not samples:
        return sink.notes, pictures, np.zeros(0), []
    heard = np.concatenate(samples)
    tenth = rate // 10
    whole = heard[: len(heard) // tenth * tenth].astype(np.float64)
    return sink.notes, pictures, np.sqrt((whole.reshape(-1, tenth) ** 2).mean(1)), times


@pytest.mark.parametrize(
    ("codec", "rate"),
    [
        ("libmp3lame", 8000),
        ("libmp3lame", 11025),
        ("libmp3lame", 12000),
        ("pcm_s16le", 4000),
        ("pcm_s16le", 37800),
        ("pcm_s16le", 192000),
        ("mp2", 48000),
        ("flac", 96000),
    ],
)
def test_a_rate_or_codec_that_mp4_cannot_hold_is_converted(
    tmp_path: Path, codec: str, rate: int
) -> None:
    notes, pictures, loudness, _ = annotate(write(tmp_path / "in.mkv", codec, rate))
    assert len(pictures) == 20
    assert len(notes) == 1
    assert "does not fit into mp4, it became AAC" in notes[0]
    assert 0.7 <= len(loudness) / 10 <= 1.1
    assert (loudness[1:7] > 0.1).all()  # of a tone of 0.24; rates below 8000 Hz lose a little


@pytest.mark.parametrize("layout", ["7.1", "6.1", "5.1", "hexagonal", "3 channels", "12 channels"])
@pytest.mark.parametrize("name", ["in.mov", "in.mkv"])
def test_any_number_and_order_of_channels_can_be_heard(
    tmp_path: Path, layout: str, name: str
) -> None:
    # The order of 7.1 in mov is of its own kind: PyAV ends the program when it decodes that.
    notes, pictures, loudness, _ = annotate(
        write(tmp_path / name, "pcm_s16le", 48000, layout, seconds=0.4)
    )
    assert len(pictures) == 10
    assert notes == ["pcm_s16le sound does not fit into mp4, it became AAC"]
    assert (loudness[1:3] > 0.02).all()


@pytest.mark.parametrize(
    ("codec", "first", "second"),
    [
        ("mp2", (48000, "stereo"), (44100, "mono")),
        ("aac", (48000, "stereo"), (44100, "mono")),
        ("aac", (44100, "mono"), (44100, "stereo")),
        ("ac3", (48000, "stereo"), (48000, "5.1")),
        ("eac3", (48000, "stereo"), (48000, "5.1")),
        ("libmp3lame", (44100, "stereo"), (22050, "stereo")),
    ],
)
def test_sound_that_changes_on_the_way_is_heard_to_its_end(
    tmp_path: Path, codec: str, first: tuple[int, str], second: tuple[int, str]
) -> None:
    parts = [
        write(tmp_path / "a.ts", codec, *first),
        write(tmp_path / "b.ts", codec, *second, begin=0.8),
    ]
    notes, pictures, loudness, times = annotate(joined(tmp_path / "in.ts", parts))
    assert len(pictures) == 40
    assert any("the sound changes on the way, all of it became" in note for note in notes)
    assert times[-1] == pytest.approx(1.6, abs=0.15)
    assert (loudness[1:14] > 0.05).all()


def test_sound_whose_codec_changes_on_the_way_costs_no_picture_and_is_told(tmp_path: Path) -> None:
    for first, second in (("mp2", "aac"), ("aac", "mp2"), ("ac3", "aac")):
        parts = [
            write(tmp_path / "a.ts", first, 48000),
            write(tmp_path / "b.ts", second, 48000, begin=0.8),
        ]
        notes, pictures, _, _ = annotate(joined(tmp_path / "in.ts", parts))
        assert len(pictures) == 40
        assert any("of the sound are damaged and left out" in note for note in notes), notes


def test_sound_goes_on_where_a_joined_recording_starts_its_clock_anew(tmp_path: Path) -> None:
    one = write(tmp_path / "a.ts", "aac", 48000)
    notes, pictures, loudness, times = annotate(joined(tmp_path / "in.ts", [one, one]))
    assert notes == []
    assert len(pictures) == 40
    assert times[-1] == pytest.approx(1.6, abs=0.1)
    assert (loudness[1:14] > 0.1).all()


def test_sound_that_cannot_be_read_at_all_costs_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such filter")

    path = write(tmp_path / "in.mkv", "pcm_s16le", 48000)
    monkeypatch.setattr(av, "AudioResampler", refuse)
    notes, pictures, loudness, _ = annotate(path)
    assert len(pictures) == 20
    assert "the sound is left out from 0.0 s on: no such filter" in notes
    assert len(loudness) == 0


def test_which_of_several_audio_tracks_is_kept_is_told(tmp_path: Path) -> None:
    notes, pictures, loudness, _ = annotate(write(tmp_path / "in.mkv", "aac", 48000, tracks=3))
    assert notes == ["of 3 audio tracks number 1 is kept"]
    assert len(pictures) == 20
    assert (loudness[1:7] > 0.1).all()
