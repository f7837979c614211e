"""Encoded pictures become the same upright RGB wherever they come from."""

from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from sipvideo import pictures
from sipvideo.pictures import PictureError, TooLargeError, decode, frames, kind_of, turned
from tests.media import picture

SIZE = (40, 56)
WHITE = [255, 255, 255]


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    if not isinstance(image, Image.Image):
        image = Image.fromarray(image)
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def half_clear() -> np.ndarray:
    """Left half transparent black, right half opaque red, RGBA."""
    image = np.zeros((*SIZE, 4), np.uint8)
    image[:, 28:] = (200, 30, 30, 255)
    return image


def exif(**tags: int) -> bytes:
    found = Image.Exif()
    found[0x0131] = "Editor"
    if "orientation" in tags:
        found[0x0112] = tags["orientation"]
    return found.tobytes()


@pytest.mark.parametrize("mark", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_orientation_mark_is_applied_in_every_format(kind: str, mark: int) -> None:
    data = encoded(picture(3, SIZE), kind, exif=exif(orientation=mark), quality=95)
    found = decode(data)
    assert found.mark == mark
    assert found.stored.shape[:2] == SIZE
    wanted = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert np.array_equal(found.upright, np.asarray(wanted.convert("RGB")))
    assert found.upright.shape[:2] == found.upright_size


@pytest.mark.parametrize("mark", [0, 9, 65535])
def test_orientation_marks_that_mean_nothing_change_nothing(mark: int) -> None:
    assert decode(encoded(picture(3, SIZE), "JPEG", exif=exif(orientation=mark))).mark == 1


def test_a_picture_turned_by_its_mark_and_back_is_the_same() -> None:
    image = picture(3, SIZE)
    back = {6: 8, 8: 6}
    for mark in range(1, 9):
        assert np.array_equal(turned(turned(image, mark), back.get(mark, mark)), image)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_metadata_never_changes_what_shows_under_transparent_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    plain = decode(encoded(half_clear(), kind, **options)).stored
    marked = decode(encoded(half_clear(), kind, exif=exif(), **options)).stored
    assert np.array_equal(plain, marked)
    assert (plain[:, :26] == 255).all()
    assert np.abs(plain[:, 32:].astype(int) - (200, 30, 30)).max() < 9


def test_colours_hidden_under_transparency_stay_hidden() -> None:
    image = half_clear()
    image[:, :28, :3] = np.random.default_rng(0).integers(0, 256, (40, 28, 3), np.uint8)
    assert (decode(encoded(image, "PNG")).stored[:, :28] == 255).all()


def with_palette() -> Image.Image:
    image = Image.new("P", (8, 8))
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((5, 5), 1)
    return image


TRANSPARENT: list[tuple[str, bytes]] = [
    ("palette", encoded(with_palette(), "PNG", transparency=0)),
    ("palette with several", encoded(with_palette(), "PNG", transparency=b"\x00\xff")),
    ("GIF", encoded(with_palette(), "GIF", transparency=0)),
    ("grey", encoded(Image.new("L", (8, 8)), "PNG", transparency=0)),
    ("RGB", encoded(Image.new("RGB", (8, 8)), "PNG", transparency=(0, 0, 0))),
    ("one bit", encoded(Image.new("1", (8, 8)), "PNG", transparency=0)),
    ("16 bits of grey", encoded(Image.new("I;16", (8, 8)), "PNG", transparency=0)),
    ("grey and alpha", encoded(Image.new("LA", (8, 8)), "PNG")),
]


@pytest.mark.parametrize(("what", "data"), TRANSPARENT)
def test_every_kind_of_transparency_shows_white(what: str, data: bytes) -> None:
    found = decode(data).stored
    assert found[0, 0].tolist() == WHITE, what
    assert found.shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "LA", "I;16", "1"])
def test_large_pictures_converted_part_by_part_are_the_same(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (13, 17, 4), np.uint8)
    picture = Image.fromarray(colours, "RGBA")
    if mode == "I;16":
        picture = Image.fromarray(colours[:, :, 0].astype(np.uint16) * 257)
    elif mode != "RGBA":
        picture = picture.convert("RGB").convert(mode) if mode != "LA" else picture.convert(mode)
    data = encoded(picture, "TIFF" if mode == "CMYK" else "PNG")
    whole = decode(data).stored
    monkeypatch.setattr("sipvideo.pictures.PART", 40)
    assert np.array_equal(decode(data).stored, whole)
    for what, clear in TRANSPARENT:
        assert decode(clear).stored[0, 0].tolist() == WHITE, what


def test_sixteen_bits_keep_their_range() -> None:
    grey = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for kind in ("PNG", "TIFF"):
        found = decode(encoded(grey, kind)).stored
        assert np.array_equal(found[..., 0].ravel(), np.arange(256))
        assert (found == found[..., :1]).all()


def test_print_colours_become_rgb() -> None:
    wanted = picture(3, SIZE)
    for kind in ("JPEG", "TIFF"):
        found = decode(encoded(Image.fromarray(wanted).convert("CMYK"), kind)).stored
        assert np.abs(found.astype(int) - wanted).mean() < 6


