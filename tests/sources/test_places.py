"""Sources go on from a place with exactly the frames that come there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sipvideo.errors import SourceError
from sipvideo.sources import Excerpt, ImageFolder, Place, Source, VideoFile, picture_sum
from sipvideo.sources.decoder import Decoder
from sipvideo.structures import Frame
from tests.media import picture, write_video

COUNT = 200
LONG_GROUPS = {"g": "60", "bf": "3"}


def noisy(count: int = COUNT) -> list[np.ndarray]:  # type: ignore[type-arg]
    """Pictures that no decoder has by chance: what is decoded wrongly is another picture."""
    rng = np.random.default_rng(0)
    moving = rng.integers(0, 60, (96, 128 + count, 3)).astype(np.uint8)
    return [picture(k) + moving[:, k : k + 128] for k in range(count)]


def place_of(frame: Frame, count: int) -> Place:
    return Place(frame.index, frame.timestamp, picture_sum(frame.image), count)


def told(frames: list[Frame]) -> list[tuple[int, float, int]]:
    return [(frame.index, frame.timestamp, picture_sum(frame.image)) for frame in frames]


def assert_goes_on(source: Source) -> None:
    whole = list(source)
    for at in (0, 1, len(whole) // 2, len(whole) - 7, len(whole) - 1):
        again = list(source.frames_from(place_of(whole[at], at + 1)))
        assert told(again) == told(whole[at:])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Pictures that were decoded, one entry each time."""
    counts: list[int] = []
    decode = Decoder.decoded

    def counting(self: Decoder, *arguments: object) -> object:
        pictures = decode(self, *arguments)  # type: ignore[arg-type]
        counts.extend(range(len(pictures or ())))
        return pictures

    monkeypatch.setattr(Decoder, "decoded", counting)
    return counts


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_file_with_an_index_is_decoded_from_shortly_before_the_place(
    tmp_path: Path, name: str, decoded: list[int]
) -> None:
    path = write_video(tmp_path / name, noisy(400), encoder={"g": "25", "preset": "superfast"})
    with VideoFile(path) as source:
        whole = list(source)
        decoded.clear()
        assert told(list(source.frames_from(place_of(whole[390], 391)))) == told(whole[390:])
    assert len(decoded) < 150


@pytest.mark.parametrize(
    ("name", "codec", "encoder"),
    [
        ("a.mp4", "libx264", {**LONG_GROUPS, "preset": "fast"}),
        ("a.mp4", "libx264", {"x264-params": "open-gop=1:keyint=30", "preset": "fast"}),
        ("a.mkv", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
        ("a.webm", "libvpx-vp9", {}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.ts", "mpeg2video", {"bf": "2"}),
    ],
)
def test_every_kind_of_file_goes_on_with_the_same_frames(
    tmp_path: Path, name: str, codec: str, encoder: dict[str, str]
) -> None:
    with VideoFile(write_video(tmp_path / name, noisy(), codec, encoder=encoder)) as source:
        assert_goes_on(source)


def test_times_that_are_uneven_or_begin_late_stay_as_they_are(tmp_path: Path) -> None:
    ticks = 60 + np.cumsum(np.random.default_rng(1).choice([1, 2, 30], COUNT))
    path = write_video(tmp_path / "a.mp4", noisy(), ticks=ticks.tolist(), encoder=LONG_GROUPS)
    with VideoFile(path) as source:
        assert_goes_on(source)


def test_a_damaged_file_keeps_its_gaps_and_says_the_same_at_its_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", noisy(), "mjpeg")
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 6000] = bytes(6000)
    path.write_bytes(content[: len(content) * 3 // 4])
    with VideoFile(path) as source:
        whole: list[Frame] = []
        with pytest.raises(SourceError) as first:
            whole.extend(source)
        again: list[Frame] = []
        with pytest.raises(SourceError) as second:
            again.extend(source.frames_from(place_of(whole[120], 121)))
    assert len(whole) > 125
    assert told(again) == told(whole[120:])
    assert str(second.value) == str(first.value)


def test_a_cut_off_file_that_is_sought_says_the_same_at_its_end(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", noisy(), encoder={"g": "20"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 4 // 5])
    with VideoFile(path) as source:
        whole: list[Frame] = []
        with pytest.raises(SourceError) as first:
            whole.extend(source)
        with pytest.raises(SourceError) as second:
            list(source.frames_from(place_of(whole[-9], len(whole) - 8)))
    assert str(second.value) == str(first.value)


def test_a_part_of_a_video_goes_on_within_its_limits(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noisy(), encoder={"g": "20"})
    for part in ({"start": 0.5, "every": 3}, {"start": 0.2, "end": 7.0}, {"most": 150}):
        with Excerpt(VideoFile(path), **part) as source:  # type: ignore[arg-type]
            assert_goes_on(source)


def test_folders_of_pictures_go_on(tmp_path: Path) -> None:
    for k, image in enumerate(noisy(20)):
        cv2.imwrite(str(tmp_path / f"{k}.png"), image)
    (tmp_path / "3.png").write_bytes(b"no picture")
    with ImageFolder(tmp_path, 10) as source:
        assert_goes_on(source)
        assert len(source.notes) == 1


def test_another_picture_at_the_place_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", noisy())
    with VideoFile(path) as source:
        frame = list(source)[100]
    write_video(path, noisy()[::-1])
    with (
        VideoFile(path) as source,
        pytest.raises(SourceError, match=r"a\.mp4: frame 100 is not the one that was there"),
    ):
        source.frames_from(place_of(frame, 101))
