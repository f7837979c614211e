"""Losses, learning rate and validation figures of a run as one picture."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sipvideo.charts import Panel, Series, drawn


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
    path = folder / "curves.png"
    partial = folder / ".curves.png.partial"
    drawn(panels).save(partial, "PNG")
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