def test_colour_profiles_are_not_applied() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    image = picture(3, SIZE)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(decode(encoded(image, kind, icc_profile=profile)).stored, image)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is a text",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"II*\x00" + b"\xff" * 40,
        b"BM" + b"\x00" * 60,
        b"%PDF-1.4",
        encoded(np.zeros((4, 4), np.float32), "TIFF"),
    ],
)
def test_what_is_no_picture_is_one_line(data: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "GIF"])
def test_a_picture_that_is_cut_off_is_never_shown(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    data = encoded(noise, kind)
    for share in (0.05, 0.4, 0.7, 0.95):
        with pytest.raises(PictureError):
            decode(data[: int(len(data) * share)])


def heif(brand: bytes, *others: bytes) -> bytes:
    return struct.pack(">I4s4sI", 16 + 4 * len(others), b"ftyp", brand, 0) + b"".join(others)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (heif(b"heic", b"mif1"), "HEIC"),
        (heif(b"mif1", b"heic"), "HEIC"),
        (heif(b"heix"), "HEIC"),
        (heif(b"msf1", b"hevc"), "HEIC"),
        (b"\xff\x0a" + b"\x00" * 40, "JPEG XL"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS" + b"\x00" * 40, "Photoshop"),
    ],
)
def test_formats_that_are_not_read_are_named(data: bytes, name: str) -> None:
    with pytest.raises(PictureError, match=f"^{name} is not read: save it as JPEG"):
        decode(data + b"\x00" * 100)


def test_formats_are_told_by_their_first_bytes() -> None:
    image = picture(3, SIZE)
    for kind in pictures.FORMATS:
        assert kind_of(encoded(image, kind)[:64]) == kind
    assert kind_of(heif(b"mif1", b"miaf", b"avif")) == "AVIF"
    for other in (heif(b"isom", b"avc1"), heif(b"qt  "), b"", b"\x1aE\xdf\xa3", b"ftyp"):
        assert kind_of(other) is None


def test_cameras_raw_files_are_not_taken_for_their_previews() -> None:
    image = Image.fromarray(picture(3, SIZE))
    for tags in ({50706: b"\x01\x04\x00\x00"}, {254: 1}):
        with pytest.raises(PictureError, match="raw file"):
            decode(encoded(image, "TIFF", tiffinfo=tags))


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says that it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b""))
        + (chunk(b"IEND", b""))
    )


def test_decompression_bombs_are_refused_before_they_go_off() -> None:
    for size in ((20_000, 20_000), (60_000, 60_000), (12_000, 12_000)):
        with pytest.raises(TooLargeError, match="pictures of up to 104 million pixels are read"):
            decode(bomb(*size))


def test_a_longest_side_and_chosen_formats_are_kept_to() -> None:
    data = encoded(picture(3, SIZE), "PNG")
    with pytest.raises(TooLargeError, match="up to 50 pixels a side are taken, got 56 x 40"):
        decode(data, longest=50)
    with pytest.raises(PictureError, match="not a picture"):
        decode(data, ("JPEG", "WEBP"))


def rolled(k: int) -> np.ndarray:
    return np.roll(picture(3, SIZE), 9 * k, 1)


def animation(kind: str, times: list[int], **options: Any) -> bytes:
    several = [Image.fromarray(rolled(k)) for k in range(len(times))]
    options |= {"lossless": True} if kind == "WEBP" else {}
    return encoded(
        several[0], kind, save_all=True, append_images=several[1:], duration=times, **options
    )


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_gives_all_its_frames_with_their_times(kind: str) -> None:
    data = animation(kind, [100, 250, 40, 70])
    assert decode(data).frames == 4
    found = list(frames(data))
    assert [round(seconds, 3) for _, seconds in found] == [0.1, 0.25, 0.04, 0.07]
    for k, (image, _) in enumerate(found):
        # GIF has 256 colours, AVIF is lossy.
        assert np.abs(image.astype(int) - rolled(k)).mean() < 9
    assert np.array_equal(decode(data).stored, found[0][0])


def test_a_picture_for_viewers_without_animations_is_no_frame() -> None:
    data = animation("PNG", [100, 200, 300], default_image=True)
    assert decode(data).frames == 2
    assert [seconds for _, seconds in frames(data)] == [0.1, 0.2]


def test_frames_shown_for_no_time_are_shown_as_browsers_do() -> None:
    assert [s for _, s in frames(animation("GIF", [0, 10, 20]))] == [0.1, 0.1, 0.02]


def test_an_animation_that_is_cut_off_gives_its_good_frames_first() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), np.uint8)
    several = [Image.fromarray(image) for image in noise]
    for kind in ("PNG", "GIF"):
        data = encoded(several[0], kind, save_all=True, append_images=several[1:], duration=100)
        found = []
        with contextlib.suppress(PictureError):
            found.extend(frames(data[: len(data) * 6 // 10]))
        assert 1 <= len(found) < 4


def test_pages_are_counted_and_are_no_animation() -> None:
    data = encoded(
        Image.fromarray(rolled(0)), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))]
    )
    found = decode(data)
    assert (found.frames, found.pages) == (1, 2)
    assert np.array_equal(found.stored, rolled(0))


def test_damaged_bytes_are_a_picture_or_a_picture_error() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "GIF"):
        data = bytearray(encoded(picture(3, SIZE), kind, exif=exif(orientation=6)))
        for _ in range(40):
            spoilt = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                spoilt[place] = rng.integers(0, 256)
            with contextlib.suppress(PictureError):
                assert decode(bytes(spoilt)).upright.dtype == np.uint8


def test_no_decoder_writes_to_standard_error_by_itself(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    for options in ({"compression": "tiff_lzw"}, {"compression": "jpeg"}):
        file = BytesIO()
        Image.fromarray(noise).save(file, "TIFF", **options)
        for _ in range(40):
            spoilt = bytearray(file.getvalue())
            for place in rng.integers(8, len(spoilt), 6):
                spoilt[place] = rng.integers(0, 256)
            with contextlib.suppress(PictureError):
                decode(bytes(spoilt))
    assert capfd.readouterr().err == ""
