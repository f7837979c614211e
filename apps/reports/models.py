"""``make model-report``: the figures of one model, from the application itself, into docs/model_report.json."""

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

from sipvideo.apps import command, flags
from sipvideo.errors import SinkError

if TYPE_CHECKING:
    from sipvideo.evaluation.files import Json
    from sipvideo.pipeline import VideoSegmenter
    from sipvideo.structures import FrameResult

FOUND = 0.5
"""Least IoU at which a track is said to show the object."""

DAVIS_FPS = 24.0
"""The frame rate of the sequences; their annotation file does not say it."""

RANKED = ("postprocess.score_threshold=0.05", "postprocess.max_detections=100")
"""What average precision is measured with; everything else with the model's own settings."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/models.py",
        description="Scores a model on COCO pictures (coco/instances.json, split val2017), on sequences of DAVIS "
        "with one annotated object each (davis/instances.json, YouTube-VIS format), and tells how much it reports "
        "on clips without labels (clips/*.mp4), with the application itself.",
    )
    parser.add_argument("data", metavar="DIR", type=Path, help="folder with coco/, davis/, clips/")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="also write the figures there, beside those of other models",
    )
    parser.add_argument(
        "--pictures",
        metavar="FOLDER:SPLIT",
        default="coco:val2017",
        help="pictures that are scored; default: coco:val2017, the test set",
    )
    parser.add_argument(
        "--scenes", metavar="JSON", type=Path, help="rendered videos for the embeddings' retrieval"
    )
    flags.add_weights_flag(parser)
    flags.add_set_flag(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes the figures."""
    command.require_opencv()
    from sipvideo.build import load, packaged_weights
    from sipvideo.engine.host import HostEngine

    weights = Path(args.weights or packaged_weights(args.model))
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    rules = args.overrides
    ready = load(weights=args.weights, model=args.model, overrides=rules)
    ranked = load(weights=args.weights, model=args.model, overrides=[*rules, *RANKED])
    assert isinstance(ready.engine, HostEngine)
    config = ready.engine.config
    folder, _, split = args.pictures.partition(":")
    figures: Json = {"input": max(config.input.size)}
    threshold = config.postprocess.score_threshold
    figures |= on_pictures(args.data / folder / "instances.json", split or None, ranked, threshold)
    figures |= on_davis(args.data / "davis" / "instances.json", ready)
    clips = sorted((args.data / "clips").glob("*.mp4"))
    figures["reports_per_frame"] = {clip.stem: reports_per_frame(clip, ready) for clip in clips}
    if args.scenes:
        figures |= on_scenes(args.scenes, ready)
    figures["megabytes"] = weights.stat().st_size / 1e6
    print(json.dumps(_rounded(figures), indent=2))
    if args.output:
        kept(args.output, config.name.removeprefix("sipmask_"), figures)
    return 0


def on_pictures(path: Path, split: str | None, ranked: VideoSegmenter, threshold: float) -> Json:
    """Average precisions at score threshold 0.05 and 100 detections, against the annotations as they are.

    Args:
        path: annotation file in COCO's format.
        split: its pictures that count.
        ranked: the model with that threshold.
        threshold: the model's own, for precision and recall.
    """
    from sipvideo.data.instances import AnnotationFile
    from sipvideo.evaluation import evaluate_pictures, operating_point

    file = AnnotationFile.load(path)
    results = found_on(file, split, ranked)
    ids = [image["id"] for image in file.entries(split)]
    masks = evaluate_pictures(file.content, results, "segm", image_ids=ids)
    boxes = evaluate_pictures(file.content, results, "bbox", image_ids=ids)
    names = [one.name for one in masks.classes]
    person = names.index("person")
    point = operating_point(file.content, results, threshold, "bbox", ids)
    masked = operating_point(file.content, results, threshold, "segm", ids)
    return {
        "box_ap": boxes.ap,
        "box_ap50": boxes.ap50,
        "mask_ap": masks.ap,
        "mask_ap50": masks.ap50,
        "mask_ap75": masks.ap75,
        "mask_ap_small": masks.ap_small,
        "mask_ap_medium": masks.ap_medium,
        "mask_ap_large": masks.ap_large,
        "person_box_ap": boxes.classes[person].ap,
        "person_box_ap50": boxes.classes[person].ap50,
        "person_mask_ap": masks.classes[person].ap,
        "person_mask_ap50": masks.classes[person].ap50,
        "score_threshold": threshold,
        "precision": point.precision,
        "recall": point.recall,
        "mask_precision": masked.precision,
        "mask_recall": masked.recall,
    }


