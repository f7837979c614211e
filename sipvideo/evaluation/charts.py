"""Small charts as inline SVG; colours, and what light and dark mean, come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

LEFT, TOP, WIDTH, HEIGHT = 34, 8, 300, 190
"""Where the plot lies in its picture, pixels."""


def curves(
    lines: Sequence[tuple[str, NDArray[np.float64]]], points: NDArray[np.float64], label: str
) -> str:
    """Precision over recall, axes 0..1.

    Args:
        lines: name and precision float64 [R] of each; negative values (nothing annotated) are not drawn.
        points: recall float64 [R].
        label: what the chart shows, for those who cannot see it.
    """
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = LEFT + tick * WIDTH, TOP + (1 - tick) * HEIGHT
        parts += [
            f'<path class="grid" d="M{LEFT} {y:g}h{WIDTH}M{x:g} {TOP}v{HEIGHT}"/>',
            f'<text x="{LEFT - 5}" y="{y + 4:g}" text-anchor="end">{tick:g}</text>',
            f'<text x="{x:g}" y="{TOP + HEIGHT + 14}" text-anchor="middle">{tick:g}</text>',
        ]
    for n, (_, precision) in enumerate(lines):
        drawn = precision >= 0
        across, down = LEFT + points[drawn] * WIDTH, TOP + (1 - precision[drawn]) * HEIGHT
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
        parts.append(f'<polyline class="line c{n}" points="{path}"/>')
    parts += [
        f'<text x="{LEFT + WIDTH / 2:g}" y="{TOP + HEIGHT + 29}" text-anchor="middle">recall</text>',
        f'<text transform="translate(9 {TOP + HEIGHT / 2:g}) rotate(-90)" text-anchor="middle">precision</text>',
    ]
    size = f"0 0 {LEFT + WIDTH + 12} {TOP + HEIGHT + 34}"
    return f'<svg class="plot" viewBox="{size}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def legend(names: Sequence[str]) -> str:
    """The names of the lines of :func:`curves` with their colours."""
    items = "".join(
        f'<span><i class="c{n}"></i>{escape(name)}</span>' for n, name in enumerate(names)
    )
    return f'<p class="legend">{items}</p>'


def bar(value: float, largest: float = 1.0, style: str = "c0") -> str:
    """A bar from the left, as long as its box where ``value`` is ``largest``."""
    length = 100 * min(max(value / largest, 0.0), 1.0) if largest > 0 else 0.0
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="10"/><rect class="{style}" width="{length:.2f}" height="10"/></svg>'
    )


def interval(value: float, low: float, high: float) -> str:
    """A figure 0..1 and its confidence interval on a rail."""
    a, v, b = (100 * min(max(x, 0.0), 1.0) for x in (low, value, high))
    return (
        '<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="10"/><rect class="span" x="{a:.2f}" width="{b - a:.2f}" height="10"/>'
        f'<rect class="mark" x="{v - 0.6:.2f}" width="1.2" height="10"/></svg>'
    )
