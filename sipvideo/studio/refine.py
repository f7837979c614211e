"""A mask changed by clicks inside and outside the object, with what the model already knows of the frame.

The network looks at a frame once. Its basis masks and the features of its mask branch, read in a window around the
object, tell which pixels are like those under a click. Coefficients over them are fitted to the mask and the clicks by
weighted least squares (ridge), and a few small layers decide, pixel by pixel, how far every click reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.engine import Engine, HostEngine
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.postprocess import DenseOutputs, Postprocess
from sipvideo.postprocess.sampling import sigmoid
from sipvideo.structures import Detections, FloatArray, Frame

SIDE = 96
"""Longer side of the window, pixels of its own."""
UNIT = SIDE / 64
"""Distances in it are told in this, so that they mean the same in a finer one."""
MARGIN = 0.4
"""What the window shows around mask and clicks, as a share of their sides."""
LEAST_MARGIN = 12
"""Frame pixels."""
FEATURES = 32
"""Directions of the mask branch's features that are looked at; the same ones always."""
CLICK = 2.5 * UNIT
"""Standard deviation of what a click is sure of, window pixels."""
LAYERS = resources.files("sipvideo.studio") / "refine.npz"
REPLAYED = 3
"""Latest clicks that are taken one after the other."""
RIDGE = 0.02
"""Weight of small coefficients against that of all pixels."""

PROPOSALS = ("postprocess.score_threshold=0.05", "postprocess.max_detections=60")
"""What the network hardly believes is found, too, for objects that it missed."""
FITS = 0.4
"""Overlap of boxes from which a proposal is the object in a box that somebody drew."""

Click = tuple[float, float, bool]
"""x, y in frame pixels, and whether the place is inside the object."""
Point = tuple[int, int, bool]
"""The same in pixels of a window."""


@dataclass(frozen=True)
class Refined:
    """What clicks made of a mask.

    Attributes:
        masks: one mask; empty where no pixel is left.
        score: mean probability of its pixels.
        label: class of a new object, where the network tells one.
    """

    masks: CompactMasks
    score: float
    label: int | None = None


