"""Small objects on 4K pictures: tiles beside the whole picture and beside larger inputs of the same cost.

    sipvideo data synth --kind scenes --videos 30 --frames 1 --size 3840x2160 --difficulty crowd --objects 50 \
        --seed 9301 -o scenes
    python benchmarks/small_objects.py scenes --tiles 2x2,3x2 --inputs 1152,1408
    python benchmarks/small_objects.py DATA/coco --split val2017 --mosaic 1x1 --tiles auto --inputs 1024

FOLDER is one of ``sipvideo data synth``, or has pictures and ``instances.json`` in COCO's format, which ``--mosaic``
puts together to 3840 x 2160. Small, medium and large are as COCO has them, on the scale of a picture whose longer
side is 640 pixels. The cost is processor time, all ways in turn on the same pictures, as a ratio to the whole; it is
taken on one core (``OMP_NUM_THREADS=1 taskset -c 0 python ...``), since threads that wait for each other count.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import sipvideo
from sipvideo.engine import Engine
from sipvideo.structures import Detections, Frame
from sipvideo.synth.dataset import picture

WIDTH, HEIGHT = 3840, 2160
BASE = 640
"""Longer side of the pictures on whose scale COCO says what is small."""
DOUBTFUL = ("postprocess.score_threshold=0.05", "postprocess.max_detections=100")
"""For the precision: COCO's figures want doubtful objects, too. The time is that of the model as it is."""
TIMED = 4
"""Time is taken of every fourth picture."""


class Sample(NamedTuple):
    """A picture uint8 [H, W, 3], RGB, its objects as class name and RLE, and pixels per pixel of COCO's scale."""

    image: np.ndarray
    objects: list[tuple[str, dict[str, Any]]]
    scale: float


def scenes(folder: Path) -> Iterator[Sample]:
    """The first frame of each rendered film."""
    content = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    names = {c["id"]: c["name"] for c in content["categories"]}
    for film in content["videos"]:
        objects = [
            (names[a["category_id"]], a["segmentations"][0])
            for a in content["annotations"]
            if a["video_id"] == film["id"] and a["segmentations"][0] is not None
        ]
        image = picture(folder / "images" / film["file_names"][0])
        yield Sample(image, objects, max(image.shape) / BASE)


def mosaics(
    folder: Path, split: str | None, every: int, columns: int, rows: int
) -> Iterator[Sample]:
    """Pictures of a set enlarged to cells of one 4K picture; one that is not full is left out."""
    content = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    images = [one for one in content["images"] if split is None or one.get("split") == split]
    images = images[::every]
    names = {c["id"]: c["name"] for c in content["categories"]}
    of = {
        one["id"]: [a for a in content["annotations"] if a["image_id"] == one["id"]]
        for one in images
    }
    cell = WIDTH // columns, HEIGHT // rows
    for first in range(0, len(images) - columns * rows + 1, columns * rows):
        image, objects = np.full((HEIGHT, WIDTH, 3), 114, np.uint8), []
        for k, one in enumerate(images[first : first + columns * rows]):
            x, y = k % columns * cell[0], k // columns * cell[1]
            ratio = min(cell[0] / one["width"], cell[1] / one["height"])
            w, h = round(one["width"] * ratio), round(one["height"] * ratio)
            part = picture(next(folder.rglob(one["file_name"])))
            image[y : y + h, x : x + w] = cv2.resize(part, (w, h), interpolation=cv2.INTER_CUBIC)
            for a in of[one["id"]]:
                mask = np.zeros((HEIGHT, WIDTH), np.uint8)
                small = coco_mask.decode(_rle(a, one))
                mask[y : y + h, x : x + w] = cv2.resize(
                    small, (w, h), interpolation=cv2.INTER_NEAREST
                )
                name = "crowd:" * a.get("iscrowd", 0) + names[a["category_id"]]
                objects.append((name, coco_mask.encode(np.asfortranarray(mask))))
        yield Sample(image, objects, cell[0] / BASE if cell[0] * 3 < cell[1] * 4 else cell[1] / 480)


def _rle(annotation: dict[str, Any], image: dict[str, Any]) -> dict[str, Any]:
    segmentation, size = annotation["segmentation"], (image["height"], image["width"])
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *size)
    return segmentation


