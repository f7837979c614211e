"""Which uploads FFmpeg gets to see.

FFmpeg also opens play lists and session descriptions, which name other files and addresses to read: a visitor could
have the server's own files played back. So only containers that carry their pictures in themselves are let through,
told by their first bytes; names are not asked. FFmpeg is held to the same containers, whatever it takes a file for.
"""

from __future__ import annotations

from pathlib import Path

MAX_PIXELS = 7680 * 4320
"""Of the pictures of an upload."""

TS_PACKET, M2TS_PACKET = 188, 192
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
SIGNATURES = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"OggS",
    b"FLV\x01",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x06\x0e\x2b\x34",  # MXF
    b"GIF87a",
    b"GIF89a",
    b"YUV4MPEG2 ",
)

FFMPEG_OPTIONS = {
    "format_whitelist": "mov,matroska,ogg,flv,asf,mpeg,mpegvideo,mxf,gif,yuv4mpegpipe,avi,mpegts",
    "protocol_whitelist": "file",
    "max_pixels": str(2 * MAX_PIXELS),
}
"""For opening uploads. Pictures far beyond the limit, also later ones, are not even decoded."""


def is_container(path: Path) -> bool:
    """Whether a file begins like a video that carries its pictures in itself."""
    with path.open("rb") as file:
        head = file.read(2 * M2TS_PACKET + 5)
    if head.startswith(SIGNATURES) or head[4:8] in MP4_BOXES:
        return True
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return True
    return _is_transport_stream(head, TS_PACKET, 0) or _is_transport_stream(head, M2TS_PACKET, 4)


def _is_transport_stream(head: bytes, size: int, start: int) -> bool:
    marks = head[start::size]
    return len(marks) >= 2 and set(marks) == {0x47}
