"""What corrections are worth in figures: a run before and after them, a model on annotated pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sipvideo.annotations import Json
from sipvideo.engine import Engine
from sipvideo.errors import DatasetError
from sipvideo.evaluation import YTVOS
from sipvideo.evaluation.pictures import evaluate_pictures
from sipvideo.evaluation.replay import compared
from sipvideo.pictures import decode
from sipvideo.results_reader import SavedRun
from sipvideo.structures import Frame, FrameResult
from sipvideo.studio.document import Document

Progress = Callable[[float, str], None]
"""Is told which share is done, 0 to 1, and what is done now; raises to end it."""


def score(document: Document, truth: Path | None, progress: Progress) -> Json:
    """Tracking figures of the run before and after its edits, all classes as one.

    Args:
        document: the run with its edits.
        truth: annotations in YouTube-VIS format, one video as long as the run or named as it; None: the edits are the
            truth, and what is after them is right by definition.
        progress: is told how far it is.

    Returns:
        ``{"truth": "annotations" | "edits", "before": {...}, "after": {...}}``: hota, det_a, ass_a, idf1, id_switches.

    Raises:
        DatasetError: the annotations cannot be read, or hold no such video.
    """
    count = document.table.frame_count
    height, width = document.table.size(0)
    before = _tracks(SavedRun(document.folder).results(), count, lambda s: progress(s / 3, "run"))
    after = _tracks(document.results(), count, lambda s: progress((1 + s) / 3, "edits"))
    right = after if truth is None else _annotated(truth, document.folder.name, count)
    shape = height, width, count
    figures = {}
    for name, found in (("before", before), ("after", after)):
        progress(0.7 if name == "before" else 0.85, "figures")
        scores = compared(right, found, shape).scores()
        names = ("hota", "det_a", "ass_a", "idf1", "id_switches")
        figures[name] = {key: round(float(getattr(scores, key)), 4) for key in names}
    return {"truth": "edits" if truth is None else "annotations", **figures}


def _tracks(
    results: Iterator[FrameResult], count: int, progress: Callable[[float], None]
) -> list[list[Json | None]]:
    """One row of masks by frame for each identity."""
    found: dict[int, list[Json | None]] = {}
    for n, result in enumerate(results):
        for k, track_id in enumerate(result.track_ids.tolist()):
            if track_id >= 0:
                row = found.setdefault(track_id, [None] * count)
                row[n] = result.detections.masks.rle(k)
        if n % 50 == 0:
            progress(n / count)
    return [found[key] for key in sorted(found)]


def _annotated(path: Path, name: str, count: int) -> list[list[Json | None]]:
    """The tracks of the video of that name, or of the only one that is as long."""
    file = YTVOS(path)
    videos = [v for v in file.vids.values() if int(v["length"]) == count]
    named = [v for v in videos if name in str(v["file_names"][0])]
    chosen = named or videos
    if len(chosen) != 1:
        raise DatasetError(
            f"{path}: expected one video of {count} frames, or one named {name!r}; found {len(chosen)}"
        )
    return [one["segmentations"] for one in file.vidToAnns[chosen[0]["id"]]]


def precision(engine: Engine, names: Sequence[str], annotations: Path, progress: Progress) -> Json:
    """Average precision of masks and boxes on annotated pictures, and their number.

    Args:
        engine: with a low threshold of scores.
        names: its classes in label order; classes that the annotations do not have do not count.
        annotations: in COCO's format, file names relative to it or below ``images`` beside it.
        progress: is told how far it is.

    Raises:
        DatasetError: annotations or pictures cannot be read.
    """
    try:
        content = json.loads(annotations.read_text("utf-8"))
        ids = {one["name"]: one["id"] for one in content["categories"]}
        images = [(int(one["id"]), str(one["file_name"])) for one in content["images"]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(f"{annotations}: no annotations in COCO's format: {error}") from error
    results: list[Json] = []
    for k, (number, name) in enumerate(images):
        image = decode(_file_of(annotations, name).read_bytes()).upright
        found = engine.detect([Frame(image, k, 0.0)])[0]
        ranks = found.scores if found.mask_scores is None else found.mask_scores
        for row, label in enumerate(found.labels.tolist()):
            if names[label] not in ids:
                continue
            x0, y0, x1, y1 = found.boxes[row].tolist()
            results.append(
                {
                    "image_id": number,
                    "category_id": ids[names[label]],
                    "score": float(found.scores[row]),
                    "mask_score": float(ranks[row]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": found.masks.rle(row),
                }
            )
        progress((k + 1) / len(images), "measuring")
    mask, box = (evaluate_pictures(content, results, kind) for kind in ("segm", "bbox"))
    return {"mask_ap": round(mask.ap, 4), "box_ap": round(box.ap, 4), "pictures": len(images)}


def _file_of(annotations: Path, name: str) -> Path:
    """A picture by its name in an annotation file: beside it or below. Raises DatasetError."""
    folder = annotations.parent
    for place in (folder / name, folder / "images" / name):
        if place.is_file():
            return place
    found = next(folder.rglob(Path(name).name), None)
    if found is None:
        raise DatasetError(f"{annotations}: its picture {name} is not beside it")
    return found
