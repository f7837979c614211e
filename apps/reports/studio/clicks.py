"""Clicks as a person sets them, what they make of masks, and the layers of the refinement trained on such.

python apps/reports/studio/clicks.py DATA --train     the layers anew, from pictures of COCO's train2017
python apps/reports/studio/clicks.py DATA             masks after one to three clicks, on pictures of val2017
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from sipvideo.apps import command, flags
from sipvideo.masks import BoolArray, CompactMasks, from_rles

if TYPE_CHECKING:
    from sipvideo.structures import FloatArray
    from sipvideo.studio.reach import Layers, Seen
    from sipvideo.studio.refine import OpenFrame, Refiner
    from sipvideo.studio.window import Point

CLICKS = 3
SURE = 0.3
"""Score from which a run shows objects."""
LEAST_PIXELS = 400
"""Of an object that is looked at."""
HELD_OUT = 40
"""Pictures of coco_more that are not trained on."""


@dataclass(frozen=True, eq=False)
class Case:
    """An object of a picture with the model's mask of it, both bool [H, W]."""

    opened: OpenFrame
    found: BoolArray
    truth: BoolArray

    @property
    def iou(self) -> float:
        """Overlap of both."""
        return overlap(self.found, self.truth)


def overlap(a: BoolArray, b: BoolArray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def click_at_largest_error(found: BoolArray, truth: BoolArray) -> Point | None:
    """The middle of the largest piece that is wrong, x, y, and whether it belongs to the object; None: nothing is."""
    best: tuple[int, BoolArray, bool] | None = None
    for inside, wrong in ((True, truth & ~found), (False, found & ~truth)):
        count, parts, about, _ = cv2.connectedComponentsWithStats(
            wrong.astype(np.uint8), connectivity=4
        )
        if count > 1:
            part = 1 + int(about[1:, cv2.CC_STAT_AREA].argmax())
            area = int(about[part, cv2.CC_STAT_AREA])
            if best is None or area > best[0]:
                best = area, parts == part, inside
    if best is None:
        return None
    padded = cv2.copyMakeBorder(best[1].astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y), best[2]


def cases(
    refiner: Refiner, pictures: Sequence[tuple[Path, list[Any]]], limits: tuple[float, float]
) -> Iterator[Case]:
    """Objects whose best mask by the model overlaps them within limits, by picture."""
    from sipvideo.annotations import to_rle
    from sipvideo.structures import Frame

    for path, objects in pictures:
        image = np.asarray(Image.open(path).convert("RGB"))
        frame = Frame(image, 0, 0.0)
        opened = refiner.open(frame)
        rles = [to_rle(one["segmentation"], frame.size) for one in objects]
        truth = from_rles(rles, frame.size)
        sure = opened.found[opened.found.scores >= SURE].masks
        iou = sure.iou(truth)
        for k in range(len(truth)) if len(sure) else ():
            best = int(iou[:, k].argmax())
            if limits[0] <= iou[best, k] <= limits[1] and truth.area(k) >= LEAST_PIXELS:
                yield Case(opened, sure.dense(best), truth.dense(k))


def pictures(folder: Path, split: str, skip: int = 0) -> list[tuple[Path, list[Any]]]:
    """Pictures of a split with their objects, crowds left out."""
    content = json.loads((folder / "instances.json").read_text("utf-8"))
    files = {path.name: path for path in folder.rglob("*.jpg")}
    objects: dict[Any, list[Any]] = {}
    for one in content["annotations"]:
        if not one.get("iscrowd"):
            objects.setdefault(one["image_id"], []).append(one)
    chosen = [image for image in content["images"] if image["split"] == split][skip:]
    return [
        (files[Path(image["file_name"]).name], objects[image["id"]])
        for image in chosen
        if image["id"] in objects
    ]


def clicked(case: Case) -> list[float]:
    """Overlap with the truth before the first click and after each."""
    begin = CompactMasks.from_dense(case.found[None])
    found, clicks, reached = case.found, list[tuple[float, float, bool]](), [case.iou]
    for _ in range(CLICKS):
        click = click_at_largest_error(found, case.truth)
        if click is not None:
            clicks.append((float(click[0]), float(click[1]), click[2]))
            found = case.opened.refine(clicks, begin).masks.dense(0)
        reached.append(overlap(found, case.truth))
    return reached


@dataclass(frozen=True, eq=False)
class Lesson:
    """A case in its window: what is seen, the model's mask and the true one."""

    seen: Seen
    start: BoolArray
    truth: BoolArray


def lessons(found: Iterator[Case]) -> Iterator[Lesson]:
    """Cases as the refinement sees them."""
    from sipvideo.studio.window import Window

    for case in found:
        window = Window.around(case.found, ())
        yield Lesson(case.opened.seen(window), window.shrunk(case.found), window.shrunk(case.truth))


def trained(known: Sequence[Lesson], pixels: int, seed: int = 0) -> Layers:
    """Layers trained in rounds: each adds a click, set on what the layers of the round before make of it."""
    from sipvideo.studio.reach import decide_with, traces_of

    rng = np.random.default_rng(seed)
    states = [(one, one.start, list[Any]()) for one in known]
    inputs, wanted = [], []
    layers: Layers | None = None
    for turn in range(CLICKS):
        after = []
        for one, current, clicks in states:
            click = click_at_largest_error(current, one.truth)
            if click is None:
                continue
            clicks = [*clicks, click]
            traces = traces_of(one.seen, one.start, current, clicks)
            rows = rng.choice(current.size, min(pixels, current.size), replace=False)
            inputs.append(traces.reshape(current.size, -1)[rows])
            wanted.append(one.truth.reshape(-1)[rows])
            after.append((one, traces, clicks))
        layers = fitted_layers(np.concatenate(inputs), np.concatenate(wanted), 10 + 10 * turn)
        states = [(one, decide_with(layers, traces) > 0, clicks) for one, traces, clicks in after]
        print(
            f"after click {turn + 1}: {np.mean([overlap(c, o.truth) for o, c, _ in states]):.3f}",
            flush=True,
        )
    assert layers is not None
    return layers


def fitted_layers(inputs: FloatArray, wanted: BoolArray, epochs: int) -> Layers:
    """Layers that tell from traces [P, T] whether pixels are inside [P]."""
    import torch
    from torch import nn

    from sipvideo.studio.reach import Layers

    torch.manual_seed(0)
    sizes = (inputs.shape[1], 64, 32, 1)
    parts = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    x, y = torch.from_numpy(inputs), torch.from_numpy(wanted.astype(np.float32))
    batch = 4096
    steps = epochs * max(1, len(x) // batch)
    optimiser = torch.optim.AdamW([p for part in parts for p in part.parameters()], 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (batch,))
        h = x[rows]
        for part in parts[:-1]:
            h = torch.relu(part(h))
        logits = parts[-1](h)[:, 0] + 3 * x[rows, 1]
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    print(f"{len(x)} pixels, last loss {loss.item():.4f}", flush=True)
    arrays = [(p.weight.detach().numpy().T.copy(), p.bias.detach().numpy()) for p in parts]
    return Layers(tuple(arrays))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/studio/clicks.py", description=__doc__)
    parser.add_argument("data", type=Path, help="folder with coco/ and coco_more/")
    parser.add_argument("--train", action="store_true", help="the layers anew")
    parser.add_argument("--pictures", type=int, default=120, help="that are trained on")
    parser.add_argument("--masks", type=int, default=100, help="that are clicked at")
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Trains or measures."""
    from sipvideo.build import load
    from sipvideo.studio.reach import LAYERS
    from sipvideo.studio.refine import Refiner

    refiner = Refiner(load(device="cpu").engine)
    if args.train:
        many = pictures(args.data / "coco", "train2017")[: 2 * args.pictures // 3]
        known = [
            *many,
            *pictures(args.data / "coco_more", "train2017", HELD_OUT)[: args.pictures // 3],
        ]
        layers = trained(list(lessons(cases(refiner, known, (0.35, 0.85)))), 500)
        arrays: dict[str, Any] = {}
        for k, (weight, bias) in enumerate(layers.layers):
            arrays[f"weight{k}"], arrays[f"bias{k}"] = (
                weight.astype(np.float16),
                bias.astype(np.float16),
            )
        np.savez(Path(str(LAYERS)), **arrays)
        return 0
    print(json.dumps(measured(refiner, args.data, args.masks), indent=1))
    return 0


def measured(refiner: Refiner, data: Path, count: int) -> dict[str, Any]:
    """Masks of the test pictures with an overlap of 0.5 to 0.8, drawn at random, before and after each click."""
    known = pictures(data / "coco", "val2017")
    np.random.default_rng(0).shuffle(known)
    rows, spent = [], []
    for case in cases(refiner, known, (0.5, 0.8)):
        started = time.thread_time()
        reached = clicked(case)
        spent.append((time.thread_time() - started) / CLICKS)
        rows.append([*reached, int(case.truth.sum())])
        if len(rows) == count:
            break
    values = np.array(rows)
    large = values[:, -1] >= 32**2
    return {
        "masks": len(rows),
        "iou": values[:, :-1].mean(0).round(3).tolist(),
        "of at least 32 x 32 pixels": {
            "masks": int(large.sum()),
            "iou": values[large, :-1].mean(0).round(3).tolist(),
        },
        "milliseconds of processor time a click": round(1000 * float(np.median(spent)), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
