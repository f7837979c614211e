"""A short film of encoded pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

RATE = 10.0
"""Pictures per second of a clip at most."""
CLOCK = 90_000


class Shot(NamedTuple):
    """An encoded picture and its second."""

    second: float
    jpeg: bytes


def write_clip(path: Path, shots: Sequence[Shot]) -> None:
    """Writes an H.264 file of pictures with their times, which has its name when it is whole. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    try:
        with av.open(str(new), "w", format="mp4", options={"movflags": "+faststart"}) as target:
            stream = target.add_stream("libx264", Fraction(RATE), {"preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.thread_count = 1  # live pictures go first
            size: tuple[int, int] | None = None
            for shot in shots:
                encoded = np.frombuffer(shot.jpeg, np.uint8)
                picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
                assert picture is not None
                if size is None:
                    height, width = (max(side // 2 * 2, 2) for side in picture.shape[:2])
                    size = stream.width, stream.height = width, height
                    stream.codec_context.time_base = Fraction(1, CLOCK)
                # x264 takes even sizes, and a camera may change its own.
                if picture.shape[1::-1] != size:
                    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                frame = av.VideoFrame.from_ndarray(np.asarray(picture, np.uint8), format="bgr24")
                frame.pts = round((shot.second - shots[0].second) * CLOCK)
                frame.time_base = Fraction(1, CLOCK)
                target.mux(stream.encode(frame))
            target.mux(stream.encode())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
