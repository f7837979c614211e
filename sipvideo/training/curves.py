"""Losses, learning rate and validation figures of a run as one picture."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PANEL = (460, 260)
MARGIN = (58, 34, 14, 28)  # left, top, right, bottom
INK, FAINT, PAPER = (40, 40, 40), (222, 222, 222), (255, 255, 255)
COLOURS = ((31, 91, 169), (214, 106, 30), (44, 138, 67), (160, 52, 140))

Series = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Panel:
    """One set of axes: title, and series (x, y) by name."""

    title: str
    series: dict[str, Series]
    faint: Series | None = None
    """Drawn behind the others."""


def draw_curves(folder: Path) -> Path | None:
    """Draws ``curves.png`` from ``log.csv`` and ``validation.csv`` of a run's folder; None: there is nothing to draw.

    Raises:
        OSError: it cannot be written.
    """
    training, validation = _columns(folder / "log.csv"), _columns(folder / "validation.csv")
    panels = [
        Panel(f"loss: {name}", {"": (steps, _smooth(values))}, (steps, values))
        for name, (steps, values) in training.items()
        if name not in ("rate", "gradient")
    ]
    if "rate" in training:
        panels.append(Panel("learning rate", {"": training["rate"]}))
    if validation:
        panels.append(Panel("validation", validation))
    if not panels:
        return None
    steps = np.concatenate([x for panel in panels for x, _ in panel.series.values()])
    span = float(steps.min()), float(max(steps.max(), steps.min() + 1))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    image = Image.new("RGB", (PANEL[0] * columns, PANEL[1] * rows), PAPER)
    for k, panel in enumerate(panels):
        _draw(image, (k % columns * PANEL[0], k // columns * PANEL[1]), panel, span)
    path = folder / "curves.png"
    partial = folder / ".curves.png.partial"
    image.save(partial, "PNG")
    partial.replace(path)
    return path


def _columns(path: Path) -> dict[str, Series]:
    """Column name to (steps, values); figures that are not finite, or -1 for "none", are left out."""
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    result = {}
    for name in list(rows[0] if rows else []):
        points = [(float(r["step"]), float(r[name])) for r in rows]
        kept = np.array([p for p in points if math.isfinite(p[1]) and p[1] > -1]).reshape(-1, 2)
        if name != "step" and len(kept):
            result[name] = (kept[:, 0], kept[:, 1])
    return result


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window of a tenth of the run, as far as it lies inside."""
    half = max(1, len(values) // 20)
    total = np.concatenate(([0.0], values.cumsum()))
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    mean: NDArray[np.float64] = (total[last] - total[first]) / (last - first)
    return mean


def _draw(
    image: Image.Image, origin: tuple[int, int], panel: Panel, span: tuple[float, float]
) -> None:
    """One panel with its top left corner at ``origin``; ``span``: first and last step, the same in all panels."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    left, top = origin[0] + MARGIN[0], origin[1] + MARGIN[1]
    right, bottom = origin[0] + PANEL[0] - MARGIN[2], origin[1] + PANEL[1] - MARGIN[3]
    everything = list(panel.series.values())
    ys = np.concatenate([y for _, y in everything])
    # A few wild steps of the raw values must not flatten the curve.
    behind = np.percentile(panel.faint[1], (1, 99)) if panel.faint else ys
    low_x, high_x = span
    low, high, step = _scale(float(min(ys.min(), behind.min())), float(max(ys.max(), behind.max())))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (x - low_x) / (high_x - low_x), (y - low) / (high - low)
        return left + across * (right - left), bottom - min(max(up, 0), 1) * (bottom - top)

    for k in range(round((high - low) / step) + 1):
        y = at(low_x, low + k * step)[1]
        draw.line((left, y, right, y), FAINT)
        draw.text((left - 6, y), f"{low + k * step:.4g}", INK, font, anchor="rm")
    for x, anchor in ((low_x, "lt"), (high_x, "rt")):
        draw.text((at(x, low)[0], bottom + 6), f"{x:.0f}", INK, font, anchor=anchor)
    draw.text(((left + right) / 2, bottom + 6), "step", INK, font, anchor="mt")
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


def _scale(low: float, high: float) -> tuple[float, float, float]:
    """Round limits around values, and the distance of three to six grid lines."""
    span = max(high - low, abs(high) * 1e-3, 1e-12)
    magnitude = 10.0 ** math.floor(math.log10(span))
    step = next(m * magnitude for m in (0.2, 0.5, 1, 2, 5) if span / (m * magnitude) <= 5)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, max(last, first + 1) * step, step
