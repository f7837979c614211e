"""Which of a container's video streams is the film."""

from __future__ import annotations

import re
from typing import Any

import av
from av.stream import Discard, Disposition

PICTURES_BESIDE = (
    Disposition.attached_pic
    | Disposition.timed_thumbnails
    | Disposition.still_image
    | Disposition.dependent
)
"""Marks of streams that only go with another: covers, thumbnails, tiles."""

SHORT = 0.1
"""A stream that lasts for less than this part of the longest is not the film."""


def choose(container: av.container.InputContainer) -> tuple[av.VideoStream | None, str]:
    """The stream to show, None where there is none, and a line about the choice, empty where there was none.

    In order: streams that can be decoded; films before covers, thumbnails and stills; what the file marks as default,
    if that is not the first, which writers mark by themselves; the largest picture; the most bits per second; the
    first. Containers without marks (several programmes of a broadcast, variants of a play list) so give their
    largest picture. Streams that are not chosen are not read.
    """
    videos = list(container.streams.video)
    if not videos or all(stream.disposition & Disposition.attached_pic for stream in videos):
        return None, ""
    longest = max(map(_seconds, videos))
    best = max(videos, key=lambda stream: _rank(stream, longest))
    if len(videos) == 1:
        return best, ""
    for stream in videos:
        if stream is not best:
            stream.discard = Discard.all
    context: Any = best.codec_context
    about = f"{context.width} x {context.height}, {context.name}" if context else "no decoder"
    number = videos.index(best) + 1
    return best, f"of {len(videos)} video streams number {number} is shown ({about})"


def _rank(stream: av.VideoStream, longest: float) -> tuple[float, ...]:
    context: Any = stream.codec_context
    first = stream is stream.container.streams.video[0]
    still = bool(stream.disposition & PICTURES_BESIDE) or stream.frames == 1
    short = longest > 0 and 0 < _seconds(stream) < SHORT * longest
    return (
        context is not None,
        not (still or short),
        bool(stream.disposition & Disposition.default) and not first,
        context.width * context.height if context else 0,
        _bits_per_second(stream),
    )


def _seconds(stream: av.VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return tagged_seconds(stream) or 0.0


def tagged_seconds(stream: av.VideoStream) -> float | None:
    """The end of a stream in Matroska, as its tags have it; None where they do not."""
    tag = re.fullmatch(r"(\d{1,6}):(\d\d?):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _bits_per_second(stream: av.VideoStream) -> int:
    told = stream.metadata.get("variant_bitrate", "")
    context: Any = stream.codec_context
    return int(told) if told.isascii() and told.isdigit() else (context and context.bit_rate) or 0
