"""Whether the disk will hold the results, as far as that can be reckoned before a run."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.errors import SinkError
from sipvideo.results import KINDS

if TYPE_CHECKING:
    from sipvideo.sources import Source

GROWTH = (0.3, 2.0)
"""An annotated video beside its source's file: 1.0 to 2.8 times as large in what was measured."""


def needed(source: Source, kinds: Sequence[str]) -> tuple[int, int] | None:
    """Bytes that the results of a source will take, at least and as is usual; None where its length is not known.

    What is assembled at the end exists twice for a moment: the largest such file counts twice in the usual figure.
    """
    frames, size = source.expected_frames, source.frame_size
    if frames is None or size is None:
        return None
    pixels = size[0] * size[1] * frames
    least, usual, copied = 0.0, 0.0, 0.0
    for kind in kinds:
        rates = zip(KINDS[kind].per_frame, KINDS[kind].per_pixel, strict=True)
        low, high = (frames * of_frame + pixels * of_pixel for of_frame, of_pixel in rates)
        if kind == "video" and source.path is not None:
            file = source.path.stat().st_size
            low, high = min(low, GROWTH[0] * file), min(2 * high, GROWTH[1] * file)
        least, usual = least + low, usual + high
        if KINDS[kind].copied or kind in ("video", "prores"):
            copied = max(copied, high)
    return round(least), round(usual + copied)


def check(source: Source, folder: Path, kinds: Sequence[str]) -> str:
    """Compares what is needed with what is free.

    Returns:
        a line for people where it may not be enough, else an empty text.

    Raises:
        SinkError: it cannot be enough.
    """
    figures = needed(source, kinds)
    if figures is None:
        return ""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        return ""  # whoever writes there will tell
    least, usual = figures
    if free < least:
        raise SinkError(
            f"{folder}: the disk will not hold the results: at least {_size(least)} are needed, {_size(free)} are free"
        )
    if free < usual:
        return (
            f"{folder}: the disk may not hold the results: about {_size(usual)} are needed, {_size(free)} are free;"
            " the run ends cleanly when it is full"
        )
    return ""


def _size(count: float) -> str:
    """For instance ``3.4 GB``."""
    power = min(int(math.log10(max(count, 1))) // 3, 4)
    unit = ("bytes", "kB", "MB", "GB", "TB")[power]
    return f"{count / 1000**power:.{1 if power else 0}f} {unit}"
