"""Detections with one cause of loss taken away: what ``apps/reports/mask_gap.py`` compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sipvideo import boxes as box_math
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.postprocess.assembly import LowResMasks, assemble, to_frame
from sipvideo.postprocess.sampling import sigmoid
from sipvideo.structures import FloatArray, Frame, IntArray

if TYPE_CHECKING:
    from sipvideo.data.sample import Sample
    from sipvideo.engine.host import HostEngine
    from sipvideo.postprocess import DenseOutputs
    from sipvideo.transforms import Geometry

SHOWN = 0.5
"""Least overlap of a detection's box with an object of its class whose mask it is to have."""
MARGINS = (0.05, 0.1, 0.2)
"""How far boxes are widened on each side, in box sides."""
THRESHOLDS = (0.3, 0.35, 0.45, 0.5, 0.6)
RIDGE, ROUNDS = 1e-3, 12
"""Regularisation per pixel and Newton steps of the best possible coefficients."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture's detections, what they were made of, and the object that each of them shows.

    Attributes:
        boxes, scores, labels: [N], of the detections; frame pixels.
        cells: level, row and column of each, int64 [N].
        shown: int64 [N], the object of the same class that its box overlaps most; -1: none by ``SHOWN``.
    """

    engine: HostEngine
    outputs: DenseOutputs
    geometry: Geometry
    boxes: FloatArray
    scores: FloatArray
    labels: IntArray
    cells: tuple[IntArray, IntArray, IntArray]
    truth: Sample
    shown: IntArray

    @property
    def input_scale(self) -> FloatArray:
        """Basis pixels per frame pixel, float32 [4]."""
        scale = self.geometry.box_scale() / np.float32(self.engine.objects.basis_stride)
        return np.asarray(scale, np.float32)

    @property
    def true_boxes(self) -> FloatArray:
        """Of the shown objects; the detection's own where there is none: float32 [N, 4]."""
        if not len(self.truth):
            return self.boxes
        return np.where((self.shown < 0)[:, None], self.boxes, self.truth.boxes[self.shown])

    def coefficients(self, boxes: FloatArray) -> FloatArray:
        """As the head reads them when it takes ``boxes`` for the predicted ones."""
        return self.read(boxes)[:, : self.engine.objects.config.coefficient_count]

    def read(self, boxes: FloatArray) -> FloatArray:
        """The same, with the column that tells the quality of the masks where the model has one."""
        objects = self.engine.objects
        distances = [d.copy() for d in self.outputs.box_distances]
        moved = (boxes - self.boxes) * self.geometry.box_scale() * np.array([-1, -1, 1, 1])
        for k, (level, row, column) in enumerate(zip(*self.cells, strict=True)):
            distances[level][0, :, row, column] += moved[k]
        outputs = dataclasses.replace(self.outputs, box_distances=distances)
        return objects.coefficients(outputs, 0, self.cells)

    def low_res(self, coefficients: FloatArray, cut: FloatArray) -> LowResMasks:
        """Probabilities inside ``cut``, frame pixels."""
        head = self.engine.objects.config
        inside = box_math.widened(cut * self.input_scale, head.mask_margin)
        basis = self.outputs.basis_masks[0]
        return assemble(basis, coefficients, inside, head.sub_regions, head.map_side)

    def masks(self, low: LowResMasks, threshold: float | None = None) -> CompactMasks:
        """Probabilities to masks on the frame, as the application does it."""
        post = self.engine.postprocess.config
        size = self.geometry.upsampled_size(
            low.map_size, self.engine.objects.basis_stride, post.mask_scale
        )
        frame = self.geometry.frame_size
        return to_frame(low, size, frame, threshold or post.mask_threshold)

    def true_low_res(self) -> list[FloatArray]:
        """The objects' masks brought to the basis masks' resolution by averaging, each [h, w]."""
        stride = self.engine.objects.basis_stride
        height, width = self.geometry.resized_size
        maps = []
        for k in range(len(self.truth)):
            full = np.zeros(self.geometry.padded_size, np.float32)
            dense = self.truth.masks.dense(k).astype(np.float32)
            full[:height, :width] = cv2.resize(dense, (width, height), interpolation=cv2.INTER_AREA)
            shape = full.shape[0] // stride, stride, full.shape[1] // stride, stride
            maps.append(full.reshape(shape).mean((1, 3)))
        return maps


