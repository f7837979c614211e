"""``python apps/mask_gap.py``: where mask precision is lost, by making one thing perfect at a time.

Each row of the table is the model's own detections with one cause of loss taken away, scored as always. Detections
that show no annotated object keep their masks; so a row says what that cause alone is worth.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sipvideo import boxes as box_math
from sipvideo.apps import command
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.postprocess.assembly import LowResMasks, assemble, to_frame
from sipvideo.postprocess.sampling import sigmoid
from sipvideo.structures import FloatArray, Frame, IntArray

if TYPE_CHECKING:
    from sipvideo.data.sample import Sample
    from sipvideo.evaluation.files import Json
    from sipvideo.postprocess import DenseOutputs
    from sipvideo.segmenter import FrameSegmenter
    from sipvideo.transforms import Geometry

SHOWN = 0.5
"""Least overlap of a detection's box with an object of its class whose mask it is to have."""
MARGINS = (0.05, 0.1, 0.2)
"""How far boxes are widened on each side, in box sides."""
THRESHOLDS = (0.3, 0.35, 0.45, 0.5, 0.6)
SIZES = (32**2, 96**2)
RIDGE, ROUNDS = 1e-3, 12
"""Regularisation per pixel and Newton steps of the best possible coefficients."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(prog="apps/mask_gap.py", description=__doc__)
    parser.add_argument("data", metavar="JSON", type=Path, help="pictures with masks, COCO format")
    parser.add_argument("--split", metavar="NAME", help="pictures that count")
    parser.add_argument(
        "--labelled",
        metavar="NAME",
        nargs="+",
        default=[],
        help="pictures in which these classes were annotated; only they count",
    )
    parser.add_argument("--limit", type=command.count, metavar="N", help="the first N pictures")
    command.add_weights_flag(parser)
    command.add_set_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures and prints one row per cause."""
    command.require_opencv()
    import sipvideo

    rules = ["postprocess.score_threshold=0.05", "postprocess.max_detections=100", *args.overrides]
    video = sipvideo.load(weights=args.weights, overrides=rules)
    rows = measure(video.segment, video.class_names, args)  # type: ignore[arg-type]
    print(
        f"{'':42} {'AP':>6} {'AP50':>6} {'AP75':>6}  {'s':>5} {'m':>5} {'l':>5}  mean IoU s, m, l"
    )
    for name, row in rows.items():
        print(
            f"{name:42} {row['ap']:6.3f} {row['ap50']:6.3f} {row['ap75']:6.3f}  "
            + " ".join(f"{row[k]:5.3f}" for k in ("ap_small", "ap_medium", "ap_large"))
            + "  "
            + " ".join(f"{v:.3f}" for v in row.get("iou", ()))
        )
    return 0


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture's detections, what they were made of, and the object that each of them shows.

    Attributes:
        boxes, scores, labels: [N], of the detections; frame pixels.
        cells: level, row and column of each, int64 [N].
        shown: int64 [N], the object of the same class that its box overlaps most; -1: none by ``SHOWN``.
    """

    segmenter: FrameSegmenter
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
        scale = self.geometry.box_scale() / np.float32(self.segmenter.objects.basis_stride)
        return np.asarray(scale, np.float32)

    @property
    def true_boxes(self) -> FloatArray:
        """Of the shown objects; the detection's own where there is none: float32 [N, 4]."""
        if not len(self.truth):
            return self.boxes
        return np.where((self.shown < 0)[:, None], self.boxes, self.truth.boxes[self.shown])

    def coefficients(self, boxes: FloatArray) -> FloatArray:
        """As the head reads them when it takes ``boxes`` for the predicted ones."""
        return self.read(boxes)[:, : self.segmenter.objects.coefficient_count]

    def read(self, boxes: FloatArray) -> FloatArray:
        """The same, with the column that tells the quality of the masks where the model has one."""
        objects = self.segmenter.objects
        distances = [d.copy() for d in self.outputs.box_distances]
        moved = (boxes - self.boxes) * self.geometry.box_scale() * np.array([-1, -1, 1, 1])
        for k, (level, row, column) in enumerate(zip(*self.cells, strict=True)):
            distances[level][0, :, row, column] += moved[k]
        outputs = dataclasses.replace(self.outputs, box_distances=distances)
        return objects.coefficients(outputs, 0, self.cells)

    def low_res(self, coefficients: FloatArray, cut: FloatArray) -> LowResMasks:
        """Probabilities inside ``cut``, frame pixels."""
        parts = self.segmenter.objects.config.sub_regions
        return assemble(self.outputs.basis_masks[0], coefficients, cut * self.input_scale, parts)

    def masks(self, low: LowResMasks, threshold: float | None = None) -> CompactMasks:
        """Probabilities to masks on the frame, as the application does it."""
        post = self.segmenter.postprocess.config
        size = self.geometry.upsampled_size(
            low.map_size, self.segmenter.objects.basis_stride, post.mask_scale
        )
        frame = self.geometry.frame_size
        return to_frame(low, size, frame, threshold or post.mask_threshold)

    def true_low_res(self) -> list[FloatArray]:
        """The objects' masks brought to the basis masks' resolution by averaging, each [h, w]."""
        stride = self.segmenter.objects.basis_stride
        height, width = self.geometry.resized_size
        maps = []
        for k in range(len(self.truth)):
            full = np.zeros(self.geometry.padded_size, np.float32)
            dense = self.truth.masks.dense(k).astype(np.float32)
            full[:height, :width] = cv2.resize(dense, (width, height), interpolation=cv2.INTER_AREA)
            shape = full.shape[0] // stride, stride, full.shape[1] // stride, stride
            maps.append(full.reshape(shape).mean((1, 3)))
        return maps


