"""Average precision by how long objects are in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sipvideo.evaluation.files import Json
from sipvideo.evaluation.matching import curve, match
from sipvideo.evaluation.ytvoseval import YTVOSeval

LENGTHS: dict[str, tuple[int, int | None]] = {
    "short": (1, 10),
    "medium": (11, 25),
    "long": (26, None),
}
"""Annotated frames in which an object is present, both ends inclusive."""


@dataclass(frozen=True)
class LengthScore:
    """AP of objects of one range of lengths, -1 without any; what they are, and how many."""

    frames: tuple[int, int | None]
    objects: int
    ap: float


def precision_by_length(evaluation: YTVOSeval) -> dict[str, LengthScore]:
    """AP by track length, with the rules of AP by area: predictions of other lengths are ignored unless they match.

    Args:
        evaluation: after ``evaluate()``, with categories. Nothing is compared again.
    """
    p = evaluation.params
    cells: dict[Any, list[list[Json]]] = {c: [[] for _ in LENGTHS] for c in p.catIds}
    size = len(p.areaRng) * len(p.occRng) * len(p.vidIds)
    for k, category in enumerate(p.catIds):
        for record in evaluation.evalVids[k * size : k * size + len(p.vidIds)]:
            if record is not None:
                for rows, row in zip(cells[category], _records(evaluation, record), strict=True):
                    rows.append(row)
    scores = {}
    for n, (name, frames) in enumerate(LENGTHS.items()):
        found = [curve(cells[c][n], p.maxDets[-1], p.recThrs) for c in p.catIds]
        precision = [values[0].mean() for values in found if values is not None]
        objects = sum(int((e["gtIgnore"] == 0).sum()) for c in p.catIds for e in cells[c][n])
        scores[name] = LengthScore(
            frames, objects, float(np.mean(precision)) if precision else -1.0
        )
    return scores


def _records(evaluation: YTVOSeval, record: Json) -> list[Json]:
    """One cell's matches for each range of lengths."""
    p = evaluation.params
    video, category = record["video_id"], record["category_id"]
    objects = [
        g for g in evaluation.cocoGt.vidToAnns.get(video, ()) if g["category_id"] == category
    ]
    found = [evaluation.cocoDt.anns[key] for key in record["dtIds"]]
    key = "segmentations" if p.iouType == "segm" else "bboxes"
    lengths, found_lengths = (
        np.array([sum(map(bool, track[key])) for track in tracks]) for tracks in (objects, found)
    )
    crowd = np.array([bool(g.get("iscrowd", 0)) for g in objects], bool)
    bounds = [(low, np.inf if high is None else high) for low, high in LENGTHS.values()]
    ignore = np.array([crowd | (lengths < low) | (lengths > high) for low, high in bounds])
    outside = np.array([(found_lengths < low) | (found_lengths > high) for low, high in bounds])
    matches = match(
        np.asarray(evaluation.ious[video, category]).reshape(len(found), len(objects)),
        np.asarray(p.iouThrs, float),
        record["dtIds"],
        range(1, len(objects) + 1),
        (crowd, ignore, outside),
    )
    return [
        {
            "dtScores": record["dtScores"],
            "dtMatches": matches.predictions[n],
            "dtIgnore": matches.ignored[n],
            "gtIgnore": ignore[n].astype(int),
        }
        for n in range(len(LENGTHS))
    ]
