"""Random ground truth and results in YouTube-VIS format, with everything that makes evaluators differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Json = dict[str, Any]
Mask = NDArray[np.bool_]


def rle(mask: Mask) -> Json:
    """Compressed, as in a result file."""
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode("ascii")}


def counts(mask: Mask) -> Json:
    """Uncompressed, as in the official annotations."""
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def polygon(x: int, y: int, w: int, h: int) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x + 0.5, y + h]]


def blob(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """A box or an ellipse somewhere, perhaps half outside."""
    height, width = size
    cy, cx = rng.uniform(0, height), rng.uniform(0, width)
    ry, rx = rng.uniform(2, height / 2), rng.uniform(2, width / 2)
    y, x = np.mgrid[:height, :width]
    dy, dx = np.abs(y - cy) / ry, np.abs(x - cx) / rx
    inside: Mask = (dy < 1) & (dx < 1) if rng.random() < 0.5 else dy**2 + dx**2 < 1
    return inside


def moved(mask: Mask, rng: np.random.Generator, step: int) -> Mask:
    shift = rng.integers(-step, step + 1, 2)
    return np.roll(mask, shift, (0, 1))


def random_set(
    seed: int,
    videos: int = 4,
    frames: int = 5,
    categories: int = 4,
    tracks: int = 4,
    damage: bool = True,
) -> tuple[Json, list[Json]]:
    """A ground truth and results that partly fit it.

    Args:
        seed: the same seed, the same set.
        videos, frames, categories: how many.
        tracks: about how many objects per video.
        damage: also lists of other lengths, masks of other sizes and annotation ids from 0, which a strict
            reader refuses.
    """
    rng = np.random.default_rng(seed)
    truth: Json = {
        "videos": [],
        "categories": [{"id": 3 * c + 1, "name": f"class {c}"} for c in range(categories)],
        "annotations": [],
    }
    results: list[Json] = []
    ids = [c["id"] for c in truth["categories"]]
    in_truth, in_results = ids[: max(1, categories - 1)], ids[min(1, categories - 1) :]
    start = int(rng.integers(0, 2)) if damage else 1
    for v in range(videos):
        size = (int(rng.integers(20, 60)), int(rng.integers(20, 60)))
        length = int(rng.integers(1, frames + 1))
        video = {"id": 5 * v + 2, "height": size[0], "width": size[1], "length": length}
        truth["videos"].append({**video, "file_names": [f"{v}/{t}.jpg" for t in range(length)]})
        for _ in range(int(rng.integers(0, tracks + 1))):
            masks = _track(rng, size, length)
            category = int(rng.choice(in_truth))
            annotation = _annotation(rng, masks, size)
            annotation |= {"id": len(truth["annotations"]) + start, "video_id": video["id"]}
            truth["annotations"].append(annotation | {"category_id": category})
            for _ in range(int(rng.integers(0, 4))):
                step = int(rng.choice([0, 1, 3, 12]))
                seen = [
                    None if m is None or rng.random() < 0.1 else moved(m, rng, step) for m in masks
                ]
                label = category if rng.random() < 0.8 else int(rng.choice(in_results))
                results.append(_result(rng, video["id"], label, seen, damage))
        for _ in range(int(rng.integers(0, 3))):
            label = int(rng.choice(in_results))
            results.append(_result(rng, video["id"], label, _track(rng, size, length), damage))
    rng.shuffle(results)  # type: ignore[arg-type]
    return truth, results


def _track(rng: np.random.Generator, size: tuple[int, int], length: int) -> list[Mask | None]:
    mask = blob(rng, size)
    return [None if rng.random() < 0.2 else moved(mask, rng, 2) for _ in range(length)]


def _annotation(rng: np.random.Generator, masks: list[Mask | None], size: tuple[int, int]) -> Json:
    kind = rng.integers(0, 3)
    if kind == 0:
        boxes = [
            (*rng.integers(0, 10, 2).tolist(), *rng.integers(3, 15, 2).tolist()) for _ in masks
        ]
        shapes = [None if m is None else polygon(*box) for m, box in zip(masks, boxes, strict=True)]
        full = [
            None
            if s is None
            else coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(s, *size)))
            for s in shapes
        ]
        segmentations: list[Any] = list(shapes)
    else:
        full = list(masks)
        write = counts if kind == 1 else rle
        segmentations = [None if m is None else write(m) for m in masks]
    # The file's areas are what counts, right or wrong: some lie exactly on the edges of the ranges.
    areas = [None if m is None else int(m.sum()) for m in full]
    scale = float(rng.choice([1, 1, 40, 200]))
    areas = [None if a is None else a * scale for a in areas]
    if rng.random() < 0.3:
        edge = int(rng.choice([128**2, 256**2]))
        areas = [None if a is None else edge for a in areas]
    return {
        "segmentations": segmentations,
        "areas": areas,
        "bboxes": [
            None if m is None else coco_mask.toBbox(rle(m.astype(bool))).tolist() for m in full
        ],
        "iscrowd": int(rng.random() < 0.15),
        "occlusion": [
            None
            if m is None
            else str(rng.choice(["no_occlusion", "slight_occlusion", "severe_occlusion"]))
            for m in full
        ],
    }


def _result(
    rng: np.random.Generator,
    video: int,
    category: int,
    masks: list[Mask | None],
    damage: bool,
) -> Json:
    segmentations = [None if m is None else rle(m) for m in masks]
    if damage and rng.random() < 0.1:
        segmentations = segmentations[: int(rng.integers(0, len(masks) + 1))]
    elif damage and rng.random() < 0.1:
        segmentations += [rle(np.ones((4, 5), bool))]
    elif damage and rng.random() < 0.15:
        k = int(rng.integers(0, len(masks)))
        mask = masks[k]
        segmentations[k] = rle(np.ones((7, 9), bool) if mask is None else mask.T)
    elif rng.random() < 0.05:
        segmentations = [None] * len(masks)
    # Few different scores: many ties.
    score = float(rng.choice([0.1, 0.5, 0.5, 0.9, rng.random()]))
    return {
        "video_id": video,
        "category_id": category,
        "score": score,
        "segmentations": segmentations,
    }