def found_on(file: Any, split: str | None, model: VideoSegmenter) -> list[Json]:
    """All detections on the pictures of an :class:`AnnotationFile`, as COCO's results with ``"mask_score"``."""
    from sipvideo.data import CocoPictures
    from sipvideo.structures import Frame

    category = {one["name"]: one["id"] for one in file.content["categories"]}
    pictures = CocoPictures(file, split=split)
    results: list[Json] = []
    for index, image in enumerate(file.entries(split)):
        found = model.segment(Frame(pictures[index].image, 0, 0.0))
        mask_scores = found.scores if found.mask_scores is None else found.mask_scores
        for k, label in enumerate(found.labels.tolist()):
            x0, y0, x1, y1 = found.boxes[k].tolist()
            results.append(
                {
                    "image_id": image["id"],
                    "category_id": category[model.class_names[label]],
                    "score": float(found.scores[k]),
                    "mask_score": float(mask_scores[k]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": found.masks.rle(k),
                }
            )
    return results


def on_davis(path: Path, model: VideoSegmenter) -> Json:
    """Overlap of the annotated object's best track, and how often its identity changed."""
    from sipvideo.data import YouTubeVis
    from sipvideo.evaluation import YTVOS

    truth = YTVOS(path)
    data = YouTubeVis(path)
    sequences: dict[str, Json] = {}
    for video in data.videos:
        (annotation,) = truth.loadAnns(truth.getAnnIds(vidIds=[video.id]))
        if truth.cats[annotation["category_id"]]["name"] not in model.class_names:
            continue
        wanted = (truth.annToRLE(annotation, index) for index in range(video.length))
        seconds = tuple(index / DAVIS_FPS for index in range(video.length))
        frames = data.frames(dataclasses.replace(video, seconds=seconds))
        table, ids = track_overlaps(model.run(frames), wanted)
        # Absent tracks overlap by 0.
        overlap = float(table.mean(0).max()) if len(ids) else 0.0
        best = [ids[row.argmax()] for row in table if row.size and row.max() >= FOUND]
        switches = sum(a != b for a, b in pairwise(best))
        name = video.file_names[0].split("/")[0]
        sequences[name] = {"iou": overlap, "switches": switches}
        print(f"{name:16} IoU {overlap:.3f}, {switches} identity switches", flush=True)
    return {
        "davis_iou": mean(one["iou"] for one in sequences.values()),
        "davis_switches": mean(one["switches"] for one in sequences.values()),
        "davis": sequences,
    }


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


def reports_per_frame(clip: Path, model: VideoSegmenter) -> Json:
    """Objects that a user is shown per frame of a clip, and those of them that have an identity."""
    from sipvideo.sources import open_source

    counts = [
        (len(result.track_ids), int((result.track_ids >= 0).sum()))
        for result in model.run(open_source(str(clip)))
    ]
    reports, tracked = np.mean(counts, axis=0).tolist()
    return {"reports": reports, "tracked": tracked}


def on_scenes(path: Path, model: VideoSegmenter) -> Json:
    """How often an embedding finds its object among those of its class in another frame."""
    from sipvideo.data import YouTubeVis
    from sipvideo.evaluation.retrieval import retrieval, sightings, video_views

    data = YouTubeVis(path, classes=model.class_names)
    found = retrieval(sightings(model.segment, video_views(data, every=6)))
    return {
        "retrieval_rank1": found.same_class.rank1,
        "retrieval_rank1_scene": found.same_scene.rank1,
    }


def _rounded(figures: Json) -> Json:
    return {
        key: _rounded(value) if isinstance(value, dict) else round(value, 4)
        for key, value in figures.items()
    }


def kept(path: Path, name: str, figures: Json) -> None:
    """Writes a model's figures beside those of others that the file has."""
    try:
        old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        models = {k: v for k, v in old.items() if isinstance(v, dict)}
        text = json.dumps({**models, name: _rounded(figures)}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")
    except (OSError, ValueError, AttributeError) as error:
        raise SinkError(f"{path}: cannot keep the figures: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
