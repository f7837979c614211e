"""Small charts as pictures: lines over common axes, and bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PANEL = (460, 260)
MARGIN = (58, 34, 14, 28)  # left, top, right, bottom
INK, FAINT, PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
COLOURS = ((31, 91, 169), (214, 106, 30), (44, 138, 67), (160, 52, 140), (90, 90, 90))

Series = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """One set of axes: title, and series (x, y) by name."""

    title: str
    series: dict[str, Series]
    faint: Series | None = None
    """Drawn behind the others."""
    across: str = "step"
    """What the horizontal axis shows."""
    logarithmic: bool = False
    """Both axes; all values above 0."""


def drawn(panels: Sequence[Panel], columns: int = 3) -> Image.Image:
    """Panels side by side; those with linear axes have the same horizontal one."""
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    image = Image.new("RGB", (PANEL[0] * columns, PANEL[1] * rows), PAPER)
    linear = [x for panel in panels if not panel.logarithmic for x, _ in panel.series.values()]
    steps = np.concatenate(linear) if linear else np.zeros(1)
    span = float(steps.min()), float(max(steps.max(), steps.min() + 1))
    for k, panel in enumerate(panels):
        origin = k % columns * PANEL[0], k // columns * PANEL[1]
        if panel.logarithmic:
            _draw(image, origin, _decades(panel), _span(panel))
        else:
            _draw(image, origin, panel, span)
    return image


def bars(
    title: str, rows: Sequence[tuple[str, Sequence[float]]], names: Sequence[str]
) -> Image.Image:
    """A row of bars per thing, one bar per name, one within the other, with the first one's value.

    Args:
        title: what the values are.
        rows: name of the thing, and its values, ascending.
        names: of the values.
    """
    left, step = 150, 30
    image = Image.new("RGB", (2 * PANEL[0], MARGIN[1] + step * len(rows) + 16), PAPER)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    draw.text((12, 8), title, INK, ImageFont.load_default(15))
    largest = max((max(values) for _, values in rows), default=1.0) or 1.0
    tints = [(31, 91, 169), (126, 166, 214), (205, 221, 240)]
    end = float(image.width - 14)
    for name, tint in reversed(list(zip(names, tints, strict=False))):
        draw.text((end, 10), name, INK, font, anchor="rt")
        end -= font.getlength(name) + 16
        draw.rectangle((end, 12, end + 10, 22), tint)
        end -= 14
    for k, (name, values) in enumerate(rows):
        y = MARGIN[1] + k * step
        draw.text((left - 8, y + step / 2 - 3), name, INK, font, anchor="rm")
        for value, tint in reversed(list(zip(values, tints, strict=False))):
            length = (image.width - left - 110) * value / largest
            draw.rectangle((left, y + 2, left + max(1.0, length), y + step - 8), tint)
        text = "  ".join(f"{value:.2f}" for value in values)
        reach = left + (image.width - left - 110) * max(values) / largest
        draw.text((reach + 6, y + step / 2 - 3), text.split()[0], INK, font, anchor="lm")
    return image


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other."""
    size = max(image.width for image in images), sum(image.height for image in images)
    result = Image.new("RGB", size, PAPER)
    top = 0
    for image in images:
        result.paste(image, (0, top))
        top += image.height
    return result


def _draw(
    image: Image.Image, origin: tuple[int, int], panel: Panel, span: tuple[float, float]
) -> None:
    """One panel with its top left corner at ``origin``; ``span``: first and last value of the horizontal axis."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    left, top = origin[0] + MARGIN[0], origin[1] + MARGIN[1]
    right, bottom = origin[0] + PANEL[0] - MARGIN[2], origin[1] + PANEL[1] - MARGIN[3]
    everything = list(panel.series.values())
    ys = np.concatenate([y for _, y in everything])
    # A few wild steps of the raw values must not flatten the curve.
    behind = np.percentile(panel.faint[1], (1, 99)) if panel.faint else ys
    low_x, high_x = span
    scale = _whole if panel.logarithmic else _scale
    low, high, step = scale(float(min(ys.min(), behind.min())), float(max(ys.max(), behind.max())))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low_x) / (high_x - low_x), (y - low) / (high - low)
        return left + across * (right - left), bottom - min(max(up, 0), 1) * (bottom - top)

    for k in range(round((high - low) / step) + 1):
        y = at(low_x, low + k * step)[1]
        draw.line((left, y, right, y), FAINT)
        value = low + k * step
        text = f"{10**value if panel.logarithmic else value:.4g}"
        draw.text((left - 6, y), text, INK, font, anchor="rm")
    for x, anchor in ((low_x, "lt"), (high_x, "rt")):
        text = f"{10**x if panel.logarithmic else x:.0f}"
        draw.text((at(x, low)[0], bottom + 6), text, INK, font, anchor=anchor)
    draw.text(((left + right) / 2, bottom + 6), panel.across, INK, font, anchor="mt")
    draw.text((left, top - 22), panel.title, INK, ImageFont.load_default(15))
    if panel.faint:
        draw.line([at(x, y) for x, y in zip(*panel.faint, strict=True)], FAINT, 1)
    name_end = float(right)
    for k, (name, series) in reversed(list(enumerate(panel.series.items()))):
        # Names stand beside the title, where no curve comes.
        colour = COLOURS[k % len(COLOURS)]
        draw.text((name_end, top - 20), name, colour, font, anchor="rt")
        name_end -= font.getlength(name) + 12
        points = [at(a, b) for a, b in zip(*series, strict=True)]
        draw.line(points, colour, 2, joint="curve")
        # Dots of equal figures lie around each other.
        radius = 2 + k
        for a, b in points if len(points) < 40 else []:
            draw.ellipse((a - radius, b - radius, a + radius, b + radius), colour)


def _decades(panel: Panel) -> Panel:
    """The decimal logarithms of a panel's values."""
    series = {name: (np.log10(x), np.log10(y)) for name, (x, y) in panel.series.items()}
    return Panel(panel.title, series, None, panel.across, True)


def _span(panel: Panel) -> tuple[float, float]:
    xs = np.log10(np.concatenate([x for x, _ in panel.series.values()]))
    return float(xs.min()), float(max(xs.max(), xs.min() + 0.1))


def _whole(low: float, high: float) -> tuple[float, float, float]:
    """Whole decades around logarithms."""
    first = math.floor(low)
    return first, max(math.ceil(high), first + 1), 1.0


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Round limits around values, and the distance of three to six grid lines."""
    span = max(high - low, abs(high) * 1e-3, 1e-12)
    magnitude = 10.0 ** math.floor(math.log10(span))
    step = next(m * magnitude for m in (0.2, 0.5, 1, 2, 5) if span / (m * magnitude) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, max(last, first + 1) * step, step
