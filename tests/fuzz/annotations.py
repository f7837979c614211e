"""Annotation and result files: COCO, YouTube-VIS, OVIS and results, with wrong types, numbers, ids and texts."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from sipvideo.apps.main import main as sipvideo
from tests.data import sets
from tests.fuzz import engines
from tests.fuzz.case import FUNCTION, Case
from tests.fuzz.mutate import Rng, choose, json_bytes, mutated_tree

Json = dict[str, Any]
LENGTHS = (3, 2)
SKETCH = ["--resamples", "0", "--no-html"]


def youtube_vis() -> Json:
    """Two videos of three and two frames, with every form of mask."""
    return sets.content(LENGTHS)


def ovis() -> Json:
    """The same as OVIS has it: levels of occlusion, dates, polygons."""
    content = sets.content(LENGTHS)
    content |= {"info": {"year": 2021}, "licenses": [{"id": 1, "name": "x", "url": ""}]}
    for video in content["videos"]:
        video |= {"coco_url": "", "flickr_url": "", "date_captured": "2021", "license": 1}
    for annotation in content["annotations"]:
        length = len(annotation["segmentations"])
        annotation |= {"occlusion": ["no_occlusion"] * length, "height": 48, "width": 64}
    first = content["annotations"][0]["segmentations"]
    first[-1] = [[10.0, 10.0, 30.5, 10.0, 30.0, 25.0, 10.0, 25.0]]
    return content


def coco() -> Json:
    """Three pictures with polygons, run lengths of both forms, a crowd and a box alone."""
    images = [
        {"id": 4 + k, "file_name": f"{k}.png", "height": 48, "width": 64, "split": "train"}
        for k in range(3)
    ]
    polygon = [[5.0, 5.0, 30.0, 6.0, 28.5, 30.0, 6.0, 29.0], [40, 40, 50, 40, 45, 46]]
    masks = (polygon, sets.compressed(sets.truth(0, 1)[0]), sets.uncompressed(sets.truth(0, 0)[0]))
    annotations = [
        {
            **{"id": k + 1, "image_id": 4 + k % 3, "category_id": 3 + 4 * (k % 2)},
            **{"segmentation": masks[k % 3], "bbox": [5.0, 5.0, 25.0, 25.0], "area": 600.0},
            "iscrowd": int(k == 2),
        }
        for k in range(5)
    ]
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat", "supercategory": "animal"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def results(truth: Json) -> list[Json]:
    """Perfect results of a set of videos, masks as evaluation servers want them."""
    return [
        {
            **{"score": 0.9 - 0.1 * k, "video_id": a["video_id"], "category_id": a["category_id"]},
            "segmentations": [_compressed(mask) for mask in a["segmentations"]],
        }
        for k, a in enumerate(truth["annotations"])
    ]


def _compressed(mask: Any) -> Any:
    if mask is None or (isinstance(mask, dict) and isinstance(mask["counts"], str)):
        return mask
    made = coco_mask.frPyObjects(mask, *sets.SIZE)
    made = coco_mask.merge(made) if isinstance(made, list) else made
    return {"size": list(sets.SIZE), "counts": made["counts"].decode()}


@functools.cache
def _png(video: int, frame: int) -> bytes:
    picture = np.ascontiguousarray(sets.frame_picture(video, frame)[..., ::-1])
    return bytes(cv2.imencode(".png", picture)[1])


def write_pictures(folder: Path, tree: Any) -> None:
    """The pictures of an undamaged set of that layout."""
    if isinstance(tree, dict) and "videos" in tree:
        for v, length in enumerate(LENGTHS):
            (folder / "images" / f"clip{v}").mkdir(parents=True)
            for k in range(length):
                (folder / "images" / f"clip{v}" / f"{k:05}.png").write_bytes(_png(v, k))
    else:
        (folder / "images").mkdir()
        for k in range(3):
            (folder / "images" / f"{k}.png").write_bytes(_png(0, k))


def _spoilt(rng: Rng, tree: Any, path: Path) -> str:
    """Writes a mutated tree; gives the recipe."""
    changed, how = mutated_tree(rng, tree)
    data, text = json_bytes(rng, changed)
    path.write_bytes(data)
    return f"{how}; {text}" if text else how


def checked(rng: Rng, folder: Path) -> Case:
    """``data check``: findings or none, never a crash."""
    make = choose(rng, (youtube_vis, ovis, coco, coco))
    tree = make()
    write_pictures(folder, tree)
    how = _spoilt(rng, tree, folder / "set.json")
    arguments = ["data", "check", "set.json"]
    arguments += choose(rng, ([], ["--json"], ["--decode", "0"], ["--sheet", "out/sheet.png"]))
    arguments += choose(rng, ([], [], [], ["--split", "train"]))
    return Case(f"{make.__name__}: {how}", arguments)


def scored(rng: Rng, folder: Path) -> Case:
    """``eval --results`` and ``--compare``, either file damaged."""
    truth = choose(rng, (youtube_vis, ovis))()
    found: Any = results(truth)
    paths = folder / "set.json", folder / "results.json"
    if rng.random() < 0.4:
        how = "truth " + _spoilt(rng, truth, paths[0])
        paths[1].write_text(json.dumps(found))
    else:
        paths[0].write_text(json.dumps(truth))
        how = "results " + _spoilt(rng, found, paths[1])
    arguments = ["eval", "set.json", *SKETCH, "--mode", choose(rng, ("strict", "compat"))]
    if rng.random() < 0.2:
        (folder / "good.json").write_text(json.dumps(results(sets.content(LENGTHS))))
        arguments += ["--compare", "good.json", "results.json"]
    else:
        arguments += ["--results", "results.json", "--kind", choose(rng, ("segm", "bbox"))]
        arguments += choose(rng, ([], ["-o", "out", "--zip"], ["-o", "out"], ["--per-class"]))
    return Case(how, arguments)


def evaluated(rng: Rng, folder: Path) -> Case:
    """``eval`` runs a model over damaged sets, and goes on from damaged results of an earlier run."""
    tree = choose(rng, (youtube_vis, ovis, coco))()
    write_pictures(folder, tree)
    arguments = ["eval", "set.json", *SKETCH, "-o", "out", "-q"]
    if rng.random() < 0.75:
        return Case(_spoilt(rng, tree, folder / "set.json"), arguments, lines=6)
    (folder / "set.json").write_text(json.dumps(tree))
    engines.current = FUNCTION
    sipvideo(arguments)
    kept = sorted(p for p in (folder / "out").rglob("*.json"))
    if not kept:
        return Case("earlier run without files", arguments)
    path = choose(rng, kept)
    how = _spoilt(rng, json.loads(path.read_bytes()), path)
    return Case(f"earlier {path.relative_to(folder / 'out')}: {how}", arguments, lines=3)
