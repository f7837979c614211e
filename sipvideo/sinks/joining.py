"""Videos in pieces made one video with its index at the front, without encoding anything again."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sipvideo.sinks.sink import Kept


def joined(files: Sequence[Path], path: Path | None, container: str = "mp4") -> Kept:
    """Writes videos that continue each other as one.

    A later file begins where its run went on, which is before the end of the one ahead of it: of each stream a file
    counts up to where the next one begins. Its video begins with a key frame there, and all before it can be shown
    without it. Times of presentation stay as they are.

    Args:
        files: videos in pieces with the same streams; one that holds nothing is passed over.
        path: where to write; None: it is only counted.
        container: of all of them, FFmpeg's name.

    Raises:
        OSError: disk full and the like.
    """
    files = [file for file in files if file.stat().st_size]
    ends = [_beginnings(file) for file in files[1:]] + [{}]
    with contextlib.ExitStack() as stack:
        pieces = stack.enter_context(av.open(f"file:{files[0]}"))
        video = pieces.streams.video[0]
        assert video.time_base is not None
        options = {}
        if container != "webm":
            options["movie_timescale"] = str(video.time_base.denominator)
        if path is not None:
            options |= {"cues_to_front": "1"} if container == "webm" else {"movflags": "+faststart"}
        name = os.devnull if path is None else str(path)
        target = stack.enter_context(av.open(name, "w", format=container, options=options))
        copies = {s.type: target.add_stream_from_template(s) for s in pieces.streams}
        if "alpha_mode" in video.metadata:  # without it nobody looks for transparency in a WebM
            copies["video"].metadata["alpha_mode"] = video.metadata["alpha_mode"]
        times = _decoding_times(files, ends) if len(files) > 1 else None
        shown: list[int] = []
        for packet in _kept(files, ends):
            kind = packet.stream.type
            if kind == "video":
                packet.dts = packet.dts if times is None else int(times[len(shown)])
                shown.append(packet.pts or 0)
            if kind in copies:
                packet.stream = copies[kind]
                target.mux(packet)
        length = (max(shown) - min(shown)) * video.time_base if shown else 0.0
    return Kept(len(shown), float(length))


def _kept(files: Sequence[Path], ends: Sequence[dict[str, Fraction]]) -> Iterator[av.Packet[Any]]:
    """The packets of all files that count."""
    for file, end in zip(files, ends, strict=True):
        with av.open(f"file:{file}") as pieces:
            for packet in pieces.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                limit = end.get(packet.stream.type, end.get("video"))
                if limit is None or packet.pts * packet.time_base < limit:
                    yield packet


def _beginnings(file: Path) -> dict[str, Fraction]:
    """When the first packet of each kind of stream is shown, seconds."""
    found: dict[str, Fraction] = {}
    with av.open(f"file:{file}") as pieces:
        for packet in pieces.demux():
            if packet.pts is not None:
                found.setdefault(packet.stream.type, packet.pts * packet.time_base)
            if len(found) == len(pieces.streams):
                break
    return found


def _decoding_times(
    files: Sequence[Path], ends: Sequence[dict[str, Fraction]]
) -> NDArray[np.int64]:
    """Times of decoding for the pictures of all files, int64 [F]: where a file ends and the next begins, they overlap.

    A picture that is decoded as the k-th is decoded when the k-th of all is shown, less as many pictures as any one is
    decoded ahead of its turn.
    """
    packets = (p for p in _kept(files, ends) if p.stream.type == "video")
    shown = np.array([packet.pts for packet in packets], np.int64)
    order = np.sort(shown)
    turns = np.searchsorted(order, shown)
    delay = int((np.arange(len(shown)) - turns).max(initial=0))
    step = int(order[1] - order[0]) if len(order) > 1 else 1
    before = order[:1] - step * np.arange(delay, 0, -1)
    return np.concatenate((before, order))[: len(shown)]
