"""Pictures of every format, damaged in bytes, in chunks whose checksums fit again, and in the numbers of headers."""

from __future__ import annotations

import functools
import json
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.fuzz import annotations
from tests.fuzz.case import Case
from tests.fuzz.mutate import NUMBERS, Rng, choose, mutated_bytes
from tests.media import picture

SIZE = (48, 64)
Shape = tuple[str, str, dict[str, Any]]

BASES: dict[str, Shape] = {
    "jpeg": (".jpg", "RGB", {"quality": 80}),
    "jpeg_progressive": (".jpg", "RGB", {"progressive": True}),
    "jpeg_grey": (".jpg", "L", {}),
    "jpeg_cmyk": (".jpg", "CMYK", {}),
    "jpeg_turned": (".jpeg", "RGB", {"exif": True}),
    "png": (".png", "RGB", {}),
    "png_alpha": (".png", "RGBA", {}),
    "png_palette": (".png", "P", {"transparency": 0}),
    "png_grey_alpha": (".png", "LA", {}),
    "png_bits": (".png", "1", {}),
    "png_16": (".png", "I;16", {}),
    "png_exif": (".png", "RGBA", {"exif": True}),
    "png_moves": (".png", "RGB", {"save_all": True, "frames": 3}),
    "webp": (".webp", "RGB", {}),
    "webp_alpha": (".webp", "RGBA", {"lossless": True}),
    "webp_moves": (".webp", "RGB", {"save_all": True, "frames": 3}),
    "gif": (".gif", "P", {}),
    "gif_moves": (".gif", "P", {"save_all": True, "frames": 3}),
    "tiff": (".tiff", "RGB", {}),
    "tiff_lzw": (".tif", "RGBA", {"compression": "tiff_lzw"}),
    "tiff_jpeg": (".tif", "RGB", {"compression": "jpeg"}),
    "tiff_16": (".tif", "I;16", {}),
    "tiff_float": (".tif", "F", {}),
    "tiff_pages": (".tif", "RGB", {"save_all": True, "frames": 3}),
    "bmp": (".bmp", "RGB", {}),
    "bmp_palette": (".bmp", "P", {}),
    "avif": (".avif", "RGB", {}),
    "avif_alpha": (".avif", "RGBA", {}),
    "avif_moves": (".avif", "RGB", {"save_all": True, "frames": 3}),
}


@functools.cache
def base(name: str) -> bytes:
    """A small whole picture."""
    suffix, mode, options = BASES[name]
    options = dict(options)
    images = [_in_mode(k, mode) for k in range(options.pop("frames", 1))]
    if options.get("exif"):
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif.tobytes()
    if len(images) > 1:
        options |= {"append_images": images[1:], "duration": 40}
    file = BytesIO()
    images[0].save(file, Image.registered_extensions()[suffix], **options)
    return file.getvalue()


def _in_mode(index: int, mode: str) -> Image.Image:
    image = picture(index, SIZE)
    if mode == "I;16":
        return Image.fromarray(image[..., 0].astype(np.uint16) * 257)
    converted = Image.fromarray(image).convert(mode)
    if mode in ("RGBA", "LA"):
        converted.putalpha(Image.fromarray(image[..., 1]))
    return converted


def damaged(rng: Rng, names: tuple[str, ...] = tuple(BASES)) -> tuple[bytes, str, str]:
    """A damaged picture's bytes, its suffix, and the recipe."""
    name = choose(rng, names)
    suffix, data = BASES[name][0], base(name)
    if rng.random() < 0.5:
        data, how = mutated_bytes(rng, data, base(choose(rng, names)))
    else:
        change = CHUNKED.get(suffix, _numbers)
        data, how = change(rng, data)
    if rng.random() < 0.08:
        suffix = choose(rng, (".jpg", ".png", ".webp", ".tif", ".gif"))
    return data, suffix, f"{name}{suffix}: {how}"


def _png_chunks(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """PNG chunks changed, lost, doubled or out of order; most checksums fit again, so that decoders go on."""
    chunks, place = [], 8
    while place + 8 <= len(data):
        (size,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + size]))
        place += 12 + size
    k, way = int(rng.integers(len(chunks))), int(rng.integers(6))
    name, body = chunks[k]
    if way == 0:
        del chunks[k]
    elif way == 1:
        chunks.insert(int(rng.integers(len(chunks))), chunks[k])
    elif way == 2:
        chunks = [chunks[int(i)] for i in rng.permutation(len(chunks))]
    elif way == 3 or name != b"IHDR":
        chunks[k] = (name, mutated_bytes(rng, body)[0])
    else:
        fields = list(struct.unpack(">IIBBBBB", body))
        field = int(rng.integers(7))
        fields[field] = choose(rng, (*NUMBERS, 1000, 20000, 70000)) & (
            0xFFFFFFFF if field < 2 else 0xFF
        )
        chunks[k] = (name, struct.pack(">IIBBBBB", *fields))
    parts = [data[:8]]
    for name, body in chunks:
        parts += [
            struct.pack(">I", len(body)),
            name,
            body,
            struct.pack(">I", zlib.crc32(name + body)),
        ]
    return b"".join(parts), f"chunk {name.decode('latin-1')} way {way}"