def look(engine: HostEngine, truth: Sample, counted: frozenset[int]) -> Picture:
    """Runs the network on one picture; detections of classes that do not count are left out."""
    images, (geometry,), _ = engine.inputs([Frame(truth.image, 0, 0.0)])
    outputs = engine.runtime(images)
    post = engine.postprocess
    candidates = post.candidates(outputs, geometry, 0)
    boxes = candidates.boxes / geometry.box_scale()
    kept = post.suppress(candidates, boxes)
    here = np.isin(kept.label, list(counted))
    index, labels = kept.index[here], kept.label[here]
    overlap = box_math.iou(boxes[index], truth.boxes)
    overlap[(labels[:, None] != truth.labels) | truth.crowd] = 0
    shown = np.full(len(index), -1)
    if overlap.size:
        shown = np.where(overlap.max(1) >= SHOWN, overlap.argmax(1), -1)
    cells = candidates.level[index], candidates.row[index], candidates.column[index]
    return Picture(
        engine,
        outputs,
        geometry,
        boxes[index],
        kept.score[here],
        labels,
        cells,
        truth,
        shown,
    )


def variants(picture: Picture) -> Iterator[tuple[str, CompactMasks]]:
    """Name and masks [N] of every row but the rankings; the first is the model as it is."""
    boxes, true_boxes = picture.boxes, picture.true_boxes
    read = picture.coefficients(boxes)
    own = picture.low_res(read, boxes)
    masks = picture.masks(own)
    yield "as it is", masks
    for threshold in THRESHOLDS:
        yield f"mask threshold {threshold}", picture.masks(own, threshold)
    for margin in MARGINS:
        wide = box_math.widened(boxes, margin)
        yield f"cut {margin:.0%} around the box", picture.masks(picture.low_res(read, wide))
    for margin in MARGINS:
        wide = box_math.widened(boxes, margin)
        low = picture.low_res(picture.coefficients(wide), wide)
        yield f"read and cut {margin:.0%} around the box", picture.masks(low)
    yield "cut at the true box", picture.masks(picture.low_res(read, true_boxes))
    low = picture.low_res(picture.coefficients(true_boxes), true_boxes)
    yield "read and cut at the true box", picture.masks(low)
    yield from _corrected(picture, masks)
    yield from _best(picture, read)


def _corrected(picture: Picture, masks: CompactMasks) -> Iterator[tuple[str, CompactMasks]]:
    """Masks without pixels on neighbours, without those on the ground, with all that lie in the box; true masks."""
    truth = [picture.truth.masks.dense(k) for k in range(len(picture.truth))]
    everybody = np.zeros(picture.geometry.frame_size, np.uint8)
    for one in truth:
        everybody += one
    changes: dict[str, list[BoolArray]] = {
        "no pixel on a neighbour": [],
        "no pixel on the ground": [],
        "no pixel missing in the box": [],
        "true mask, cut at the box": [],
        "true mask": [],
    }
    for k, shown in enumerate(picture.shown.tolist()):
        mask = masks.dense(k)
        if shown < 0:
            for dense in changes.values():
                dense.append(mask)
            continue
        true, others = truth[shown], (everybody - truth[shown]) > 0
        x0, y0, x1, y1 = np.round(picture.boxes[k]).astype(int)
        inside = np.zeros_like(mask)
        inside[max(0, y0) : y1, max(0, x0) : x1] = True
        new = (
            mask & ~(others & ~true),
            mask & (true | others),
            mask | (true & inside),
            true & inside,
            true,
        )
        for dense, one in zip(changes.values(), new, strict=True):
            dense.append(one)
    empty = np.zeros((0, *picture.geometry.frame_size), bool)
    for name, dense in changes.items():
        yield name, CompactMasks.from_dense(np.stack(dense) if dense else empty)


