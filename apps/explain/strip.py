"""Moments of a run side by side: detections, where their candidates were, and how well they fitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.apps.explain.story import Json, Moment
from sipvideo.draw import colour_of
from sipvideo.errors import SinkError, SipVideoError

Picture = NDArray[np.uint8]
WIDTH = 560
"""Pixels of each moment's picture."""
MOST = 6
"""Moments in a strip."""
CAPTION = 22
"""Pixels of a line of text."""
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK = (235, 238, 242)


def save_strip(
    path: Path, moments: Sequence[Moment], source: str | None, track_id: int | None
) -> bool:
    """Draws the moments and saves them; whether their pictures were to be had.

    Args:
        path: picture file.
        moments: at least one; the first and the last of many.
        source: where the pictures come from.
        track_id: the identity that matters; None: all do.

    Raises:
        SinkError: it cannot be written.
    """
    shown = list(moments) if len(moments) <= MOST else [moments[0], *moments[1 - MOST :]]
    pictures = _pictures(source, {moment.record["frame"] for moment in shown})
    tiles = [_tile(m, pictures.get(m.record["frame"]), track_id) for m in shown]
    height = max(tile.shape[0] for tile in tiles)
    padded = [np.pad(t, ((0, height - t.shape[0]), (0, 4), (0, 0))) for t in tiles]
    content = cv2.imencode(path.suffix, np.hstack(padded)[:, :, ::-1])[1].tobytes()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error
    return bool(pictures)


def _pictures(source: str | None, wanted: set[int]) -> dict[int, Picture]:
    from sipvideo.sources import open_source

    found: dict[int, Picture] = {}
    if source is None or ("://" not in source and not Path(source).exists()):
        return found
    try:
        with open_source(source) as opened:
            if opened.is_live:
                return found
            for capture in opened.captures():
                if capture.index in wanted:
                    found[capture.index] = capture.frame().image
                if capture.index >= max(wanted):
                    break
    except SipVideoError:
        pass
    return found


def _tile(moment: Moment, picture: Picture | None, track_id: int | None) -> Picture:
    record = moment.record
    height, width = record["size"]
    scale = WIDTH / width
    size = (WIDTH, max(1, round(height * scale)))
    if picture is None:
        canvas = np.full((size[1], size[0], 3), 60, np.uint8)
    else:
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        canvas = np.asarray(small * 0.75, np.uint8)
    involved = {p["detection"] for p in moment.pairs} | {r["detection"] for r in moment.reunions}
    for row, box in enumerate(record["boxes"]):
        mine = record["track_ids"][row]
        if track_id is None or row in involved or mine == track_id:
            tag = f"{row}: id {mine}" if mine >= 0 else f"{row}: -"
            _box(canvas, box, scale, colour_of(mine), (2, tag))
        else:
            _box(canvas, box, scale, (130, 130, 130), (1, ""))
    for pair in moment.pairs:
        before = moment.boxes.get(pair["track_id"])
        if before is not None:
            colour = colour_of(pair["track_id"])
            _box(canvas, before, scale, colour, (1, f"was {pair['track_id']}"))
            if pair["affinity"] is not None:
                _bond(canvas, (before, record["boxes"][pair["detection"]]), scale, pair)
    title = f"{moment.second:.2f} s  {moment.title}"
    caption = np.full((CAPTION, WIDTH, 3), 24, np.uint8)
    cv2.putText(caption, title[:78], (6, 15), FONT, 0.42, INK, 1, cv2.LINE_AA)
    return np.vstack((caption, canvas))


def _box(
    canvas: Picture,
    box: Sequence[float],
    scale: float,
    colour: tuple[int, int, int],
    how: tuple[int, str],
) -> None:
    line, tag = how
    x0, y0, x1, y1 = (round(value * scale) for value in box)
    cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), colour, line, cv2.LINE_AA)
    if tag:
        place = (max(x0 + 3, 2), max(y0 + 13, 13) if line > 1 else min(y1 - 4, canvas.shape[0] - 4))
        cv2.putText(canvas, tag, place, FONT, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(canvas, tag, place, FONT, 0.42, colour, 1, cv2.LINE_AA)


def _bond(
    canvas: Picture, ends: tuple[Sequence[float], Sequence[float]], scale: float, pair: Json
) -> None:
    """A line between the middles, with the affinity; thick for the chosen pair."""
    a, b = (
        (round((box[0] + box[2]) / 2 * scale), round((box[1] + box[3]) / 2 * scale)) for box in ends
    )
    line = 2 if pair["verdict"] == "chosen" else 1
    cv2.line(canvas, a, b, (255, 255, 255), line, cv2.LINE_AA)
    middle = ((a[0] + b[0]) // 2 + 4, (a[1] + b[1]) // 2)
    text = f"{pair['affinity']:.2f}"
    cv2.putText(canvas, text, middle, FONT, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(canvas, text, middle, FONT, 0.42, INK, 1, cv2.LINE_AA)
