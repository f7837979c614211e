"""Encoded pictures as upright RGB: the one place that knows about formats, transparency and orientation marks.

Whatever carries a picture (files, data sets, uploads of the page) gets the same pixels from the same bytes: what is
transparent shows :data:`BACKGROUND`, whatever colours the file hides there; palettes, grey values, CMYK and 16 bits
become RGB of 8 bits; colour profiles are not applied, as models are trained without. Nothing but the orientation
mark is taken from metadata.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError, features

from sipvideo.remote import StoredFile

RGB = NDArray[np.uint8]

BACKGROUND = (255, 255, 255)
"""Under transparent pixels."""
MAX_PIXELS = 104_000_000
"""Of a picture. Larger ones are more likely a decompression bomb than a photograph."""
MOST = f"{MAX_PIXELS / 1e6:.0f} million"
PART = 4_000_000
"""Pixels of a large picture that are converted at a time."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "GIF")
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
SHORTEST, INSTEAD = 0.01, 0.1
"""Seconds: what is shown for no longer than the first is shown for the second, as browsers do."""

SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
}
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1")
AVIF_BRANDS = (b"avif", b"avis")
PREVIEW, DNG = (
    254,
    50706,
)  # tags of TIFF files: the kind of a picture, the version of a camera's raw file
NO_PICTURE = "not a picture, or damaged"

_quietly = threading.Lock()
_one_at_a_time = threading.Lock()


class PictureError(ValueError):
    """Bytes that cannot become a picture; the message says why."""


class TooLargeError(PictureError):
    """More pixels than are taken."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture as it is stored.

    Attributes:
        stored: uint8 [H, W, 3], RGB, not turned.
        mark: orientation mark 1..8 of EXIF; 1: it is upright as stored.
        format: its name.
        frames: of an animation; 1 for every other picture.
        pages: of a file of several pictures that are no animation.
    """

    stored: RGB
    mark: int = 1
    format: str = ""
    frames: int = 1
    pages: int = 1

    @property
    def upright(self) -> RGB:
        """uint8 [H, W, 3], RGB, as it shall be seen."""
        return turned(self.stored, self.mark)

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of the upright picture."""
        height, width = self.stored.shape[:2]
        return (width, height) if self.mark >= 5 else (height, width)


def decode(data: bytes, formats: Sequence[str] = FORMATS, longest: int | None = None) -> Decoded:
    """The picture in some bytes; of an animation its first frame.

    Args:
        data: a whole file.
        formats: that are taken, of :data:`FORMATS`.
        longest: most pixels of a side; nothing larger is decoded.

    Raises:
        PictureError: it is none of these, damaged, cut off, or too large.
    """
    with _opened(data, formats, longest) as image:
        several = getattr(image, "n_frames", 1)
        kind = image.format or ""
        animated = kind in ANIMATED and several > 1
        # Asked for the mark, PNGs are decoded. TIFFs are turned when they are decoded, and forget it.
        mark = _mark(image) if kind == "TIFF" else 0
        rgb = _rgb(image)
        mark = mark or _mark(image)
        if mark != _mark(image):
            rgb = turned(rgb, {6: 8, 8: 6}.get(mark, mark))
        return Decoded(
            stored=rgb,
            mark=mark,
            format=kind,
            frames=several - bool(image.info.get("default_image")) if animated else 1,
            pages=several if kind == "TIFF" else 1,
        )


def frames(data: bytes) -> Iterator[tuple[RGB, float]]:
    """The frames of an animation, uint8 [H, W, 3], RGB, upright, and the seconds that each is shown.

    Raises:
        PictureError: as :func:`decode`; frames before the damage come first.
    """
    with _opened(data, FORMATS, None) as image:
        first = int(bool(image.info.get("default_image")) and getattr(image, "n_frames", 1) > 1)
        image.load()
        mark = _mark(image)
        for number in range(first, getattr(image, "n_frames", 1)):
            try:
                image.seek(number)
                rgb = _rgb(image)
            except PictureError:
                raise
            except Exception as error:
                raise PictureError("damaged or cut off") from error
            seconds = float(image.info.get("duration") or 0) / 1000
            yield turned(rgb, mark), seconds if seconds > SHORTEST else INSTEAD


def turned(picture: RGB, mark: int) -> RGB:
    """A stored picture [H, W, 3] as its orientation mark 1..8 wants it to be seen."""
    if mark >= 5:
        picture = picture.transpose(1, 0, 2)
    rows = -1 if mark in (3, 4, 7, 8) else 1
    columns = -1 if mark in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(picture[::rows, ::columns])


def kind_of(head: bytes) -> str | None:
    """Name of the picture format that bytes begin like, None for others; 64 bytes are enough."""
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[k : k + 4] for k in range(16, len(head) - 3, 4))]
        if brands[0] in AVIF_BRANDS or (
            brands[0] in HEIF_BRANDS and not {*AVIF_BRANDS}.isdisjoint(brands)
        ):
            return "AVIF"
        return "HEIC" if brands[0] in HEIF_BRANDS else None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for start, kind in SIGNATURES.items() if head.startswith(start)), None)


def file_kind(path: StoredFile) -> str | None:
    """As :func:`kind_of`, of a file; None also where it cannot be read."""
    try:
        with path.open("rb") as file:
            return kind_of(file.read(64))
    except (OSError, ValueError):
        return None


@contextlib.contextmanager
def _opened(data: bytes, formats: Sequence[str], longest: int | None) -> Iterator[Image.Image]:
    """The picture, not yet decoded; whatever goes wrong inside is a PictureError."""
    kind = kind_of(data[:64])
    if not data:
        raise PictureError(f"{NO_PICTURE}: the file is empty")
    if kind == "AVIF" and not features.check("avif"):
        raise PictureError("this Pillow cannot read AVIF: pip install -U pillow")
    if kind is not None and kind not in FORMATS:
        raise PictureError(f"{kind} is not read: save it as JPEG, PNG, WebP or AVIF")
    try:
        with (
            _wordless() if kind == "TIFF" else contextlib.nullcontext(),
            _open(data, formats) as image,
        ):
            _check_size(image, longest)
            if kind == "TIFF":
                _check_tiff(image)
            yield image
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"pictures of up to {MOST} pixels are read") from error
    except UnidentifiedImageError as error:
        if kind == "TIFF":
            what = "a TIFF of another kind than 8 or 16 bits per channel, or damaged"
            raise PictureError(what) from error
        raise PictureError(NO_PICTURE) from error
    except MemoryError as error:
        raise PictureError("too large for this machine's memory") from error
    except Exception as error:  # Pillow raises whatever its decoders raise on damaged data
        raise PictureError(NO_PICTURE) from error


@contextlib.contextmanager
def _wordless() -> Iterator[None]:
    """libtiff writes what it finds damaged to the process's standard error itself; the error says it in one line."""
    with _one_at_a_time:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _open(data: bytes, formats: Sequence[str]) -> Image.Image:
    # Pillow warns of large pictures and odd metadata, neither of which is of use here.
    with _quietly, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(BytesIO(data), formats=tuple(formats))