class Refiner:
    """Refines masks on one frame at a time; the network looks at it when it is opened.

    Args:
        engine: of the studio's segmenter. Of engines other than :class:`HostEngine` no maps are known: colours alone
            are looked at.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._any = engine
        self._engine = engine if isinstance(engine, HostEngine) else None
        self._proposals: Postprocess | None = None
        if self._engine is not None:
            config = self._engine.config.with_overrides(PROPOSALS)
            self._proposals = Postprocess(config, self._engine.objects)
        self._directions: FloatArray | None = None

    def open(self, frame: Frame) -> OpenFrame:
        """The frame, looked at by the network once."""
        maps: list[_Map] = []
        found = Detections.empty(frame.size)
        if self._engine is not None:
            images, geometries, _ = self._engine.inputs([frame])
            outputs = self._engine.runtime(images)
            maps = self._maps(outputs, self._engine.objects, geometries[0].scale)
            assert self._proposals is not None
            found = self._proposals(outputs, geometries[0])
        elif self._any is not None:
            found = self._any.detect([frame])[0]
        return OpenFrame(frame.image, maps, found)

    def _maps(self, outputs: DenseOutputs, objects: Any, scale: tuple[float, float]) -> list[_Map]:
        basis = np.ascontiguousarray(outputs.basis_masks[0].transpose(1, 2, 0), np.float32)
        features = outputs.coefficient_features[0][0].transpose(1, 2, 0)
        if self._directions is None or len(self._directions) != features.shape[2]:
            drawn = np.random.default_rng(5).normal(size=(features.shape[2], FEATURES))
            self._directions = np.linalg.qr(drawn)[0].astype(np.float32)
        projected = np.ascontiguousarray(features @ self._directions)
        strides = objects.basis_stride, objects.strides[0]
        per_pixel = [(scale[0] / stride, scale[1] / stride) for stride in strides]
        return [_Map(basis, per_pixel[0]), _Map(projected, per_pixel[1])]


@dataclass(frozen=True, eq=False)
class _Map:
    """A map of the network, float32 [h, w, K], and its pixels per frame pixel (x, y)."""

    values: FloatArray
    scale: tuple[float, float]


class OpenFrame:
    """A frame on which masks are refined; may be used from several threads.

    Args:
        image: uint8 [H, W, 3], RGB.
        maps: of the network.
        found: what the network finds in it, doubtful objects, too.

    Attributes:
        image, found: the same.
    """

    def __init__(self, image: NDArray[np.uint8], maps: Sequence[_Map], found: Detections) -> None:
        self.image = image
        self._maps = maps
        self.found = found

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def refine(
        self,
        clicks: Sequence[Click],
        start: CompactMasks | None = None,
        box: FloatArray | None = None,
    ) -> Refined:
        """The mask that fits all clicks, and is else as it was.

        Args:
            clicks: in their order; out of the frame they are moved to its border.
            start: one mask, as it was before the first click; None or empty: the object is in the box.
            box: float32 [4], frame pixels, of a new object; None: around the clicks.

        Raises:
            ValueError: there is neither a mask, a box, nor a click inside the object.
        """
        mask, label = self._begin(clicks, start, box)
        if not clicks:
            return Refined(CompactMasks.from_dense(mask[None]), 1.0, label)
        height, width = self.size
        placed = [(_within(x, width), _within(y, height), inside) for x, y, inside in clicks]
        window = Window.around(mask, placed)
        seen = self.seen(window)
        begin = current = window.shrunk(mask)
        points = [window.point(x, y, inside) for x, y, inside in placed]
        logits = np.zeros(current.shape, np.float32)
        # As it came about: every click was set on what the earlier ones had made. Those long ago are taken together.
        for count in range(max(1, len(points) - REPLAYED + 1), len(points) + 1):
            logits = decide(seen, begin, current, points[:count])
            current = logits > 0
        return replace(window.pasted(mask, logits, points), label=label)

    def _begin(
        self, clicks: Sequence[Click], start: CompactMasks | None, box: FloatArray | None
    ) -> tuple[BoolArray, int | None]:
        """The mask before the first click, and the class that the network tells."""
        if start is not None and len(start) and start.area(0):
            return start.dense(0), None
        inside = np.array([(x, y) for x, y, i in clicks if i], np.float32).reshape(-1, 2)
        if box is None and not len(inside):
            raise ValueError("expected a mask, a box, or a click inside the object")
        proposal = self._in_box(box) if box is not None else self._under(inside)
        if proposal is not None:
            return self.found.masks.dense(proposal), int(self.found.labels[proposal])
        if box is None:
            reach = 0.08 * max(self.size)
            ends = inside.min(0) - reach, inside.max(0) + reach
            box = np.concatenate(ends, dtype=np.float32)
        return _ellipse(box, self.size), None

    def _in_box(self, box: FloatArray) -> int | None:
        """The object whose box fits one best."""
        overlap = boxes.iou(self.found.boxes, np.asarray(box, np.float32)[None])[:, 0]
        best = int(overlap.argmax()) if len(overlap) else 0
        return best if len(overlap) and overlap[best] >= FITS else None

    def _under(self, places: FloatArray) -> int | None:
        """The likeliest object with all places inside its mask."""
        points = places.astype(np.int64)
        for k in range(len(self.found)):  # best first
            if self.found.masks[[k]].cover(points).all():
                return k
        return None

    def seen(self, window: Window, *, centred: bool = True) -> Seen:
        """What is seen in a window; ``centred``: relative to all in it, else as it is, to compare frames."""
        maps = [window.map(one) for one in self._maps]
        return Seen.of(window.picture(self.image), maps, centred=centred)

    def best_detection(self, mask: BoolArray, least: float) -> BoolArray | None:
        """The network's own mask that overlaps one most, bool [H, W]; None where none does by ``least``."""
        if not len(self.found):
            return None
        overlap = self.found.masks.iou(CompactMasks.from_dense(mask[None]))[:, 0]
        best = int(overlap.argmax())
        return self.found.masks.dense(best) if overlap[best] >= least else None


