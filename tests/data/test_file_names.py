"""Names of pictures as other systems write them, and orientation marks in data sets."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from PIL import Image

from sipvideo.data import CocoPictures, YouTubeVis
from sipvideo.data.check import DatasetCheck
from sipvideo.data.file_names import FileNames
from sipvideo.data.pictures import PictureFiles
from sipvideo.errors import DatasetError

SIZE = (30, 40)


def striped(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Red above, green below, so that it shows how it is turned."""
    image = np.zeros((*size, 3), np.uint8)
    image[: size[0] // 2, :, 0] = image[size[0] // 2 :, :, 1] = 200
    return image


def save(path: Path, image: np.ndarray, mark: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = mark
    Image.fromarray(image).save(path, "PNG", exif=exif.tobytes())


def write(folder: Path, *names: str, size: tuple[int, int] = SIZE) -> Path:
    content = {
        "images": [
            {"id": k + 1, "file_name": name, "height": size[0], "width": size[1]}
            for k, name in enumerate(names)
        ],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


MEANT = [
    ("train\\a.png", "train/a.png"),
    ("C:\\data\\set\\train\\a.png", "train/a.png"),
    ("D:/photos/a.png", "a.png"),
    ("/home/anna/set/images/a.png", "a.png"),
    ("./a.png", "a.png"),
    ("file:///home/anna/a%20b.png", "a b.png"),
    ("http://images.example.org/train/000001.png", "000001.png"),
    (normalize("NFD", "Zoë é.png"), normalize("NFC", "Zoë é.png")),
    (normalize("NFC", "Zoë é.png"), normalize("NFD", "Zoë é.png")),
    ("a%20b.png", "a b.png"),
    ("a b.png", "a%20b.png"),
    ("100%.PNG", "100%.png"),
    ("IMG_1.JPG", "img_1.jpg"),
    ("Straße.png", "STRASSE.png"),
]


@pytest.mark.parametrize(("written", "file"), MEANT)
def test_names_are_read_as_they_are_meant(tmp_path: Path, written: str, file: str) -> None:
    save(tmp_path / "images" / file, striped())
    pictures = CocoPictures(write(tmp_path, written))
    assert np.array_equal(pictures[0].image, striped())
    assert DatasetCheck(write(tmp_path, written)).usable


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("written", ["sub\\Å.png", "C:\\set\\sub\\A\u030a.png", "SUB/å.png"])
def test_names_in_archives_are_read_as_they_are_meant(
    tmp_path: Path, kind: str, written: str
) -> None:
    save(tmp_path / "x.png", striped())
    archive = tmp_path / f"images.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as packed:
            packed.write(tmp_path / "x.png", "sub/Å.png")
    else:
        with tarfile.open(archive, "w") as tar:
            tar.add(tmp_path / "x.png", "sub/Å.png")
    assert np.array_equal(PictureFiles(archive).read(written), striped())


def test_an_archive_that_does_not_say_that_its_names_are_utf8_is_understood(tmp_path: Path) -> None:
    save(tmp_path / "x.png", striped())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("sub/Z__.png", (tmp_path / "x.png").read_bytes())
    data = (tmp_path / "a.zip").read_bytes().replace(b"Z__", "Zé".encode())
    (tmp_path / "a.zip").write_bytes(data)
    assert np.array_equal(PictureFiles(tmp_path / "a.zip").read("sub/Zé.png"), striped())


def test_a_name_that_fits_exactly_wins(tmp_path: Path) -> None:
    names = FileNames(lambda: ["a%20b.png", "a b.png", "A B.png"])
    assert [names.find(n) for n in ("a b.png", "a%20b.png", "A B.png")] == [
        *("a b.png", "a%20b.png", "A B.png")
    ]


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("x\\a.png", "no such file"),
        ("sub/c.png", "no such file"),
        ("C:\\", "no such file"),
        ("", "no such file"),
        ("\0", "no such file"),
        ("x" * 5000, "no such file"),
        ("\ud800.png", "no such file"),
        ("http://[::1", "no such file"),
        ("ONE.png", "several files could be meant: One.png, one.png"),
    ],
)
def test_what_nobody_can_know_is_refused(tmp_path: Path, name: str, what: str) -> None:
    for file in ("a.png", "one.png", "One.png", "c.png"):
        save(tmp_path / "images" / file, striped())
    files = PictureFiles(tmp_path / "images")
    assert what in files.problem(name)
    assert name not in files
    with pytest.raises(DatasetError, match=what):
        files.read(name)
    if name:
        with pytest.raises(DatasetError, match=f"1 of 1 pictures are missing.*{what}"):
            CocoPictures(write(tmp_path, name))


def test_two_names_never_mean_one_file(tmp_path: Path) -> None:
    save(tmp_path / "images" / "1.png", striped())
    for names in (("C:\\a\\1.png", "C:\\b\\1.png"), ("1.PNG", "1.png"), ("1.png", "1.PNG")):
        with pytest.raises(DatasetError, match="seems to mean the same file"):
            CocoPictures(write(tmp_path, *names))
    assert len(CocoPictures(write(tmp_path, "1.png", "1.png"))) == 2


FITS_BOTH = [(mark, SIZE) for mark in (2, 3, 4)] + [(mark, (32, 32)) for mark in range(2, 9)]


@pytest.mark.parametrize(("mark", "size"), FITS_BOTH)
def test_where_a_mark_fits_both_ways_a_switch_decides(
    tmp_path: Path, mark: int, size: tuple[int, int]
) -> None:
    save(tmp_path / "images" / "a.png", striped(size), mark)
    path = write(tmp_path, "a.png", size=size)
    turned = CocoPictures(path)[0].image
    assert np.array_equal(CocoPictures(path, upright=False)[0].image, striped(size))
    assert np.array_equal(turned, striped(size)) == (mark == 2)
    check = DatasetCheck(path)
    assert check.usable
    assert "orientation unclear" in check.findings


@pytest.mark.parametrize("mark", [5, 6, 7, 8])
@pytest.mark.parametrize("upright", [True, False])
def test_where_a_mark_fits_one_way_the_size_decides(
    tmp_path: Path, mark: int, upright: bool
) -> None:
    save(tmp_path / "images" / "a.png", striped(), mark)
    turned = CocoPictures(write(tmp_path, "a.png", size=SIZE[::-1]), upright=upright)[0].image
    assert turned.shape[:2] == SIZE[::-1]
    assert (turned[:, :, 0].any(0) == 0).sum() == SIZE[0] // 2  # red left or right
    stored = CocoPictures(write(tmp_path, "a.png"), upright=upright)[0].image
    assert np.array_equal(stored, striped())
    check = DatasetCheck(write(tmp_path, "a.png"))
    assert check.usable
    assert "orientation" in check.findings
    with pytest.raises(DatasetError, match="expected 9 x 9 pixels, got 30 x 40"):
        CocoPictures(write(tmp_path, "a.png", size=(9, 9)))[0]


def test_frames_of_videos_obey_the_same_rule(tmp_path: Path) -> None:
    save(tmp_path / "images" / "v" / "0.png", striped(), 3)
    video: dict[str, Any] = {"id": 1, "height": 30, "width": 40, "file_names": ["v\\0.png"]}
    path = tmp_path / "videos.json"
    path.write_text(json.dumps({"videos": [video], "categories": [{"id": 1, "name": "cat"}]}))
    assert np.array_equal(YouTubeVis(path)[0].image, striped()[::-1, ::-1])
    assert np.array_equal(YouTubeVis(path, upright=False)[0].image, striped())


def test_transparency_and_animations_in_a_data_set(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    clear = np.dstack((striped(), np.full(SIZE, 255, np.uint8)))
    clear[:15, :, 3] = 0
    several = [Image.fromarray(clear), Image.fromarray(np.roll(clear, 3, 0))]
    several[0].save(tmp_path / "images" / "a.webp", save_all=True, append_images=several[1:])
    path = write(tmp_path, "a.webp")
    assert (CocoPictures(path)[0].image[:14] == 255).all()
    assert "several pictures" in DatasetCheck(path).findings


def test_a_picture_of_a_format_that_is_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)
    (tmp_path / "images" / "a.heic").write_bytes(data)
    path = write(tmp_path, "a.heic")
    with pytest.raises(DatasetError, match=r"a\.heic: cannot decode the picture: HEIC is not read"):
        CocoPictures(path)[0]
    assert not DatasetCheck(path).usable