def _check_size(image: Image.Image, longest: int | None) -> None:
    width, height = image.size
    if longest is not None and max(image.size) > longest:
        raise TooLargeError(
            f"pictures of up to {longest} pixels a side are taken, got {width} x {height}"
        )
    if width * height > MAX_PIXELS:
        raise TooLargeError(f"{width} x {height} pixels: pictures of up to {MOST} pixels are read")


def _check_tiff(image: Image.Image) -> None:
    """Cameras' raw files are TIFFs, too, which begin with a small preview."""
    tags: Any = getattr(image, "tag_v2", {})
    if DNG in tags or tags.get(PREVIEW, 0) & 1:
        raise PictureError("a camera's raw file is not read: save it as JPEG, PNG, WebP or AVIF")
    if image.mode in ("I", "F"):
        raise PictureError("expected 8 or 16 bits per channel, got 32")


def _mark(image: Image.Image) -> int:
    with _quietly, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mark = image.getexif().get(0x0112, 1)
    return mark if mark in range(1, 9) else 1


def _rgb(image: Image.Image) -> RGB:
    """As stored, uint8 [H, W, 3], RGB, over the background.

    Large ones are converted part by part: each step on the way would be a copy of the whole, and up to three exist.
    """
    width, height = image.size
    rows = max(1, PART // width)
    if rows >= height:
        return _part(image)
    whole = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        whole[top:bottom] = _part(image.crop((0, top, width, bottom)))
    return whole


def _part(image: Image.Image) -> RGB:
    if image.mode.startswith("I;16"):
        deep = np.asarray(image).astype(np.uint32)
        grey = ((deep + 128) // 257).astype(np.uint8)
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            grey[deep == clear] = BACKGROUND[0]
        return np.repeat(grey[:, :, None], 3, 2)
    if image.mode in ("I", "F"):
        raise PictureError("expected 8 or 16 bits per channel, got 32")
    if image.mode == "LAB":
        raise PictureError("CIELAB colours are not read: save it as RGB")
    if not image.has_transparency_data:
        if image.mode == "L":
            return np.repeat(np.asarray(image, np.uint8)[:, :, None], 3, 2)
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"), np.uint8)
    layers = image.convert("RGBA")
    canvas = Image.new("RGB", image.size, BACKGROUND)
    canvas.paste(layers, mask=layers.getchannel("A"))
    return np.asarray(canvas, np.uint8)
