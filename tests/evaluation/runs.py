"""Shared by the tests: evaluations run silently, stored cases, a small exact scene."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.evaluation import YTVOS, YTVOSeval
from sipvideo.evaluation.cells import Params
from tests.evaluation.sets import Json, rle

SIZE = (40, 60)


def stored(name: str) -> Any:
    path = Path(__file__).parents[1] / "fixtures" / name
    return json.loads(gzip.decompress(path.read_bytes()))


def run(
    truth: Json,
    results: list[Json],
    kind: str = "segm",
    mode: Any = "compat",
    change: Callable[[Params], None] | None = None,
    api: type[YTVOSeval] = YTVOSeval,
) -> YTVOSeval:
    """The published way of calling, with whatever it prints thrown away."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth_api = YTVOS(truth)
        evaluation = api(truth_api, truth_api.loadRes(results), kind, mode=mode)
        if change:
            change(evaluation.params)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def box(x: int, y: int = 5, w: int = 10, h: int = 10) -> Json:
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return rle(mask)


def two_objects(frames: int = 8) -> Json:
    """One video in which two objects of one class stay apart."""
    rows = [[box(5 + t) for t in range(frames)], [box(5 + t, 25) for t in range(frames)]]
    return {
        "videos": [
            {
                "id": 7,
                "height": SIZE[0],
                "width": SIZE[1],
                "length": frames,
                "file_names": [f"{t:05d}.jpg" for t in range(frames)],
            }
        ],
        "categories": [{"id": 4, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {
                "id": n,
                "video_id": 7,
                "category_id": 4,
                "iscrowd": 0,
                "segmentations": row,
                "areas": [100] * frames,
                "bboxes": [[5 + t, 5 if n == 1 else 25, 10, 10] for t in range(frames)],
            }
            for n, row in enumerate(rows, 1)
        ],
    }


def perfect(truth: Json, score: float = 0.9) -> list[Json]:
    """What a detector that makes no mistake gives."""
    return [
        {
            "video_id": a["video_id"],
            "category_id": a["category_id"],
            "score": score,
            "segmentations": copy.deepcopy(a["segmentations"]),
        }
        for a in truth["annotations"]
    ]


def swapped(results: list[Json], at: int) -> list[Json]:
    """The first two tracks exchange their masks from frame ``at`` on."""
    result = copy.deepcopy(results)
    first, second = (r["segmentations"] for r in result[:2])
    first[at:], second[at:] = second[at:], first[at:]
    return result