def _ellipse(box: FloatArray, size: tuple[int, int]) -> BoolArray:
    """Most of what a box shows is its object, and its corners are not."""
    x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
    middle = (x0 + x1) // 2, (y0 + y1) // 2
    axes = max((x1 - x0) // 2, 1), max((y1 - y0) // 2, 1)
    mask = cv2.ellipse(np.zeros(size, np.uint8), middle, axes, 0, 0, 360, 1, -1)
    return np.asarray(mask, bool)


def _within(place: float, length: int) -> float:
    return min(max(float(place), 0.0), float(length - 1))


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


@dataclass(frozen=True)
class Window:
    """A part of the frame x0, y0, x1, y1 as h x w pixels of its own."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    @classmethod
    def around(
        cls, mask: BoolArray, clicks: Sequence[Click], side: int = SIDE, margin: float = MARGIN
    ) -> Window:
        """Around a mask and clicks.

        Raises:
            ValueError: there is neither.
        """
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        places = [(x, y) for x, y, _ in clicks]
        if len(rows):
            places += [(columns[0], rows[0]), (columns[-1] + 1, rows[-1] + 1)]
        corners = np.array(places, np.float64)
        low, high = corners.min(0), corners.max(0)
        around = np.maximum((high - low) * margin, LEAST_MARGIN)
        height, width = mask.shape
        x0, y0 = np.maximum(np.floor(low - around), 0).astype(int).tolist()
        x1, y1 = np.minimum(np.ceil(high + around), (width, height)).astype(int).tolist()
        factor = min(1.0, side / max(x1 - x0, y1 - y0))
        return cls(
            (x0, y0, x1, y1), (max(2, round((y1 - y0) * factor)), max(2, round((x1 - x0) * factor)))
        )

    def picture(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a picture [H, W, ...] shows in the window, [h, w, ...]."""
        x0, y0, x1, y1 = self.box
        part = np.ascontiguousarray(image[y0:y1, x0:x1])
        return np.asarray(cv2.resize(part, self.size[::-1], interpolation=cv2.INTER_AREA), np.uint8)

    def shrunk(self, mask: BoolArray) -> BoolArray:
        """A mask of the frame, bool [H, W], in the window, [h, w]."""
        return self.picture(mask.astype(np.uint8) * np.uint8(255)) > 127

    def map(self, source: _Map) -> FloatArray:
        """A map of the network at the middles of the window's pixels."""
        x0, y0, x1, y1 = self.box
        h, w = self.size
        x = ((np.arange(w) + 0.5) * (x1 - x0) / w + x0) * source.scale[0] - 0.5
        y = ((np.arange(h) + 0.5) * (y1 - y0) / h + y0) * source.scale[1] - 0.5
        columns, rows = (one.astype(np.float32) for one in np.meshgrid(x, y))
        parts = [
            cv2.remap(
                np.ascontiguousarray(source.values[..., k : k + 4]),
                columns,
                rows,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(h, w, -1)
            for k in range(0, source.values.shape[2], 4)
        ]
        return np.concatenate(parts, 2)

    def point(self, x: float, y: float, inside: bool) -> Point:
        """A click of frame pixels as one of window pixels."""
        x0, y0, x1, y1 = self.box
        h, w = self.size
        column, row = int((x - x0) * w / (x1 - x0)), int((y - y0) * h / (y1 - y0))
        return min(max(column, 0), w - 1), min(max(row, 0), h - 1), inside

    def pasted(self, mask: BoolArray, logits: FloatArray, clicks: Sequence[Point]) -> Refined:
        """The mask on the frame: what the window shows as decided, without specks that nobody clicked at.

        What a mask shows outside of its window is not possible: a window is around all of it.
        """
        x0, y0, x1, y1 = self.box
        large = cv2.resize(
            _without_specks(logits, clicks), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR
        )
        whole = np.zeros_like(mask)
        whole[y0:y1, x0:x1] = large > 0
        inside = logits > 0
        score = float(sigmoid(logits[inside]).mean()) if inside.any() else 0.0
        return Refined(CompactMasks.from_dense(whole[None]), score)


def _without_specks(logits: FloatArray, clicks: Sequence[Point]) -> FloatArray:
    """Logits with parts below a twentieth of the largest one gone, but for those clicked at."""
    count, parts, about, _ = cv2.connectedComponentsWithStats(
        (logits > 0).astype(np.uint8), connectivity=8
    )
    if count <= 2:
        return logits
    areas = about[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = areas * 20 >= areas.max()
    for x, y, inside in clicks:
        kept[parts[y, x]] |= inside
    kept[0] = True
    return np.where(kept[parts], logits, -np.abs(logits)).astype(np.float32)


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
