"""What lies over live pictures: a bar with figures, states that cannot be missed, a list of keys; several in a grid.

Everything is drawn at the size at which it is shown, so that text stays sharp whatever the camera's resolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.draw import Colour, Picture

FONT = cv2.FONT_HERSHEY_DUPLEX
INK: Colour = (236, 240, 244)
QUIET: Colour = (158, 168, 180)
GOOD: Colour = (92, 214, 132)
WARNING: Colour = (255, 190, 84)
BAD: Colour = (255, 108, 96)
PANEL: Colour = (14, 17, 22)
PANEL_OPACITY = 0.72


@dataclass(frozen=True)
class Caption:
    """What the bar of one picture says.

    Attributes:
        title: name of the source.
        figures: short texts, most important first; those that find no place are left out.
        light: colour of the round light beside the title.
        recording: seconds of the running recording, None: there is none.
        banner: said large across the picture: why it stands still; empty while it is live.
        note: a passing message at the bottom.
    """

    title: str
    figures: Sequence[str] = ()
    light: Colour = GOOD
    recording: float | None = None
    banner: str = ""
    note: str = ""


def grid(count: int, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Cells x0, y0, x1, y1 for ``count`` pictures on a canvas of (height, width), as square as can be."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    height, width = size
    return [
        (
            k % columns * width // columns,
            k // columns * height // rows,
            (k % columns + 1) * width // columns,
            (k // columns + 1) * height // rows,
        )
        for k in range(count)
    ]


def blank(size: tuple[int, int]) -> Picture:
    """A dark canvas of (height, width)."""
    return np.full((*size, 3), PANEL, np.uint8)


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """The picture in the middle of a dark canvas of (height, width), as large as it goes; a copy."""
    (height, width), (h, w) = size, picture.shape[:2]
    scale = min(height / h, width / w)
    h, w = max(1, round(h * scale)), max(1, round(w * scale))
    if (h, w) != picture.shape[:2]:
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        picture = np.asarray(cv2.resize(picture, (w, h), interpolation=how), np.uint8)
    if (h, w) == size:
        return picture.copy()
    canvas = blank(size)
    top, left = (height - h) // 2, (width - w) // 2
    canvas[top : top + h, left : left + w] = picture
    return canvas


def greyed(picture: Picture) -> Picture:
    """The picture without colours and darker: nobody takes it for a live one."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.cvtColor((grey * 0.55).astype(np.uint8), cv2.COLOR_GRAY2RGB), np.uint8)