class Scored:
    """Pictures, their truth, and what every way found."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []
        self.found: dict[str, list[dict[str, Any]]] = {}
        self.seconds: dict[str, list[float]] = {}
        self.scale = 1.0

    def add(self, sample: Sample) -> int:
        """A picture with its truth; returns its number."""
        number = len(self.images) + 1
        self.images.append(
            {"id": number, "height": sample.image.shape[0], "width": sample.image.shape[1]}
        )
        self.scale = sample.scale
        for name, rle in sample.objects:
            crowd = name.startswith("crowd:")
            self.truth.append(
                {
                    "id": len(self.truth) + 1,
                    "image_id": number,
                    "category_id": sipvideo.classes.COCO.index(name.removeprefix("crowd:")) + 1,
                    "segmentation": rle,
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "area": float(coco_mask.area(rle)),
                    "iscrowd": int(crowd),
                }
            )
        return number

    def report(self, way: str, number: int, detections: Detections) -> None:
        """What one way found in one picture."""
        rows = self.found.setdefault(way, [])
        quality = (
            detections.mask_scores if detections.mask_scores is not None else detections.scores
        )
        for k in range(len(detections)):
            x0, y0, x1, y1 = detections.boxes[k].tolist()
            rows.append(
                {
                    "image_id": number,
                    "category_id": int(detections.labels[k]) + 1,
                    "score": float(detections.scores[k]),
                    "mask_score": float(quality[k]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "segmentation": detections.masks.rle(k),
                }
            )

    def row(self, way: str, base: str) -> str:
        """One line of the table."""
        boxes, masks = (self._figures(way, kind) for kind in ("bbox", "segm"))
        seconds = sum(self.seconds[way]) / sum(self.seconds[base])
        figures = " ".join(
            f"{v:6.3f}" for v in (boxes[3], masks[3], boxes[0], masks[0], boxes[4], boxes[5])
        )
        return f"{way:24} {figures}   {seconds:6.2f}"

    def _figures(self, way: str, kind: str) -> np.ndarray:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {
                "images": self.images,
                "annotations": self.truth,
                "categories": [
                    {"id": k + 1, "name": n} for k, n in enumerate(sipvideo.classes.COCO)
                ],
            }
            truth.createIndex()
            key = "score" if kind == "bbox" else "mask_score"
            left = "segmentation" if kind == "bbox" else "bbox"
            rows = [
                {name: value for name, value in one.items() if name != left} | {"score": one[key]}
                for one in self.found[way]
            ]
            scores = COCOeval(truth, truth.loadRes(rows), kind)
            scores.params.areaRng = [
                [side * self.scale**2 for side in one] for one in scores.params.areaRng
            ]
            scores.params.maxDets = [1, 10, 100]
            scores.evaluate()
            scores.accumulate()
            precision = scores.eval["precision"]
        return np.array([_mean(precision[:, :, :, area, 2]) for area in (0, 0, 0, 1, 2, 3)])


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def ways(args: argparse.Namespace, overrides: Sequence[str] = ()) -> dict[str, Engine]:
    """The engines to compare, the whole picture first."""

    def engine(*own: str, tiles: str | None = None) -> Engine:
        every = [*overrides, *own]
        return sipvideo.load(model=args.model, device="cpu", overrides=every, tiles=tiles).engine

    chosen = {"whole": engine()}
    for text in filter(None, args.tiles.split(",")):
        chosen[f"tiles {text}"] = engine(tiles=text)
    for side in filter(None, args.inputs.split(",")):
        chosen[f"input {side}"] = engine(f"input.size=[{side}, {side}]")
    return chosen


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mosaic", metavar="COLUMNSxROWS")
    parser.add_argument("--split")
    parser.add_argument("--model", help="nano or small")
    parser.add_argument("--tiles", default="2x2,3x2", metavar="TILES,...")
    parser.add_argument("--inputs", default="1152,1600", metavar="SIDE,...")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th picture")
    args = parser.parse_args()
    if args.mosaic:
        samples = mosaics(args.folder, args.split, args.every, *map(int, args.mosaic.split("x")))
    else:
        samples = scenes(args.folder)
    engines, doubting, scored = ways(args), ways(args, DOUBTFUL), Scored()
    for count, sample in enumerate(samples):
        frame = Frame(sample.image, count, 0.0)
        number = scored.add(sample)
        for way, engine in engines.items():
            if not count:
                engine.detect([frame])  # the first call at a size sets up its memory
            if count % TIMED == 0:
                started = time.process_time()
                engine.detect([frame])
                scored.seconds.setdefault(way, []).append(time.process_time() - started)
            scored.report(way, number, doubting[way].detect([frame])[0])
        print(f"{count + 1} pictures", file=sys.stderr, flush=True)
    small = sum(a["area"] < (32 * scored.scale) ** 2 for a in scored.truth)
    print(f"{len(scored.images)} pictures, {len(scored.truth)} objects, {small} of them small")
    print(f"{'':24}  box S mask S    box   mask  box M  box L   time")
    for way in engines:
        print(scored.row(way, "whole"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