def _best(picture: Picture, read: FloatArray) -> Iterator[tuple[str, CompactMasks]]:
    """The true masks at the basis' resolution, and the best that its basis masks can do."""
    maps = picture.true_low_res()
    true_boxes = picture.true_boxes
    cuts = (
        ("the box", picture.boxes),
        ("10% around", box_math.widened(picture.boxes, 0.1)),
        ("the true box", true_boxes),
    )
    for where, cut in cuts:
        low = picture.low_res(read, cut)
        flat = [part.copy() for part in low.split()]
        for k, shown in enumerate(picture.shown.tolist()):
            x0, y0, x1, y1 = low.windows[k].tolist()
            if shown >= 0:
                flat[k] = maps[shown][y0:y1, x0:x1]
        values = np.concatenate([part.ravel() for part in flat]) if flat else low.flat
        exact = dataclasses.replace(low, flat=values)
        yield f"true mask at stride 4, cut at {where}", picture.masks(exact, 0.5)
        best = read.copy()
        for k, shown in enumerate(picture.shown.tolist()):
            if shown >= 0:
                best[k] = fitted(picture, cut[k], maps[shown])
        yield f"best coefficients, cut at {where}", picture.masks(picture.low_res(best, cut), 0.5)


def fitted(picture: Picture, box: FloatArray, target: FloatArray) -> FloatArray:
    """The coefficients of one object whose mask inside ``box`` is nearest to ``target`` [H, W] by cross-entropy."""
    head = picture.engine.objects.config
    parts, basis = head.sub_regions, picture.outputs.basis_masks[0]
    height, width = basis.shape[1:]
    scaled = box_math.widened((box * picture.input_scale)[None], head.mask_margin)[0]
    x0, y0, x1, y1 = scaled.reshape(4, 1)
    columns = box_math.part_edges(x0, x1, width, parts)[0].tolist()
    rows = box_math.part_edges(y0, y1, height, parts)[0].tolist()
    inside = slice(rows[0], rows[-1]), slice(columns[0], columns[-1])
    seen, target = basis[:, inside[0], inside[1]], target[inside]
    if head.shape_maps:
        window = columns[0], rows[0], columns[-1], rows[-1]
        seen = np.concatenate((seen, box_math.shape_maps(scaled, window)))
    found = np.zeros((parts, parts, len(seen)))
    for i in range(parts):
        for j in range(parts):
            here = (
                slice(rows[i] - rows[0], rows[i + 1] - rows[0]),
                slice(columns[j] - columns[0], columns[j + 1] - columns[0]),
            )
            pixels = seen[:, here[0], here[1]].reshape(len(seen), -1).astype(np.float64)
            if pixels.size:
                found[i, j] = logistic(pixels, target[here].ravel())
    # The object's own map would say it all: without it, this is what the basis can do.
    return np.append(found, np.zeros(head.map_side**2)).astype(np.float32)


def logistic(features: Any, target: Any) -> Any:
    """Weights [K] of the ridge logistic regression of ``target`` [n], 0..1, on ``features`` [K, n]."""
    weights = np.zeros(len(features))
    ridge = RIDGE * max(features.shape[1], 1) * np.eye(len(features))
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(weights @ features, -30, 30)))
        slope = features @ (chance - target) + ridge @ weights
        curve = (features * (chance * (1 - chance) + 1e-4)) @ features.T + ridge
        weights = weights - np.linalg.solve(curve, slope)
    return weights


def quality(picture: Picture) -> FloatArray:
    """What the model multiplies scores by to rank masks: the quality it expects, or its certainty, or 1: [N]."""
    expected = picture.read(picture.boxes)[:, picture.engine.objects.config.coefficient_count :]
    if expected.shape[1]:
        return sigmoid(expected[:, 0])
    post = picture.engine.postprocess.config
    low = picture.low_res(picture.coefficients(picture.boxes), picture.boxes)
    return low.certainty(post.mask_threshold) if post.mask_quality else np.ones_like(picture.scores)