def caption(picture: Picture, about: Caption) -> None:
    """Draws a caption onto the picture."""
    width = picture.shape[1]
    line = _line_height(picture)
    bar = round(line * 1.7)
    _shade(picture, (0, 0, width, bar))
    base = round(bar / 2 + line * 0.32)
    radius = max(3, round(line * 0.28))
    x = round(line * 0.9)
    cv2.circle(picture, (x, bar // 2), radius, about.light, cv2.FILLED, cv2.LINE_AA)
    x += radius + round(line * 0.5)
    end = width - round(line * 0.6)
    if about.recording is not None:
        end = _recording(picture, about.recording, (end, base, bar // 2), line)
    x = _text(picture, _cut(about.title, (end - x) * 0.45, line), (x, base), line, INK)
    for figure in about.figures:
        after = x + round(line * 1.1)
        if after + _width(figure, line) > end:
            break
        x = _text(picture, figure, (after, base), line, QUIET)
    if about.banner:
        _banner(picture, about.banner, line, about.light)
    if about.note:
        _note(picture, about.note, line)


def panel(picture: Picture, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """A list in the middle of the picture: what is on the left is highlighted."""
    line = _line_height(picture)
    step, margin = round(line * 1.5), round(line * 1.4)
    left = max((_width(a, line) for a, _ in rows), default=0)
    right = max((_width(b, line) for _, b in rows), default=0)
    width = max(left + right + round(line * 1.6), _width(title, line)) + 2 * margin
    height = step * (len(rows) + 1) + 2 * margin
    x = max((picture.shape[1] - width) // 2, 0)
    y = max((picture.shape[0] - height) // 2, 0)
    for _ in range(2):  # darker than the bar: it is read, not glanced at
        _shade(picture, (x, y, x + width, y + height))
    base = y + margin + round(line * 0.7)
    _text(picture, title, (x + margin, base), line, INK)
    column = x + margin + (left + round(line * 1.6) if left else 0)
    for k, (a, b) in enumerate(rows):
        row = base + step * (k + 1) + round(line * 0.3)
        _text(picture, a, (x + margin, row), line, WARNING)
        _text(picture, b, (column, row), line, INK)


def _recording(picture: Picture, seconds: float, place: tuple[int, int, int], line: int) -> int:
    """A red light and the time, right-aligned; returns where it begins."""
    right, base, middle = place
    text = f"REC {int(seconds) // 60}:{int(seconds) % 60:02d}"
    left: int = right - _width(text, line)
    _text(picture, text, (left, base), line, BAD)
    radius = max(3, round(line * 0.28))
    left -= radius + round(line * 0.5)
    cv2.circle(picture, (left, middle), radius, BAD, cv2.FILLED, cv2.LINE_AA)
    return left - radius - round(line * 0.6)


def _banner(picture: Picture, text: str, line: int, colour: Colour) -> None:
    height, width = picture.shape[:2]
    size = round(line * 1.35)
    lines = _wrapped(text, width - 4 * line, size)
    step = round(size * 1.5)
    top = (height - step * len(lines)) // 2 - line
    _shade(picture, (0, top, width, top + step * len(lines) + 2 * line))
    for k, part in enumerate(lines):
        base = top + line + step * k + round(step * 0.5 + size * 0.32)
        ink = colour if k == 0 else INK
        _text(picture, part, ((width - _width(part, size)) // 2, base), size, ink)


def _note(picture: Picture, text: str, line: int) -> None:
    height, width = picture.shape[:2]
    text = _cut(text, width - 3 * line, line)
    bar = round(line * 1.9)
    x = (width - _width(text, line)) // 2
    top = height - bar - line
    _shade(picture, (x - line, top, width - x + line, top + bar))
    _text(picture, text, (x, top + round(bar / 2 + line * 0.32)), line, INK)


def _line_height(picture: Picture) -> int:
    height, width = picture.shape[:2]
    usual: float = min(height * 16 / 9, width)
    return max(12, round(0.0165 * usual))


def _scale(line: int) -> float:
    return line / 26


def _width(text: str, line: int) -> int:
    return int(cv2.getTextSize(text, FONT, _scale(line), 1)[0][0])


def _text(picture: Picture, text: str, at: tuple[int, int], line: int, ink: Colour) -> int:
    """Writes with the base line at (x, y); returns where the text ends."""
    plain = text.encode("ascii", "replace").decode("ascii")
    cv2.putText(picture, plain, at, FONT, _scale(line), ink, 1, cv2.LINE_AA)
    return int(at[0] + _width(plain, line))


def _shade(picture: Picture, box: tuple[int, int, int, int]) -> None:
    """Darkens a part, so that text on it can be read on any picture."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)
    if x0 >= x1 or y0 >= y1:
        return
    part = picture[y0:y1, x0:x1]
    dark: NDArray[np.uint8] = np.full_like(part, PANEL)
    part[...] = cv2.addWeighted(part, 1 - PANEL_OPACITY, dark, PANEL_OPACITY, 0)


def _cut(text: str, width: float, line: int) -> str:
    """The text, its end replaced by dots where it is too long."""
    if _width(text, line) <= width:
        return text
    while text and _width(text + "...", line) > width:
        text = text[:-1]
    return text + "..."


def _wrapped(text: str, width: int, line: int) -> list[str]:
    """Lines that fit, broken at spaces; a break in the text stays."""
    lines: list[str] = []
    for part in text.split("\n"):
        row = ""
        for word in part.split():
            longer = f"{row} {word}".strip()
            if row and _width(longer, line) > width:
                lines.append(row)
                longer = word
            row = longer
        lines.append(_cut(row, width, line))
    return lines
