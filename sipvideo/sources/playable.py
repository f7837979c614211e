"""Whether browsers play a video file as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import av

PIXELS = ("yuv420p", "yuvj420p")
"""What browsers decode of H.264: eight bits, colours halved in both directions."""
WEBM = ("vp8", "vp9", "libvpx", "libvpx-vp9", "libdav1d", "av1")
"""Decoders of what browsers take in a WebM file, by FFmpeg's names."""


def browser_type(path: Path, options: Mapping[str, str] | None = None) -> str | None:
    """The media type under which browsers play a file; None: they do not, or not everywhere.

    Args:
        path: of the file.
        options: of FFmpeg, for files that are not trusted.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
        with av.open(str(path), options=dict(options or {})) as container:
            context = container.streams.video[0].codec_context
            codec, pixels = context.name, context.pix_fmt
    except (av.error.FFmpegError, OSError, LookupError, ValueError):
        return None
    if head[4:8] == b"ftyp" and codec == "h264" and pixels in PIXELS:
        return "video/mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3") and b"webm" in head and codec in WEBM:
        return "video/webm" if pixels == "yuv420p" else None
    return None
