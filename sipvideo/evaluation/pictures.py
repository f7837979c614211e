"""Average precision of boxes and masks on still pictures, as COCO defines it (computed by pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json, read_annotations, read_results


@dataclass(frozen=True)
class ClassScore:
    """Average precision of one class; -1 where it has no ground truth."""

    category_id: int
    name: str
    ap: float
    ap50: float


@dataclass(frozen=True)
class PictureScores:
    """COCO's twelve figures, 0..1, in COCO's order; -1 means that there is no ground truth to score.

    Small, medium and large are below 32 x 32, below 96 x 96 and above that many pixels; ``ar_1`` is the average
    recall with one detection per picture.
    """

    ap: float
    ap50: float
    ap75: float
    ap_small: float
    ap_medium: float
    ap_large: float
    ar_1: float
    ar_10: float
    ar_100: float
    ar_small: float
    ar_medium: float
    ar_large: float
    classes: tuple[ClassScore, ...]

    def to_json(self) -> Json:
        """The same as plain values."""
        return asdict(self)


def evaluate_pictures(
    annotations: str | Path | Json,
    results: list[Json],
    kind: Literal["bbox", "segm"],
    image_ids: Collection[int] | None = None,
    category_ids: Collection[int] | None = None,
) -> PictureScores:
    """Scores detections on pictures.

    Args:
        annotations: an annotation file in COCO's format, or its content. Missing ``area`` and ``iscrowd``
            are filled in. Nothing is changed in place.
        results: detections ``{"image_id", "category_id", "score"}`` with ``"bbox"`` (x, y, width, height in
            pixels) for boxes, or ``"segmentation"`` (compressed RLE of the picture's size) for masks. Each kind
            reads its own key alone, so that one list may serve both.
        kind: what is compared.
        image_ids: pictures that count; by default all of the annotations.
        category_ids: categories that count; by default all of the annotations.

    Raises:
        DatasetError: malformed annotations or results, or one that names an unknown picture or category.
    """
    content, where = read_annotations(annotations)
    detections, _ = read_results(results)
    try:
        truth = _truth(content, where)
        images = {int(i["id"]): (int(i["height"]), int(i["width"])) for i in content["images"]}
        names = {int(c["id"]): str(c["name"]) for c in content["categories"]}
    except (KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{where}: not a COCO instance file: {what}") from error
    chosen_images = _chosen(image_ids, images, "picture", where)
    chosen_categories = _chosen(category_ids, names, "category", where)
    found = [
        _detection(d, n, kind, images, names)
        for n, d in enumerate(detections, 1)
        if d.get("image_id") in chosen_images or d.get("image_id") not in images
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(truth), _index({**truth, "annotations": found}), kind)
        evaluation.params.imgIds = sorted(chosen_images)
        evaluation.params.catIds = sorted(chosen_categories)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    classes = tuple(
        ClassScore(int(key), names[key], _mean(precision[:, :, k]), _mean(precision[0, :, k]))
        for k, key in enumerate(evaluation.params.catIds)
    )
    figures = (f.name for f in fields(PictureScores) if f.name != "classes")
    named: dict[str, Any] = dict(zip(figures, map(float, evaluation.stats), strict=True))
    return PictureScores(**named, classes=classes)


def _truth(content: Json, where: str) -> Json:
    """A copy to work on: ids from 1 (pycocotools takes a match with id 0 for none), area and iscrowd filled in."""
    images = {i["id"]: i for i in content["images"]}
    categories = {c["id"] for c in content["categories"]}
    annotations = []
    for number, annotation in enumerate(content["annotations"], 1):
        name = f"{where}: annotation {annotation.get('id', number)}"
        if annotation["image_id"] not in images:
            raise DatasetError(f"{name}: there is no picture {annotation['image_id']}")
        if annotation["category_id"] not in categories:
            raise DatasetError(f"{name}: there is no category {annotation['category_id']}")
        entry = {**annotation, "id": number, "iscrowd": int(annotation.get("iscrowd", 0))}
        if "area" not in entry:
            image = images[entry["image_id"]]
            entry["area"] = _area(entry, int(image["height"]), int(image["width"]))
        annotations.append(entry)
    return {
        "images": list(content["images"]),
        "categories": list(content["categories"]),
        "annotations": annotations,
    }


def _area(annotation: Json, height: int, width: int) -> float:
    mask = annotation.get("segmentation")
    if not mask:
        return float(annotation["bbox"][2] * annotation["bbox"][3])
    if isinstance(mask, list):
        mask = coco_mask.merge(coco_mask.frPyObjects(mask, height, width))
    elif isinstance(mask["counts"], list):
        mask = coco_mask.frPyObjects(mask, height, width)
    return float(coco_mask.area(mask))


def _chosen(
    ids: Collection[int] | None, known: dict[int, Any], what: str, where: str
) -> frozenset[int]:
    chosen = frozenset(known if ids is None else (int(i) for i in ids))
    if chosen - known.keys():
        raise DatasetError(f"{where}: there is no {what} {min(chosen - known.keys())}")
    return chosen


def _detection(
    result: Json,
    number: int,
    kind: str,
    images: dict[int, tuple[int, int]],
    names: dict[int, str],
) -> Json:
    """One result as pycocotools keeps it, with the area of what is compared and nothing else."""
    where = f"result {number}"
    try:
        image_id, category_id = result["image_id"], result["category_id"]
        score = float(result["score"])
        if image_id not in images:
            raise DatasetError(f"{where}: there is no picture {image_id}")
        where += f" (picture {image_id})"
        if category_id not in names:
            raise DatasetError(f"{where}: there is no category {category_id}")
        if not np.isfinite(score):
            raise ValueError(f"the score {score} is not a finite number")
        entry = {"id": number, "image_id": image_id, "category_id": category_id, "score": score}
        shape, area = _box(result) if kind == "bbox" else _mask(result, images[image_id])
    except (KeyError, TypeError, ValueError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise DatasetError(f"{where}: {what}") from error
    return {**entry, **shape, "area": area, "iscrowd": 0}


def _box(result: Json) -> tuple[Json, float]:
    box = [float(v) for v in result["bbox"]]
    if len(box) != 4 or not np.isfinite(box).all():
        raise ValueError(f"expected bbox = x, y, width, height, got {result['bbox']}")
    return {"bbox": box}, box[2] * box[3]


def _mask(result: Json, size: tuple[int, int]) -> tuple[Json, float]:
    rle = result["segmentation"]
    if tuple(rle["size"]) != size:
        raise ValueError(f"expected a mask of {list(size)}, got {rle['size']}")
    if not isinstance(rle["counts"], str | bytes):
        raise ValueError("expected a compressed RLE")
    return {"segmentation": rle}, float(coco_mask.area(rle))


def _index(content: Json) -> COCO:
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _mean(precision: np.ndarray[Any, Any]) -> float:
    """Mean over thresholds and recall points; -1, which stands for a class without ground truth, stays."""
    return float(precision.mean())
