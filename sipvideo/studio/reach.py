"""How far clicks reach: what is alike in a window, and a few small layers that decide pixel by pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import BoolArray
from sipvideo.structures import FloatArray
from sipvideo.studio.window import UNIT, Point

CLICK = 2.5 * UNIT
"""Standard deviation of what a click is sure of, window pixels."""
LAYERS = resources.files("sipvideo.studio") / "refine.npz"
RIDGE = 0.02
"""Weight of small coefficients against that of all pixels."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What is seen in a window of h x w pixels.

    Attributes:
        groups: float32 [h, w, K] each: the network's maps and colours; how alike two pixels are is told by their
            distance in each.
        widths: of each group, the squared distance at which pixels are no longer alike; of centred ones only.
    """

    groups: tuple[FloatArray, ...]
    widths: tuple[float, ...]

    @classmethod
    def of(
        cls, picture: NDArray[np.uint8], maps: Sequence[FloatArray], *, centred: bool = True
    ) -> Seen:
        """From a picture uint8 [h, w, 3], RGB, and maps float32 [h, w, K]."""
        lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)
        colours: FloatArray = lab.astype(np.float32) / np.float32(64)
        if not centred:
            return cls((*maps, colours - np.float32(2)), ())
        centred_colours: FloatArray = np.asarray(colours - colours.mean((0, 1)), np.float32)
        groups = [*map(_normal, maps), centred_colours]
        widths = [float(one.shape[2]) for one in maps]
        return cls(tuple(groups), (*widths, 0.4))


def _normal(values: FloatArray) -> FloatArray:
    centred = values - values.mean((0, 1))
    return np.asarray(centred / (values.std((0, 1)).mean() + 1e-6), np.float32)


def decide(seen: Seen, start: BoolArray, current: BoolArray, clicks: Sequence[Point]) -> FloatArray:
    """Logits float32 [h, w] of the object after the last of some clicks, window pixels."""
    return decide_with(_layers(), traces_of(seen, start, current, clicks))


def decide_with(layers: Layers, traces: FloatArray) -> FloatArray:
    """Logits [h, w] of traces [h, w, T]: the current mask, changed."""
    height, width, count = traces.shape
    found = layers(traces.reshape(height * width, count)).reshape(height, width)
    return found + 3 * traces[..., 1]


def traces_of(
    seen: Seen, start: BoolArray, current: BoolArray, clicks: Sequence[Point]
) -> FloatArray:
    """What a pixel's decision is taken from, float32 [h, w, T]: masks, clicks, likeness to the places clicked at."""
    height, width = current.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    depth = depth_of(current)
    traces: list[NDArray[Any]] = [
        np.clip(depth_of(start) / (6 * UNIT), -1, 1),
        np.clip(depth / (6 * UNIT), -1, 1),
        np.clip(depth / (20 * UNIT), -1, 1),
    ]
    alike: list[FloatArray] = []
    begun = np.maximum(np.abs(depth_of(start)), 2 * UNIT)
    for inside in (True, False):
        mine = [(int(px), int(py)) for px, py, i in clicks if i == inside]
        away, reach = np.full((2, height, width), 1e6, np.float32)
        for px, py in mine:
            from_click = (x - px) ** 2 + (y - py) ** 2
            away = np.minimum(away, from_click)
            # What is wrong mostly reaches from the click to the edge that the mask had.
            reach = np.minimum(reach, from_click / begun[py, px] ** 2)
        near = [np.exp(-away / (2 * (reached * UNIT) ** 2)) for reached in (3, 9)]
        traces += [*near, np.exp(-reach / 2)]
        alike += _likeness(seen, mine)
    fitted = fit(seen, current, clicks)
    smooth: list[NDArray[Any]] = [current.astype(np.float32), fitted, *alike]
    traces += [*alike, fitted]
    for deviation in (2 * UNIT, 5 * UNIT, 12 * UNIT):
        traces += [cv2.GaussianBlur(one, (0, 0), deviation) for one in smooth]
    return np.stack(traces, 2).astype(np.float32)


def _likeness(seen: Seen, places: Sequence[tuple[int, int]]) -> list[FloatArray]:
    """How alike pixels are to the most alike of some places, 0..1, by network and by colour: two of [h, w]."""
    found: list[FloatArray] = []
    for values, width in zip(seen.groups, seen.widths, strict=True):
        near = [((values - values[y, x]) ** 2).sum(2) for x, y in places]
        least = np.min(near, 0) if near else np.full(values.shape[:2], np.inf)
        found.append(np.exp(-least / (2 * width)).astype(np.float32))
    colour = found.pop()
    deep = np.asarray(np.mean(found, 0), np.float32) if found else colour
    return [deep, colour]


def fit(seen: Seen, current: BoolArray, clicks: Sequence[Point]) -> FloatArray:
    """The maps weighted by coefficients that fit mask and clicks best, [h, w], about -1 outside and 1 inside.

    Least squares with small coefficients; pixels count more the farther they are from the mask's edge, clicked ones
    most.
    """
    height, width = current.shape
    values = values_of(seen).reshape(height * width, -1)
    depth = depth_of(current)
    depth = depth / UNIT
    wanted, weight = np.clip(depth / 3, -1, 1), np.clip(np.abs(depth) / 4, 0.1, 1)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    for px, py, inside in clicks:
        near = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * CLICK**2))
        wanted = wanted * (1 - near) + near * (1 if inside else -1)
        weight = weight + 8 * near
    weighted = (values * weight.reshape(-1, 1)).T
    ridge = RIDGE * float(weight.sum()) * np.eye(values.shape[1], dtype=np.float32)
    coefficients = np.linalg.solve(weighted @ values + ridge, weighted @ wanted.reshape(-1))
    fitted = (values @ coefficients).reshape(height, width)
    return np.clip(fitted, -2, 2).astype(np.float32)


def values_of(seen: Seen) -> FloatArray:
    """All groups and a constant, float32 [h, w, K]."""
    ones = np.ones((*seen.groups[0].shape[:2], 1), np.float32)
    return np.concatenate((*seen.groups, ones), 2)


def depth_of(mask: BoolArray) -> FloatArray:
    """Pixels to the mask's edge, positive inside; 1000 at most, where there is no edge."""
    inside = mask.astype(np.uint8)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    depth = within - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 3)
    return np.asarray(np.clip(depth, -1000, 1000), np.float32)


@dataclass(frozen=True, eq=False)
class Layers:
    """A few fully connected layers with ReLU between them: pairs of weights [in, out] and biases [out]."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]

    def __call__(self, x: FloatArray) -> FloatArray:
        """Traces [P, T] to [P]."""
        for k, (weights, bias) in enumerate(self.layers):
            x = x @ weights + bias
            if k < len(self.layers) - 1:
                np.maximum(x, 0, out=x)
        return np.asarray(x[:, 0])


@cache
def _layers() -> Layers:
    """What comes with the package, trained by ``apps/reports/studio/clicks.py``."""
    with LAYERS.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        count = len(arrays.files) // 2
        pairs = [(arrays[f"weight{k}"], arrays[f"bias{k}"]) for k in range(count)]
        return Layers(tuple((w.astype(np.float32), b.astype(np.float32)) for w, b in pairs))
