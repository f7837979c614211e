"""Whether a file holds all the bytes that its container promises.

Declared durations and counts often belong to something else than the pictures that come: sound that outlasts them,
frames hidden by an edit list, places left empty for frames that were dropped. Sizes do not: a file that was cut off
lacks bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import IO

import av

from sipvideo.remote import StoredFile

AVI_PART = 8
TAIL = 65_536
SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"


def is_cut(path: StoredFile, container: str, stream: av.VideoStream) -> bool | None:
    """Whether bytes are missing at the end; None: the container does not promise any.

    Args:
        path: the file.
        container: FFmpeg's name of its format.
        stream: its video, read to the end.
    """
    size = path.stat().st_size
    try:
        if container.startswith("mov,"):
            return _indexed(stream, size)
        if (check := CHECKS.get(container)) is None:
            return None
        with path.open("rb") as file:
            return check(file, size)
    except (OSError, struct.error, IndexError, ValueError):
        return None


def _indexed(stream: av.VideoStream, size: int) -> bool | None:
    """MP4, MOV: the index tells where every frame lies; the last one is the last in the file."""
    entries = stream.index_entries
    if not len(entries):
        return None
    last = entries[len(entries) - 1]
    return bool(last.pos + last.size > size)


def _avi(file: IO[bytes], size: int) -> bool | None:
    """One RIFF after the other, each with its size."""
    place = 0
    while place + AVI_PART < size:
        file.seek(place)
        name, length = struct.unpack("<4sI", file.read(8))
        if name != b"RIFF":
            return False  # something was added behind
        if length in (0, 0xFFFFFFFF):
            return None  # a recording that was never completed
        place += 8 + length + length % 2
    return place > size + 1


def _matroska(file: IO[bytes], size: int) -> bool | None:
    """Header, then one segment of clusters with frames, and an index that may be missing without a loss."""
    place, end, name = 0, size, b""
    while place < min(end, size):
        file.seek(place)
        head = file.read(16)
        letters = 9 - head[0].bit_length()
        name, length = head[:letters], head[letters:]
        width = 9 - length[0].bit_length()
        known = (1 << 7 * width) - 1
        value = int.from_bytes(length[:width], "big") & known
        if value == known:
            return None  # written live
        place += letters + width
        if name == SEGMENT:
            end = place + value
        else:
            place += value
    return end > size and (place == size or name == CLUSTER)


def _asf(file: IO[bytes], size: int) -> bool | None:
    """The file properties tell the size."""
    head = file.read(TAIL)
    place = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if place < 0:
        return None
    length, packets = struct.unpack_from("<Q8xQ", head, place + 40)
    live = struct.unpack_from("<I", head, place + 88)[0] & 1
    if live or not length or not packets:
        return None
    return bool(length > size)


def _flv(file: IO[bytes], size: int) -> bool | None:
    """Behind every tag stands its size."""
    file.seek(size - 4)
    (length,) = struct.unpack(">I", file.read(4))
    if not 11 <= length <= size - 13:
        return True
    file.seek(size - 4 - length)
    return bool(int.from_bytes(file.read(4)[1:], "big") + 11 != length)


def _ogg(file: IO[bytes], size: int) -> bool | None:
    """The last page is whole."""
    file.seek(max(size - TAIL - 512, 0))
    tail = file.read()
    place = tail.rfind(b"OggS")
    if place < 0:
        return True
    count = tail[place + 26]
    lengths = tail[place + 27 : place + 27 + count]
    return len(lengths) < count or place + 27 + count + sum(lengths) > len(tail)


def _gif(file: IO[bytes], size: int) -> bool | None:
    file.seek(max(size - 512, 0))
    return not file.read().rstrip(b"\0").endswith(b";")


def _transport(file: IO[bytes], size: int) -> bool | None:
    """Packets of 188 bytes, or of 192 with their times, or of 204 with their sums."""
    head = file.read(4 * 204)
    for length, first in ((188, 0), (192, 4), (204, 0)):
        if len(head) > first + length and head[first] == 0x47 == head[first + length]:
            return size % length != 0
    return None


def _program(file: IO[bytes], size: int) -> bool | None:
    """MPEG program stream: every packet of a pack tells its length, the last ones are looked at."""
    begin = max(size - 4 * TAIL, 0)
    file.seek(begin)
    tail = file.read()
    place = tail.find(b"\0\0\1\xba")
    while 0 <= place <= len(tail) - 6 and tail[place : place + 3] == b"\0\0\1":
        code = tail[place + 3]
        if code == 0xB9:
            return False
        if code == 0xBA:
            place += 12 if tail[place + 4] >> 4 == 2 else 14 + (tail[place + 13] & 7)
        else:
            place += 6 + int.from_bytes(tail[place + 4 : place + 6], "big")
    return None if place < 0 or place == len(tail) else place + 6 > len(tail)


def _y4m(file: IO[bytes], size: int) -> bool | None:
    """Frames of one size, each behind a line; that of the first is repeated."""
    file.readline(512)
    begin = file.tell()
    mark = file.readline(512)
    place = file.read(64 << 20).find(mark)
    return None if place < 0 else (size - begin) % (place + len(mark)) != 0


def _mjpeg(file: IO[bytes], size: int) -> bool | None:
    file.seek(max(size - 512, 0))
    return not file.read().rstrip(b"\0\r\n").endswith(b"\xff\xd9")


CHECKS: dict[str, Callable[[IO[bytes], int], bool | None]] = {
    "avi": _avi,
    "matroska,webm": _matroska,
    "asf": _asf,
    "flv": _flv,
    "ogg": _ogg,
    "gif": _gif,
    "mpegts": _transport,
    "mpeg": _program,
    "yuv4mpegpipe": _y4m,
    "dv": lambda file, size: size % 12_000 != 0,
    "mjpeg": _mjpeg,
    "jpeg_pipe": _mjpeg,
}
"""FFmpeg's name of a format: what looks at the open file and its size."""
