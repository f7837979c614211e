"""Average precision of boxes and masks on still pictures, as COCO defines it (computed by pycocotools)."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Collection, Hashable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sipvideo.annotations import in_reach, to_rle
from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json, read_annotations, read_results

Kind = Literal["bbox", "segm"]


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
    results: str | Path | list[Json],
    kind: Kind,
    image_ids: Collection[int] | None = None,
    category_ids: Collection[int] | None = None,
    *,
    names: tuple[str, str] | None = None,
) -> PictureScores:
    """Scores detections on pictures.

    Args:
        annotations: an annotation file in COCO's format, or its content. Missing ``area``, ``bbox`` and ``iscrowd``
            are filled in. Nothing is changed in place.
        results: a file, or its content: detections ``{"image_id", "category_id", "score"}`` with ``"bbox"`` (x, y,
            width, height in pixels) for boxes, or ``"segmentation"`` (compressed RLE of the picture's size) for
            masks. Each kind reads its own key alone, so that one list may serve both; masks are ranked by their
            ``"mask_score"`` where there is one, boxes always by ``"score"``.
        kind: what is compared.
        image_ids: pictures that count; by default all of the annotations.
        category_ids: categories that count; by default all of the annotations.
        names: what errors call the annotations and the results; by default their paths.

    Raises:
        DatasetError: malformed annotations or results, or one that names an unknown picture or category.
    """
    evaluation, classes = _evaluated(
        annotations, results, kind, (image_ids, category_ids), names=names
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    scores = tuple(
        ClassScore(int(key), classes[key], _mean(precision[:, :, k]), _mean(precision[0, :, k]))
        for k, key in enumerate(evaluation.params.catIds)
    )
    figures = (f.name for f in fields(PictureScores) if f.name != "classes")
    named: dict[str, Any] = dict(zip(figures, map(float, evaluation.stats), strict=True))
    return PictureScores(**named, classes=scores)


@dataclass(frozen=True)
class OperatingPoint:
    """What a user gets at one threshold: a detection is right if it overlaps an object of its class by half.

    Attributes:
        threshold: least score of a detection.
        precision: share of the detections that are right; those on crowds do not count. 0 without any.
        recall: share of the objects that are found. 0 without any.
        per_picture: detections per picture.
    """

    threshold: float
    precision: float
    recall: float
    per_picture: float


def operating_point(
    annotations: str | Path | Json,
    results: list[Json],
    threshold: float,
    kind: Kind = "bbox",
    image_ids: Collection[int] | None = None,
) -> OperatingPoint:
    """Precision and recall over all classes together; arguments and errors as :func:`evaluate_pictures`.

    Args:
        annotations: see there.
        results: see there; the threshold is on ``"score"``.
        threshold: least score.
        kind: what must overlap.
        image_ids: pictures that count.
    """
    kept = [one for one in results if one["score"] >= threshold]
    evaluation, _ = _evaluated(annotations, kept, kind, (image_ids, None))
    # All areas come first, for each class; matches at an overlap of one half are the first row.
    areas, pictures = len(evaluation.params.areaRng), len(evaluation.params.imgIds)
    cells = [
        cell
        for k, cell in enumerate(evaluation.evalImgs)
        if cell is not None and k // pictures % areas == 0
    ]
    right = sum(int(((c["dtMatches"] > 0) & ~c["dtIgnore"])[0].sum()) for c in cells)
    found = sum(int((~c["dtIgnore"])[0].sum()) for c in cells)
    objects = sum(int((np.asarray(c["gtIgnore"]) == 0).sum()) for c in cells)
    return OperatingPoint(
        threshold, right / max(found, 1), right / max(objects, 1), len(kept) / max(pictures, 1)
    )


def _evaluated(
    annotations: str | Path | Json,
    results: str | Path | list[Json],
    kind: Kind,
    chosen: tuple[Collection[int] | None, Collection[int] | None],
    *,
    names: tuple[str, str] | None = None,
) -> tuple[COCOeval, dict[int, str]]:
    """Everything matched, and the names of the categories; ``chosen``: pictures and categories that count."""
    image_ids, category_ids = chosen
    content, where = read_annotations(annotations, names[0] if names else "annotations")
    detections, origin = read_results(results)
    where, origin = names or (where, origin)
    try:
        images = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
        classes = {c["id"]: str(c["name"]) for c in content["categories"]}
        objects = list(content["annotations"])
        if any(not isinstance(key, int) for key in (*images, *classes)):
            raise ValueError("expected whole numbers as ids of pictures and categories")
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: not a COCO instance file: {_told(error)}") from error
    chosen_images = _chosen(image_ids, images, "picture", where)
    chosen_categories = _chosen(category_ids, classes, "category", where)
    known = {"image_id": images, "category_id": classes}
    truth = {"images": content["images"], "categories": content["categories"]}
    truth["annotations"] = [_object(o, n, kind, known, where) for n, o in enumerate(objects, 1)]
    found = [_detection(d, n, kind, known, origin) for n, d in enumerate(detections, 1)]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_index(truth), _index({**truth, "annotations": found}), kind)
        evaluation.params.imgIds = sorted(chosen_images)
        evaluation.params.catIds = sorted(chosen_categories)
        evaluation.evaluate()
    return evaluation, classes


def _chosen(
    ids: Collection[int] | None, known: dict[int, Any], what: str, where: str
) -> frozenset[int]:
    chosen = frozenset(known if ids is None else (int(i) for i in ids))
    if chosen - known.keys():
        raise DatasetError(f"{where}: there is no {what} {min(chosen - known.keys())}")
    return chosen


def _object(entry: Json, number: int, kind: Kind, known: dict[str, Any], where: str) -> Json:
    """An annotation as pycocotools wants it: its id from 1, since a match with id 0 is none there."""
    try:
        where += f": annotation {entry.get('id', number)}"
        image_id, category_id = (_known(entry, key, known[key]) for key in known)
        ids = {"id": number, "image_id": image_id, "category_id": category_id}
        mask, box = None, None
        if entry.get("segmentation") and (kind == "segm" or not {"area", "bbox"} <= entry.keys()):
            mask = _mask(entry["segmentation"], known["image_id"][image_id])
        if kind == "bbox":
            box = entry["bbox"] if "bbox" in entry or mask is None else _tight(mask)
        elif mask is None:
            raise ValueError("it has no segmentation")
        shape = {"bbox": box} if box else {"segmentation": mask}
        area = entry["area"] if "area" in entry else _area(mask, box)
        return {**ids, **shape, "area": area, "iscrowd": entry.get("iscrowd", 0)}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: {_told(error)}") from error


def _detection(result: Json, number: int, kind: Kind, known: dict[str, Any], where: str) -> Json:
    """One result as pycocotools keeps it, with the area of what is compared and nothing else."""
    where += f": result {number}"
    try:
        image_id = _known(result, "image_id", known["image_id"])
        where += f" (picture {image_id})"
        category_id = _known(result, "category_id", known["category_id"])
        rank = "mask_score" if kind == "segm" and "mask_score" in result else "score"
        ids = {"id": number, "image_id": image_id, "category_id": category_id}
        entry = {**ids, "score": _number(result[rank], rank), "iscrowd": 0}
        if kind == "bbox":
            box = result["bbox"]
            in_reach({"bbox": box}, known["image_id"][image_id], _refuse)
            return {**entry, "bbox": box, "area": _area(None, box)}
        rle = result["segmentation"]
        if not isinstance(rle, dict) or isinstance(rle.get("counts"), list):
            raise ValueError("expected a compressed RLE as segmentation")
        mask = _mask(rle, known["image_id"][image_id])
        return {**entry, "segmentation": mask, "area": _area(mask, None)}
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: {_told(error)}") from error


def _known(entry: Json, key: str, known: dict[int, Any]) -> int:
    value = entry[key]
    if not isinstance(value, Hashable) or value not in known:
        raise ValueError(f"there is no {'picture' if key == 'image_id' else 'category'} {value!r}")
    return int(entry[key])


def _number(value: Any, what: str) -> float:
    # Whole numbers may be too large for a float.
    if isinstance(value, int | float | np.number) and abs(value) <= sys.float_info.max:  # type: ignore[operator]
        return float(value)
    raise ValueError(f"expected a finite number as {what}, got {value!r:.40}")


def _refuse(field: str, what: str) -> None:
    raise ValueError(f"{field}: {what}")


def _mask(segmentation: Any, size: tuple[int, int]) -> Json:
    try:
        return to_rle(segmentation, size)
    except ValueError as error:
        raise ValueError(f"segmentation: {error}") from error


def _tight(mask: Json) -> list[float]:
    return [float(value) for value in coco_mask.toBbox(mask)]


def _area(mask: Json | None, box: list[float] | None) -> float:
    """Pixels of a mask, or of a box where there is none."""
    if mask is not None:
        return float(coco_mask.area(mask))
    assert box is not None
    return box[2] * box[3]


def _told(error: Exception) -> str:
    return f"key {error} is missing" if isinstance(error, KeyError) else str(error)


def _index(content: Json) -> COCO:
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return coco


def _mean(precision: np.ndarray[Any, Any]) -> float:
    """Mean over thresholds and recall points; -1, which stands for a class without ground truth, stays."""
    return float(precision.mean())
