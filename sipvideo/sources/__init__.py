"""Where frames come from: video files, folders of pictures, cameras, network streams.

A source is a context manager and an iterable of :class:`~sipvideo.structures.Frame`. Iterating is a generator:
whoever stops early, or closes the source, ends the decoding at once. Pictures leave this package upright and RGB;
nothing else in the program knows about BGR, rotation marks or codecs.
"""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from sipvideo.errors import SourceError
from sipvideo.files import PICTURE_SUFFIXES, is_pattern
from sipvideo.pictures import ANIMATED, file_kind
from sipvideo.remote import RemoteError, RemoteFile, is_remote, is_remote_listing, listed
from sipvideo.sources.camera import Camera
from sipvideo.sources.excerpt import Excerpt
from sipvideo.sources.hardware import CHOICES, SOFTWARE, Decoding
from sipvideo.sources.latest import LatestFrame, TimedFrame
from sipvideo.sources.pictures import Animation, ImageFolder, open_picture, read_picture
from sipvideo.sources.playable import browser_type
from sipvideo.sources.source import Capture, Place, Source, picture_sum
from sipvideo.sources.status import SourceStatus
from sipvideo.sources.video import LIVE_SCHEMES, NetworkStream, VideoFile

__all__ = [
    "CHOICES",
    "LIVE_SCHEMES",
    "PICTURE_SUFFIXES",
    "Animation",
    "Camera",
    "Capture",
    "Decoding",
    "Excerpt",
    "ImageFolder",
    "LatestFrame",
    "NetworkStream",
    "Place",
    "Source",
    "SourceStatus",
    "TimedFrame",
    "VideoFile",
    "browser_type",
    "open_source",
    "picture_sum",
    "read_picture",
]


SOME = 1000
"""Files of a folder in a bucket among which pictures are looked for."""


def open_source(
    text: str, fps: float = 25.0, timeout: float = 10.0, decoding: Decoding = SOFTWARE
) -> Source:
    """Opens what a person typed: ``0`` a camera, ``rtsp://...`` a stream, a folder or pattern pictures, else a video.

    Files, folders and patterns may also be in a bucket: ``s3://bucket/street.mp4``.

    Args:
        text: camera index, device path, address, folder, pattern, picture or video file.
        fps: pictures per second for folders and patterns.
        timeout: seconds to wait for cameras and network addresses.
        decoding: by which hardware videos and streams are decoded.

    Raises:
        SourceError: it cannot be opened; the line says why.
    """
    if text.isascii() and text.isdigit():
        return Camera(int(text), timeout=timeout)
    if "\0" in text:
        raise SourceError(f"{text!r}: no file can have this name")
    exists = os.path.exists(text)
    if device := re.fullmatch(r"/dev/video(\d+)", os.path.realpath(text)):
        return Camera(int(device[1]), timeout=timeout)
    if is_remote(text) and not exists:
        return _open_remote(text, fps, decoding)
    if "://" in text and not exists:
        scheme, _, rest = text.partition("://")
        if scheme == "file":
            return VideoFile(rest, decoding=decoding)
        return NetworkStream(text, timeout, decoding)
    path = Path(text)
    if os.path.isdir(text) or is_pattern(text):
        return ImageFolder(text, fps)
    if path.suffix.lower() in PICTURE_SUFFIXES or file_kind(path) in ("HEIC", *ANIMATED):
        return open_picture(path, fps)
    return VideoFile(path, decoding=decoding)


def _open_remote(address: str, fps: float, decoding: Decoding) -> Source:
    """A folder or pattern of pictures, a picture or a video in a bucket."""
    if is_remote_listing(address):
        return ImageFolder(address, fps)
    file = RemoteFile(address)
    try:
        file.stat()
    except RemoteError as error:
        if not error.absent or "bucket" in str(error):
            raise SourceError(f"{file}: {error}") from error
        inside = [Path(one.address).suffix.lower() for one in islice(listed(address), SOME)]
        if any(suffix in PICTURE_SUFFIXES for suffix in inside):
            return ImageFolder(f"{address}/", fps)
        hint = f"a folder: {address}/ stands for the videos in it" if inside else error
        raise SourceError(f"{file}: {hint}") from error
    if file.suffix.lower() in PICTURE_SUFFIXES or file_kind(file) in ("HEIC", *ANIMATED):
        return open_picture(file, fps)
    return VideoFile(file, decoding=decoding)