def _jpeg_segments(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """JPEG's segments changed, lost, doubled or out of order."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        segments.append(data[place:end])
        place = end
    rest = data[place:]
    k, way = int(rng.integers(len(segments))), int(rng.integers(5))
    marker = segments[k][1]
    if way == 0:
        del segments[k]
    elif way == 1:
        segments.insert(int(rng.integers(len(segments))), segments[k])
    elif way == 2:
        segments = [segments[int(i)] for i in rng.permutation(len(segments))]
    elif way == 3:
        sizes = [n for n, s in enumerate(segments) if s[1] in (0xC0, 0xC2)]
        if sizes:
            frame = bytearray(segments[sizes[0]])
            at = 5 + 2 * int(rng.integers(2))
            frame[at : at + 2] = choose(rng, (0, 1, 7, 0x7FFF, 0xFFFF)).to_bytes(2, "big")
            segments[sizes[0]] = bytes(frame)
    else:
        segments[k] = segments[k][:4] + mutated_bytes(rng, segments[k][4:])[0]
    return data[:2] + b"".join(segments) + rest, f"segment {marker:#x} way {way}"


def _tiff_fields(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Entries of TIFF's directory with another tag, type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    (place,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, place)
    changed, how = bytearray(data), []
    for _ in range(1 + int(rng.integers(2))):
        entry = place + 2 + 12 * int(rng.integers(count))
        (tag,) = struct.unpack_from(order + "H", data, entry)
        field = int(rng.integers(4))
        number = choose(rng, (*NUMBERS, 3, 4, 5, 8, 257, 70000))
        if field < 2:
            struct.pack_into(order + "H", changed, entry + 2 * field, number & 0xFFFF)
        else:
            struct.pack_into(order + "I", changed, entry + 4 * (field - 1), number)
        how.append(f"tag {tag} field {field}={number:#x}")
    return bytes(changed), " ".join(how)


def _numbers(rng: Rng, data: bytes) -> tuple[bytes, str]:
    """Odd numbers in the first bytes, as BMP, GIF, WebP and AVIF have their sizes there."""
    changed, how = bytearray(data), []
    for _ in range(1 + int(rng.integers(3))):
        place = int(rng.integers(min(len(data), 300) - 4))
        number = choose(rng, NUMBERS)
        order = choose(rng, ("big", "little"))
        changed[place : place + 4] = number.to_bytes(4, order)
        how.append(f"+{place}={number:#x}")
    return bytes(changed), " ".join(how)


CHUNKED: dict[str, Callable[[Rng, bytes], tuple[bytes, str]]] = {
    ".png": _png_chunks,
    ".jpg": _jpeg_segments,
    ".jpeg": _jpeg_segments,
    ".tif": _tiff_fields,
    ".tiff": _tiff_fields,
}


def single(rng: Rng, folder: Path) -> Case:
    """One damaged picture as the input."""
    data, suffix, how = damaged(rng)
    (folder / f"in{suffix}").write_bytes(data)
    kinds = choose(rng, ("video", "json", "lines,png", "pictures"))
    return Case(how, ["video", f"in{suffix}", "-o", "out", "-q", "--save", kinds])


def sequence(rng: Rng, folder: Path) -> Case:
    """A damaged picture among whole ones: as a folder or a pattern."""
    data, suffix, how = damaged(rng)
    (folder / "in").mkdir()
    place = int(rng.integers(3))
    for k in range(3):
        good = choose(rng, ("jpeg", "png", "webp", "tiff", "bmp"))
        made = (data, suffix) if k == place else (base(good), BASES[good][0])
        (folder / "in" / f"{k}{made[1]}").write_bytes(made[0])
    text = choose(rng, ("in", "in", "in/*", "in/*.*"))
    kinds = choose(rng, ("video", "json,csv", "lines", "pictures"))
    return Case(
        f"{text}, number {place}: {how}", ["video", text, "-o", "out", "-q", "--save", kinds]
    )


def annotated(rng: Rng, folder: Path) -> Case:
    """A damaged picture of a data set, which the check decodes."""
    data, _, how = damaged(rng)
    tree = annotations.coco()
    annotations.write_pictures(folder, tree)
    (folder / "set.json").write_text(json.dumps(tree))
    (folder / "images" / "1.png").write_bytes(data)
    if rng.random() < 0.5:
        arguments = ["data", "check", "set.json", "--sheet", "out/sheet.png"]
    else:
        arguments = ["eval", "set.json", "-o", "out", "-q", "--resamples", "0", "--no-html"]
    return Case(f"{arguments[0]} with {how}", arguments, lines=2)
