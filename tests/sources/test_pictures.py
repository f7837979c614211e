"""Folders of pictures of all kinds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sipvideo.errors import SourceError
from sipvideo.sources import (
    ImageFolder,
    VideoFile,
    open_source,
    read_picture,
)
from tests.media import SIZE, picture
from tests.sources.frames import assert_alike, read_until_error


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


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".avif"])
def test_a_damaged_picture_is_left_out_and_told_and_the_others_keep_their_numbers(
    tmp_path: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    paths = [save(tmp_path / f"{k}{suffix}", noise) for k in range(4)]
    paths[1].write_bytes(paths[1].read_bytes()[: paths[1].stat().st_size * 6 // 10])
    with ImageFolder(tmp_path, fps=10) as source:
        frames = list(source)
    assert [(f.name, f.index, f.timestamp) for f in frames] == [
        (f"0{suffix}", 0, 0.0),
        (f"2{suffix}", 2, 0.2),
        (f"3{suffix}", 3, 0.3),
    ]
    what = "1 of 4 pictures cannot be read and are left out"
    assert source.notes == [f"{what}: 1{suffix} (not a picture, or damaged)"]


def test_whatever_lies_in_a_folder_the_good_pictures_come(tmp_path: Path) -> None:
    for k in range(3):
        save(tmp_path / f"{k}.png", picture(k, (30 + k, 40)))
    (tmp_path / "00.jpg").write_bytes(b"")
    (tmp_path / "1a.jpg").write_text("a text")
    (tmp_path / "1b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    (tmp_path / "1c.png").symlink_to(tmp_path / "gone.png")
    for k in range(6):
        (tmp_path / f"9{k}.png").write_bytes(b"x")
    with ImageFolder(tmp_path) as source:
        assert [f.name for f in source] == ["0.png", "1.png", "2.png"]
    assert source.frame_size == (30, 40)
    (note,) = source.notes
    assert note.startswith("9 of 12 pictures cannot be read and are left out: 00.jpg (")
    assert "the file is empty" in note
    assert "HEIC is not read: save it as JPEG" in note
    assert note.endswith(" and 4 more")


def test_a_single_picture_that_is_damaged_is_refused_and_so_are_many(tmp_path: Path) -> None:
    for k in range(2):
        (tmp_path / f"{k}.jpg").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"^.*0\.jpg: not a picture, or damaged$"):
        open_source(str(tmp_path / "0.jpg"))
    with pytest.raises(SourceError, match=r"none of 2 pictures can be read: .*0\.jpg: not a"):
        open_source(str(tmp_path))


def animated(path: Path, kind: str) -> Path:
    several = [Image.fromarray(np.roll(picture(3, (40, 56)), 9 * k, 1)) for k in range(5)]
    options = {"save_all": True, "append_images": several[1:], "duration": [100, 100, 300, 0, 50]}
    several[0].save(path, kind, **options)
    return path


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "AVIF", "GIF"])
@pytest.mark.parametrize("suffix", ["", ".mp4"])
def test_an_animation_is_a_video_with_its_own_times_whatever_its_name(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = animated(tmp_path / f"a{suffix or '.' + kind.lower()}", kind)
    with open_source(str(path)) as source:
        frames = list(source)
        assert [f.timestamp for f in source] == [f.timestamp for f in frames]  # it starts anew
    assert [f.timestamp for f in frames] == [0, 0.1, 0.2, 0.5, 0.6]
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert (source.frame_count, source.frame_size) == (5, (40, 56))
    assert not np.array_equal(frames[0].image, frames[1].image)


def test_an_animation_in_a_folder_gives_its_first_frame_and_a_note(tmp_path: Path) -> None:
    animated(tmp_path / "b.webp", "WEBP")
    save(tmp_path / "a.png", picture(1))
    with ImageFolder(tmp_path) as source:
        assert [f.name for f in source] == ["a.png", "b.webp"]
    what = "1 of 2 pictures are animated: only their first frames are taken"
    assert source.notes == [f"{what}: b.webp"]


def test_an_animation_that_is_cut_off_gives_its_frames_first(tmp_path: Path) -> None:
    path = animated(tmp_path / "a.png", "PNG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    frames, message = read_until_error(open_source(str(path)))
    assert 1 <= len(frames) < 5
    assert message == f"{path}: damaged or cut off after {len(frames)} frames"


@pytest.mark.parametrize("name", ["a.heic", "a.mp4", "a"])
def test_pictures_made_of_parts_are_refused_by_the_name_of_their_format(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99))
    with pytest.raises(SourceError, match="HEIC is not read: save it as JPEG, PNG, WebP or AVIF"):
        open_source(str(path))


def test_a_video_file_is_never_one_tile_of_a_picture(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "a.mp4", "AVIF")
    with pytest.raises(SourceError, match=r"a\.mp4: a picture \(AVIF\), not a video"):
        VideoFile(tmp_path / "a.mp4")
    assert len(list(open_source(str(tmp_path / "a.mp4")))) == 1


def test_patterns_over_folders_give_pictures_of_all_of_them(tmp_path: Path) -> None:
    for name in ("p [1]/a.png", "p [1]/b.png", "p 1/c.png", "deep/er/d.png"):
        save(tmp_path / name, picture(1))

    def names(pattern: str) -> list[str]:
        return [f.name for f in open_source(str(tmp_path / pattern))]

    assert names("p [1]/*.png") == ["a.png", "b.png"]
    assert names("p [12]/*.png") == ["c.png"]
    assert names("**/d.png") == ["d.png"]


def test_a_jpeg_with_a_film_behind_it_is_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "motion.jpg", picture(2))
    path.write_bytes(path.read_bytes() + b"\xff\xda\x00\x08" + bytes(range(256)) * 20)
    assert_alike(read_picture(path), picture(2))


def test_float_pictures_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tiff"
    path.write_bytes(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.float32))[1].tobytes())
    with pytest.raises(SourceError, match="another kind than 8 or 16 bits per channel"):
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
