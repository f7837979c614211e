"""The YouTube-VIS figures by their definition, with dense masks and loops: slow, and easy to check by reading."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Json = dict[str, Any]


def dense(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    if not segmentation:
        return None
    if isinstance(segmentation, list):
        segmentation = coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return np.asarray(coco_mask.decode(segmentation)).astype(bool)


def track_iou(a: list[Any], b: list[Any]) -> float:
    inter = union = 0
    for d, g in zip(a, b, strict=False):
        if d is not None and g is not None:
            if d.shape == g.shape:
                inter += int((d & g).sum())
                union += int((d | g).sum())
        elif d is not None:
            union += int(d.sum())
        elif g is not None:
            union += int(g.sum())
    return inter / union if union else 0.0


def mean_area(areas: list[Any]) -> float:
    real = [a for a in areas if a]
    return sum(real) / len(real) if real else 0.0


def figures(truth: Json, results: list[Json], with_classes: bool = True) -> list[float]:
    """The twelve figures."""
    sizes = {v["id"]: (v["height"], v["width"]) for v in truth["videos"]}
    cells: dict[tuple[Any, Any], tuple[list[Json], list[Json]]] = {}
    for source, place in ((truth["annotations"], 0), (results, 1)):
        for number, track in enumerate(source, 1):
            masks = [dense(s, sizes[track["video_id"]]) for s in track["segmentations"]]
            own = [None if m is None else int(m.sum()) for m in masks]
            entry = {
                "id": track["id"] if place == 0 else number,
                "masks": masks,
                "area": mean_area(track["areas"] if place == 0 else own),
                "score": track.get("score"),
                "crowd": bool(track.get("iscrowd")),
            }
            key = track["video_id"], track["category_id"] if with_classes else 0
            cells.setdefault(key, ([], []))[place].append(entry)
    ious = {}
    for key, (objects, found) in cells.items():
        found.sort(key=lambda d: -d["score"])
        del found[100:]
        ious[key] = [[track_iou(d["masks"], g["masks"]) for g in objects] for d in found]
    categories = [c["id"] for c in truth["categories"]] if with_classes else [0]
    thresholds = [0.5 + 0.05 * n for n in range(10)]
    ranges = [(0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10)]

    def curves(limit: int, area: tuple[float, float], at: list[float]) -> tuple[float, float]:
        precisions, recalls = [], []
        for category in categories:
            for threshold in at:
                outcome, count = [], 0
                for video in sorted(sizes):
                    if (video, category) in cells:
                        hits, n = _match(
                            cells[video, category], ious[video, category], threshold, area
                        )
                        outcome += hits[:limit]
                        count += n
                if count:
                    precision, recall = _curve(outcome, count)
                    precisions += precision
                    recalls.append(recall)
        if not recalls:
            return -1.0, -1.0
        return float(np.mean(precisions)), float(np.mean(recalls))

    everything = ranges[0]
    return [
        curves(100, everything, thresholds)[0],
        curves(100, everything, [0.5])[0],
        curves(100, everything, [0.75])[0],
        *(curves(100, area, thresholds)[0] for area in ranges[1:]),
        *(curves(limit, everything, thresholds)[1] for limit in (1, 10, 100)),
        *(curves(100, area, thresholds)[1] for area in ranges[1:]),
    ]


def _match(
    cell: tuple[list[Json], list[Json]],
    iou: list[list[float]],
    threshold: float,
    area: tuple[float, float],
) -> tuple[list[tuple[float, bool | None]], int]:
    """(score, right, wrong = False, ignored = None) of each prediction, and the number of objects that count."""
    objects, found = cell
    out = [g["crowd"] or not area[0] <= g["area"] <= area[1] for g in objects]
    taken: set[int] = set()
    outcome: list[tuple[float, bool | None]] = []
    for k, d in enumerate(found):
        best = None
        for wanted in (False, True):
            for n in range(len(objects)):
                free = n not in taken or objects[n]["crowd"]
                good = iou[k][n] >= min(threshold, 1 - 1e-10)
                if (
                    out[n] == wanted
                    and free
                    and good
                    and (best is None or iou[k][n] >= iou[k][best])
                ):
                    best = n
            if best is not None:
                break
        if best is None or objects[best]["id"] == 0:
            if best is not None:
                taken.add(best)
            unmatched: bool | None = False if area[0] <= d["area"] <= area[1] else None
            if best is not None and out[best]:
                unmatched = None
            outcome.append((d["score"], unmatched))
        else:
            taken.add(best)
            outcome.append((d["score"], None if out[best] else True))
    return outcome, out.count(False)


def _curve(outcome: list[tuple[float, bool | None]], count: int) -> tuple[list[float], float]:
    """Precision at 101 recall points, and the last recall."""
    outcome = sorted(outcome, key=lambda o: -o[0])
    hits = wrong = 0
    points = []
    for _, right in outcome:
        hits += right is True
        wrong += right is False
        points.append((hits / count, hits / (hits + wrong + np.spacing(1))))
    precision = [
        max((p for recall, p in points if recall >= r), default=0.0) for r in np.linspace(0, 1, 101)
    ]
    return precision, points[-1][0] if points else 0.0
