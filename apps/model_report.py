"""``make model-report``: the default model's figures, from the packaged weights, as docs/model_report.json."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.apps import command
from sipvideo.errors import SinkError

if TYPE_CHECKING:
    from sipvideo.structures import FrameResult

FOUND = 0.5
"""Least IoU at which a track is said to show the object."""

SPLIT = "val2017"

DAVIS_FPS = 24.0
"""The frame rate of the sequences; their annotation file does not say it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="apps/model_report.py",
        description="Scores a model on COCO pictures (coco/instances.json, split val2017) and on sequences of DAVIS "
        "with one annotated object each (davis/instances.json, YouTube-VIS format), with the application itself.",
    )
    parser.add_argument("data", metavar="DIR", type=Path, help="folder that holds coco/ and davis/")
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="also write the figures there"
    )
    command.add_weights_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes the figures."""
    command.require_opencv()
    from sipvideo.build import packaged_weights

    weights = Path(args.weights or packaged_weights(args.model))
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    figures = _on_pictures(args.data / "coco" / "instances.json", weights)
    figures |= _on_davis(args.data / "davis" / "instances.json", weights)
    figures["megabytes"] = weights.stat().st_size / 1e6
    text = json.dumps({k: round(v, 4) for k, v in figures.items()}, indent=2)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    return 0


def _on_pictures(path: Path, weights: Path) -> dict[str, float]:
    """Average precisions at score threshold 0.05 and 100 detections, against the annotations as they are."""
    import sipvideo
    from sipvideo.data import CocoPictures
    from sipvideo.data.instances import AnnotationFile
    from sipvideo.evaluation import evaluate_pictures
    from sipvideo.structures import Frame

    rules = ["postprocess.score_threshold=0.05", "postprocess.max_detections=100"]
    segmenter = sipvideo.load(weights=weights, overrides=rules)
    content = AnnotationFile.load(path).content
    ids = [image["id"] for image in content["images"] if image.get("split") == SPLIT]
    category = {one["name"]: one["id"] for one in content["categories"]}
    results: list[dict[str, Any]] = []
    pictures = CocoPictures(path, split=SPLIT)
    for index, image_id in enumerate(ids):
        found = segmenter.segment(Frame(pictures[index].image, 0, 0.0))
        mask_scores = found.scores if found.mask_scores is None else found.mask_scores
        for k, label in enumerate(found.labels.tolist()):
            x0, y0, x1, y1 = found.boxes[k].tolist()
            results.append(
                {
                    "image_id": image_id,
                    "category_id": category[segmenter.class_names[label]],
                    "score": float(found.scores[k]),
                    "mask_score": float(mask_scores[k]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": found.masks.rle(k),
                }
            )
    masks = evaluate_pictures(content, results, "segm", image_ids=ids)
    boxes = evaluate_pictures(content, results, "bbox", image_ids=ids)
    person = next(one for one in masks.classes if one.name == "person")
    return {
        "box_ap": boxes.ap,
        "box_ap50": boxes.ap50,
        "mask_ap": masks.ap,
        "mask_ap50": masks.ap50,
        "mask_ap75": masks.ap75,
        "mask_ap_small": masks.ap_small,
        "mask_ap_medium": masks.ap_medium,
        "mask_ap_large": masks.ap_large,
        "person_mask_ap": person.ap,
        "person_mask_ap50": person.ap50,
    }


def _on_davis(path: Path, weights: Path) -> dict[str, float]:
    """Overlap of the annotated object's best track, and how often its identity changed."""
    import sipvideo
    from sipvideo.data import YouTubeVis
    from sipvideo.evaluation import YTVOS

    truth = YTVOS(path)
    segmenter = sipvideo.load(weights=weights)
    data = YouTubeVis(path)
    overlaps, switches = [], []
    for video in data.videos:
        (annotation,) = truth.loadAnns(truth.getAnnIds(vidIds=[video.id]))
        if truth.cats[annotation["category_id"]]["name"] not in segmenter.class_names:
            continue
        wanted = (truth.annToRLE(annotation, index) for index in range(video.length))
        seconds = tuple(index / DAVIS_FPS for index in range(video.length))
        frames = data.frames(dataclasses.replace(video, seconds=seconds))
        table, ids = track_overlaps(segmenter.run(frames), wanted)
        # Absent tracks overlap by 0.
        overlaps.append(float(table.mean(0).max()) if len(ids) else 0.0)
        best = [ids[row.argmax()] for row in table if row.size and row.max() >= FOUND]
        switches.append(sum(a != b for a, b in pairwise(best)))
        name = video.file_names[0].split("/")[0]
        print(f"{name:16} IoU {overlaps[-1]:.3f}, {switches[-1]} identity switches", flush=True)
    return {"davis_iou": mean(overlaps), "davis_switches": mean(switches)}


def track_overlaps(
    results: Iterator[FrameResult], wanted: Iterator[Any]
) -> tuple[NDArray[np.float64], list[int]]:
    """IoU of every track with one object's masks: float64 [frames, tracks], and the tracks' ids."""
    from pycocotools import mask as coco_mask

    rows: list[dict[int, float]] = []
    for result, rle in zip(results, wanted, strict=True):
        tracked = [k for k, track_id in enumerate(result.track_ids.tolist()) if track_id >= 0]
        masks = [result.detections.masks.rle(k) for k in tracked]
        found = coco_mask.iou(masks, [rle], [0])[:, 0] if masks else []
        rows.append(
            {int(result.track_ids[k]): float(v) for k, v in zip(tracked, found, strict=True)}
        )
    ids = sorted({track_id for row in rows for track_id in row})
    return np.array([[row.get(k, 0.0) for k in ids] for row in rows]).reshape(len(rows), -1), ids


if __name__ == "__main__":
    sys.exit(main())
