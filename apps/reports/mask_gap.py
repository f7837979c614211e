"""``python apps/reports/mask_gap.py``: where mask precision is lost, by making one thing perfect at a time.

Each row of the table is the model's own detections with one cause of loss taken away, scored as always. Detections
that show no annotated object keep their masks; so a row says what that cause alone is worth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports.mask_causes import Picture, look, quality, variants

if TYPE_CHECKING:
    from sipvideo.engine.host import HostEngine
    from sipvideo.evaluation.files import Json

SIZES = (32**2, 96**2)
"""Areas at which COCO's medium and large objects begin."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/mask_gap.py", description=__doc__)
    parser.add_argument("data", metavar="JSON", type=Path, help="pictures with masks, COCO format")
    parser.add_argument("--split", metavar="NAME", help="pictures that count")
    parser.add_argument(
        "--labelled",
        metavar="NAME",
        nargs="+",
        default=[],
        help="pictures in which these classes were annotated; only they count",
    )
    parser.add_argument("--limit", type=flags.count, metavar="N", help="the first N pictures")
    flags.add_weights_flag(parser)
    flags.add_set_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures and prints one row per cause."""
    command.require_opencv()
    import sipvideo
    from sipvideo.engine.host import HostEngine

    rules = ["postprocess.score_threshold=0.05", "postprocess.max_detections=100", *args.overrides]
    video = sipvideo.load(weights=args.weights, model=args.model, overrides=rules)
    assert isinstance(video.engine, HostEngine)
    rows = measure(video.engine, video.class_names, args)
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


def measure(
    engine: HostEngine, class_names: Sequence[str], args: argparse.Namespace
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
    chosen = [
        (index, entry["id"])
        for index, entry in enumerate(file.entries(args.split))
        if wanted <= set(entry.get("labelled_categories", wanted))
    ][: args.limit]
    results: dict[str, list[Json]] = {}
    overlaps: dict[str, list[tuple[float, float]]] = {}
    for index, image_id in chosen:
        picture = look(engine, pictures[index], labels)
        ids = [category[class_names[label]] for label in picture.labels.tolist()]
        for name, masks in variants(picture):
            rles = [masks.rle(k) for k in range(len(masks))]
            iou = _true_overlaps(picture, rles)
            overlaps.setdefault(name, []).extend(_of_objects(picture, iou))
            ranks = _rankings(picture, iou) if name == "as it is" else {}
            for row, values in {name: picture.scores * quality(picture), **ranks}.items():
                found = _results(picture, rles, values)
                for one, category_id in zip(found, ids, strict=True):
                    one |= {"image_id": image_id, "category_id": category_id}
                results.setdefault(row, []).extend(found)
    image_ids, categories = [image_id for _, image_id in chosen], [category[n] for n in counted]
    truth = file.content
    boxes = evaluate_pictures(truth, results["as it is"], "bbox", image_ids, categories)
    table = {"boxes": boxes.to_json()}
    for name, found in results.items():
        table[name] = evaluate_pictures(truth, found, "segm", image_ids, categories).to_json()
    for name, pairs in overlaps.items():
        table[name]["iou"] = _by_size(np.array(pairs).reshape(-1, 2))
    print(f"{len(chosen)} pictures, {len(overlaps['as it is'])} objects found")
    return table


def _rankings(picture: Picture, iou: list[float]) -> dict[str, Any]:
    """What masks could be ranked by: row name to values [N]."""
    return {
        "ranked by score alone": picture.scores,
        "ranked by score and true IoU": picture.scores * np.array(iou),
        "ranked by true IoU": np.array(iou),
    }


def _results(picture: Picture, rles: list[Json], ranks: Any) -> list[Json]:
    """Detections as COCO's results, still without picture and category."""
    corners, sizes = picture.boxes[:, :2], picture.boxes[:, 2:] - picture.boxes[:, :2]
    rows = zip(corners, sizes, rles, picture.scores, ranks, strict=True)
    return [
        {
            "bbox": [*corner.tolist(), *size.tolist()],
            "segmentation": rle,
            "score": float(score),
            "mask_score": float(rank),
        }
        for corner, size, rle, score, rank in rows
    ]


def _of_objects(picture: Picture, iou: list[float]) -> list[tuple[float, float]]:
    """Area of each object that was found and the overlap of its best detection, the first one."""
    best: dict[int, float] = {}
    for k, shown in enumerate(picture.shown.tolist()):
        if shown >= 0:
            best.setdefault(shown, iou[k])
    areas = picture.truth.masks.areas()
    return [(float(areas[shown]), value) for shown, value in best.items()]


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
