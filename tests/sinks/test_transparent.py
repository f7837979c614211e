"""Videos with transparency: what is seen, what is not, sound, and what a killed run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.errors import SinkError
from sipvideo.sinks import AnnotatedPictures, ProResVideo, Sink, TransparentVideo
from sipvideo.sinks.video import AnnotatedVideo
from sipvideo.sources import VideoFile
from sipvideo.structures import Detections, Frame, FrameResult
from tests.media import Tone, picture, write_video
from tests.sinks.test_kept import killed

SIZE = (64, 96)
FORMS: list[type[AnnotatedVideo]] = [TransparentVideo, ProResVideo]


def opacity(index: int) -> NDArray[np.uint8]:
    """A disc that moves."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.where(np.hypot(rows - 30, columns - 20 - index) < 15, 255, 0).astype(np.uint8)


def cut(result: FrameResult) -> NDArray[np.uint8]:
    """The frame inside of the disc, and nothing elsewhere."""
    mask = opacity(result.frame.index)
    image = result.frame.image * (mask[..., None] > 0)
    return np.dstack((image, mask))


def result(index: int) -> FrameResult:
    image = cv2.GaussianBlur(picture(index, SIZE), (0, 0), 3)
    frame = Frame(np.asarray(image, np.uint8), index, index / 25)
    return FrameResult(frame, Detections.empty(SIZE), np.zeros(0, np.int64), 1.0)


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    """RGBA; FFmpeg's own VP9 decoder passes over what is transparent, libvpx's does not."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoder: Any = stream.codec_context
        if path.suffix == ".webm":
            told = {key.lower(): value for key, value in stream.metadata.items()}
            assert told["alpha_mode"] == "1"
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        frames = [f for p in container.demux(stream) for f in decoder.decode(p)]
        return [np.asarray(f.reformat(format="rgba").to_ndarray(), np.uint8) for f in frames]


def written(form: type[AnnotatedVideo], folder: Path, count: int = 30) -> Path:
    path = folder / f"a{form.form.suffix}"
    with form(path, cut) as sink:
        for k in range(count):
            sink.write(result(k))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_what_is_decoded_is_transparent_where_it_was_and_empty_there(
    form: type[AnnotatedVideo], tmp_path: Path
) -> None:
    pictures = decoded(written(form, tmp_path))
    assert len(pictures) == 30
    for k, image in enumerate(pictures):
        assert np.array_equal(image[..., 3] > 127, opacity(k) > 0)
        far = cv2.dilate(opacity(k), np.ones((33, 33))) == 0
        assert image[far].max() <= 8  # rounding and ringing of the codec, nothing of the picture
        inside = cv2.erode(opacity(k), np.ones((7, 7))) > 0
        difference = image[inside][:, :3].astype(int) - cut(result(k))[inside][:, :3]
        assert np.abs(difference).mean() < 8


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("damage", [0, 1, 700])
def test_what_a_killed_run_left_becomes_a_video_with_its_transparency(
    form: type[AnnotatedVideo], damage: int, tmp_path: Path
) -> None:
    sink: Sink = form(tmp_path / f"a{form.form.suffix}", cut)
    left = killed(sink, [result(k) for k in range(60)], tmp_path / "left")
    content = left.read_bytes()
    left.write_bytes(content[: len(content) - damage])
    kept = form.assemble(left, tmp_path / "left" / f"a{form.form.suffix}")
    assert not left.exists()
    pictures = decoded(tmp_path / "left" / f"a{form.form.suffix}")
    assert kept.frames == len(pictures) >= 30  # at most half a second, and what the encoder holds
    for k, image in enumerate(pictures):
        assert np.array_equal(image[..., 3] > 127, opacity(k) > 0)


@pytest.mark.parametrize("form", FORMS)
def test_a_beginning_without_a_picture_leaves_no_file(
    form: type[AnnotatedVideo], tmp_path: Path
) -> None:
    left = tmp_path / f".a{form.form.suffix}.partial"
    left.write_bytes(b"\x1aE\xdf\xa3nothing")
    assert form.assemble(left, tmp_path / f"a{form.form.suffix}").frames == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "codec"), [(TransparentVideo, "opus"), (ProResVideo, "aac")])
def test_the_sound_goes_along(form: type[AnnotatedVideo], codec: str, tmp_path: Path) -> None:
    images = [picture(k, SIZE) for k in range(25)]
    source = VideoFile(write_video(tmp_path / "in.mp4", images, tone=Tone(seconds=1.0)))
    path = tmp_path / f"out{form.form.suffix}"
    with form(path, cut, source) as sink:
        for frame in source:
            found = Detections.empty(frame.size)
            sink.write(FrameResult(frame, found, np.zeros(0, np.int64), 1.0))
    with av.open(str(path)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.codec.canonical_name == codec
        seconds = sum(f.samples for f in container.decode(sound)) / sound.rate
    assert seconds == pytest.approx(1.0, abs=0.1)
    assert any("Opus" in note for note in sink.notes) == (codec == "opus")
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    assert times == pytest.approx([k / 25 for k in range(25)], abs=0.001)


def test_a_run_that_goes_on_is_one_film_with_transparency(tmp_path: Path) -> None:
    path = tmp_path / "a.webm"
    first = TransparentVideo(path, cut)
    for k in range(80):
        first.write(result(k))
        if k == 19:
            mark = first.mark()
    assert first.keeps(mark)
    first.keep = True
    first.close()
    second = TransparentVideo(path, cut, mark=mark)
    for k in range(20, 40):
        second.write(result(k))
    second.close()
    pictures = decoded(path)
    assert len(pictures) == 40
    for k, image in enumerate(pictures):
        assert np.array_equal(image[..., 3] > 127, opacity(k) > 0)


def test_pictures_keep_transparency_whatever_the_source_was(tmp_path: Path) -> None:
    one = result(3)
    frame = Frame(one.frame.image, 3, 0.1, "photo.jpg")
    with AnnotatedPictures(tmp_path / "pictures", cut) as sink:
        sink.write(FrameResult(frame, one.detections, one.track_ids, 1.0))
    (path,) = (tmp_path / "pictures").iterdir()
    assert path.suffix == ".png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert np.array_equal(image[..., 3], opacity(3))
    assert np.array_equal(image[..., 2::-1], cut(one)[..., :3])


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"expected a name ending in \.webm"):
        TransparentVideo(tmp_path / "a.mp4", cut)
