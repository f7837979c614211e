"""Messages between page and server: a line of JSON and bytes in one binary message, masks as run lengths.

A message is the length of its header (uint32, little endian), the header (JSON, UTF-8), and the rest. Masks travel
as run lengths: the pixels of an object's window row by row, the lengths of the runs of outside, inside, outside...
pixels, each as LEB128 (seven bits per byte, low bits first, the top bit says that more follow). On people in a street
that is a quarter of the bits of the windows and a fiftieth of the picture as JPEG.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo import pictures
from sipvideo.draw import colour_of
from sipvideo.errors import SourceError
from sipvideo.structures import FrameResult

Picture = NDArray[np.uint8]

PICTURE_SIDE = 960
"""Pixels of the longer side of a picture sent to the page: what a page shows of a stage."""

VISITOR_SIDE = 1920
"""Longest side of a picture that a visitor may send."""

MAX_HEADER = 64 * 1024
LENGTH = struct.Struct("<I")


def pack(header: dict[str, Any], *parts: bytes) -> bytes:
    """One binary message."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((LENGTH.pack(len(text)), text, *parts))


def unpack(message: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and rest of a binary message.

    Raises:
        ValueError: it is not one.
    """
    if len(message) < LENGTH.size:
        raise ValueError("message: shorter than its length field")
    (size,) = LENGTH.unpack_from(message)
    if size > MAX_HEADER or LENGTH.size + size > len(message):
        raise ValueError("message: the header is longer than the message")
    try:
        header = json.loads(message[LENGTH.size : LENGTH.size + size])
    except (ValueError, RecursionError) as error:
        raise ValueError("message: the header is not JSON") from error
    if not isinstance(header, dict):
        raise ValueError("message: the header is not a JSON object")
    return header, message[LENGTH.size + size :]


def mask_runs(mask: NDArray[np.bool_]) -> bytes:
    """Run lengths of a mask bool [h, w], row by row, starting with the pixels outside."""
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0, 0] if flat.size and flat[0] else [0]
    return _leb128(np.diff(np.concatenate((first, edges, [flat.size]))))


def runs_mask(data: bytes, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask bool [h, w] of those run lengths: the inverse of :func:`mask_runs`, as the page does it."""
    flat = np.zeros(size[0] * size[1], bool)
    place = value = shift = 0
    inside = False
    for byte in data:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            flat[place : place + value] = inside
            place, value, shift, inside = place + value, 0, 0, not inside
    return flat.reshape(size)


def _leb128(values: NDArray[np.int64]) -> bytes:
    """Numbers >= 0, seven bits per byte."""
    counts = 1 + (values[:, None] >> np.array([7, 14, 21, 28]) > 0).sum(1)
    ends = np.cumsum(counts)
    out = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for k in range(int(counts.max(initial=0))):
        has = counts > k
        more = (counts[has] > k + 1) * 128
        out[(ends - counts)[has] + k] = ((values[has] >> 7 * k) & 127) | more
    return out.tobytes()


def encode_objects(
    result: FrameResult, class_names: Sequence[str], seen: dict[int, float]
) -> tuple[list[dict[str, Any]], bytes]:
    """Objects with an identity for a message's header, and the run lengths of their masks one after the other.

    Args:
        result: one frame's objects.
        class_names: names in label order.
        seen: seconds since the first sight of each identity.
    """
    result = result.tracked()
    detections = result.detections
    objects, runs = [], []
    for k, track_id in enumerate(result.track_ids.tolist()):
        label = int(detections.labels[k])
        runs.append(mask_runs(detections.masks.crop(k)))
        name = class_names[label] if 0 <= label < len(class_names) else f"class {label}"
        objects.append(
            {
                "id": track_id,
                "label": label,
                "class": name.replace("_", " "),
                "score": round(float(detections.scores[k]), 3),
                "seen": round(seen.get(track_id, 0.0), 2),
                "colour": "#{:02x}{:02x}{:02x}".format(*colour_of(track_id)),
                "box": [round(float(value), 1) for value in detections.boxes[k]],
                "window": detections.masks.windows[k].tolist(),
                "bytes": len(runs[-1]),
            }
        )
    return objects, b"".join(runs)


def encode_picture(image: Picture, side: int = PICTURE_SIDE, quality: int = 80) -> bytes:
    """JPEG of a picture uint8 [H, W, 3], RGB, made smaller where its longer side exceeds ``side``."""
    picture = Image.fromarray(image)
    longest = max(picture.size)
    if longest > side:
        width, height = (max(1, round(value * side / longest)) for value in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BOX)
    file = BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def decode_picture(data: bytes) -> Picture:
    """A visitor's picture, JPEG or WebP, as uint8 [H, W, 3], RGB, upright.

    Raises:
        SourceError: it is not one, or larger than :data:`VISITOR_SIDE`; nothing large is decoded.
    """
    try:
        return pictures.decode(data, ("JPEG", "WEBP"), VISITOR_SIDE).upright
    except pictures.TooLargeError as error:
        raise SourceError(f"webcam: {error}") from error
    except pictures.PictureError as error:
        raise SourceError("webcam: not a JPEG or WebP picture") from error