def look(segmenter: FrameSegmenter, truth: Sample, counted: frozenset[int]) -> Picture:
    """Runs the network on one picture; detections of classes that do not count are left out."""
    images, (geometry,) = segmenter.inputs([Frame(truth.image, 0, 0.0)])
    outputs = segmenter.runtime(images)
    post = segmenter.postprocess
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
    cells = tuple(v[index] for v in (candidates.level, candidates.row, candidates.column))
    return Picture(
        segmenter,
        outputs,
        geometry,
        boxes[index],
        kept.score[here],
        labels,
        cells,
        truth,
        shown,  # type: ignore[arg-type]
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
        wide = widened(boxes, margin)
        yield f"cut {margin:.0%} around the box", picture.masks(picture.low_res(read, wide))
    for margin in MARGINS:
        wide = widened(boxes, margin)
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
        ("10% around", widened(picture.boxes, 0.1)),
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
    """The coefficients [parts^2 * K] whose mask inside ``box`` is nearest to ``target`` [h, w] by cross-entropy."""
    parts = picture.segmenter.objects.config.sub_regions
    basis = picture.outputs.basis_masks[0]
    bases, height, width = basis.shape
    x0, y0, x1, y1 = (box * picture.input_scale).reshape(4, 1)
    columns = box_math.part_edges(x0, x1, width, parts)[0].tolist()
    rows = box_math.part_edges(y0, y1, height, parts)[0].tolist()
    found = np.zeros((parts, parts, bases))
    for i in range(parts):
        for j in range(parts):
            here = slice(rows[i], rows[i + 1]), slice(columns[j], columns[j + 1])
            pixels = basis[(slice(None), *here)].reshape(bases, -1).astype(np.float64)
            if pixels.size:
                found[i, j] = logistic(pixels, target[here].ravel())
    return found.reshape(-1).astype(np.float32)


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


def widened(boxes: FloatArray, margin: float) -> FloatArray:
    """Boxes [N, 4] with ``margin`` of their sides more on each side."""
    more = (boxes[:, 2:] - boxes[:, :2]) * np.float32(margin)
    return np.concatenate((boxes[:, :2] - more, boxes[:, 2:] + more), 1)


def measure(
    segmenter: FrameSegmenter, class_names: Sequence[str], args: argparse.Namespace
) -> dict[str, Any]:
    """Row name to the scores of that row."""
    from sipvideo.data import CocoPictures
    from sipvideo.data.instances import AnnotationFile
    from sipvideo.evaluation import evaluate_pictures

    file = AnnotationFile.load(args.data)
    pictures = CocoPictures(file, split=args.split, classes=class_names)
    wanted = set(args.labelled)
    category = {c["name"]: c["id"] for c in file.content["categories"]}
    counted = [name for name in class_names if name in (wanted or category)]
    labels = frozenset(class_names.index(name) for name in counted)
    results: dict[str, list[Json]] = {}
    overlaps: dict[str, list[tuple[float, float]]] = {}
    ids = []
    for index, entry in enumerate(file.entries(args.split)):
        if wanted and not wanted <= set(entry.get("labelled_categories", wanted)):
            continue
        if args.limit and len(ids) == args.limit:
            break
        ids.append(entry["id"])
        picture = look(segmenter, pictures[index], labels)
        for name, masks in variants(picture):
            rles = [masks.rle(k) for k in range(len(masks))]
            iou = _true_overlaps(picture, rles)
            areas = picture.truth.masks.areas()
            best = {s: k for k, s in reversed(list(enumerate(picture.shown.tolist()))) if s >= 0}
            overlaps.setdefault(name, []).extend((areas[s], iou[k]) for s, k in best.items())
            quality = _quality(picture)
            for k, rle in enumerate(rles):
                x0, y0, x1, y1 = picture.boxes[k].tolist()
                score = float(picture.scores[k])
                certain = score * float(quality[k])
                common = {
                    "image_id": entry["id"],
                    "category_id": category[class_names[picture.labels[k]]],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": rle,
                    "score": score,
                    "mask_score": certain,
                }
                results.setdefault(name, []).append(common)
                if name == "as it is":
                    ranks = {
                        "ranked by score alone": score,
                        "ranked by score and quality": certain,
                        "ranked by score and true IoU": score * iou[k],
                        "ranked by true IoU": iou[k],
                    }
                    for rank, value in ranks.items():
                        results.setdefault(rank, []).append({**common, "mask_score": float(value)})
    limits = {"image_ids": ids, "category_ids": [category[name] for name in counted]}
    rows = {"boxes": evaluate_pictures(file.content, results["as it is"], "bbox", **limits)}
    rows |= {
        name: evaluate_pictures(file.content, found, "segm", **limits)
        for name, found in results.items()
    }
    table = {name: row.to_json() for name, row in rows.items()}
    for name, pairs in overlaps.items():
        table[name]["iou"] = _by_size(np.array(pairs).reshape(-1, 2))
    print(f"{len(ids)} pictures, {len(overlaps['as it is'])} objects found")
    return table


def _quality(picture: Picture) -> FloatArray:
    """What the model multiplies scores by to rank masks: the quality it expects, or its certainty, or 1: [N]."""
    expected = picture.read(picture.boxes)[:, picture.segmenter.objects.coefficient_count :]
    if expected.shape[1]:
        return sigmoid(expected[:, 0])
    post = picture.segmenter.postprocess.config
    low = picture.low_res(picture.coefficients(picture.boxes), picture.boxes)
    return low.certainty(post.mask_threshold) if post.mask_quality else np.ones_like(picture.scores)


def _true_overlaps(picture: Picture, rles: list[Json]) -> list[float]:
    """IoU of each mask with the best object of its class, 0 without one."""
    from pycocotools import mask as coco_mask

    truth = [picture.truth.masks.rle(k) for k in range(len(picture.truth))]
    if not rles or not truth:
        return [0.0] * len(rles)
    table = coco_mask.iou(rles, truth, [0] * len(truth))
    table[(picture.labels[:, None] != picture.truth.labels) | picture.truth.crowd] = 0
    return [float(v) for v in table.max(1)]


def _by_size(pairs: Any) -> list[float]:
    """Mean overlap of small, medium and large objects from (area, overlap) [n, 2]."""
    size = np.digitize(pairs[:, 0], SIZES)
    return [float(pairs[size == k, 1].mean()) if (size == k).any() else -1.0 for k in range(3)]


if __name__ == "__main__":
    sys.exit(main())
