"""Mask AP over frames per second, file to file: our models at several input sizes, and peers as points.

    python benchmarks/pareto.py DATA CLIP --peers PYTHON -o docs/pareto

DATA holds coco/instances.json, whose split val2017 is scored. Everything runs in rounds, one
after the other; figures are medians. Writes NAME.json and NAME.png. Speed wants a quiet machine; with ``--accuracy`` or
``--speed`` only that half is measured anew, and the other is taken from NAME.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from compare import HERE, PEERS, figures, ours

from sipvideo.apps.reports.models import RANKED, on_pictures
from sipvideo.build import load
from sipvideo.charts import Panel, drawn

SIZES = (320, 416, 512, 640)
OURS = {
    "nano": ("nano", "openvino-bf16"),
    "small": ("small", "openvino-bf16"),
    "small in int8": ("small", "openvino-int8"),
}
"""Model and runtime of each curve."""
PEERS_AP = {
    "yolo11n-seg-openvino": 0.310,
    "yolo11n-seg-openvino-int8": 0.310,
    "yolo26n-seg-320-openvino-int8": 0.250,
}
"""Measured beside on the same 284 pictures with their published weights (AGPL-3.0, not part of this project). That of
YOLO11n-seg is of its single precision, so it flatters its int8 form."""
SHORT = {
    "yolo11n-seg-openvino": "YOLO11n",
    "yolo11n-seg-openvino-int8": "its int8",
    "yolo26n-seg-320-openvino-int8": "YOLO26n",
    "small in int8": "in int8",
}

Json = dict[str, Any]


def main() -> int:
    """Measures and draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("clip", type=Path)
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="default: this one"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--split", default="val2017", help="default: val2017")
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/pareto"))
    args = parser.parse_args()
    saved = args.output.with_suffix(".json")
    found: Json = json.loads(saved.read_text(encoding="utf-8")) if saved.exists() else {}
    if args.accuracy or not args.speed:
        found["mask_ap"] = {name: accuracy(name, args) for name in OURS}
    if args.speed or not args.accuracy:
        found["fps"] = speed(args)
    saved.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if {"mask_ap", "fps"} <= found.keys():
        picture(found).save(args.output.with_suffix(".png"))
    return 0


def accuracy(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Mask AP by input size."""
    found = {}
    model_name, runtime = OURS[name]
    for size in SIZES:
        overrides = [f"input.size=[{size}, {size}]", *RANKED]
        model = load(model=model_name, device="cpu", runtime=runtime, overrides=overrides)
        scores = on_pictures(args.data / "coco" / "instances.json", args.split, model, 0.3)
        found[str(size)] = round(scores["mask_ap"], 4)
        print(f"{name} at {size}: mask AP {found[str(size)]:.3f}", file=sys.stderr, flush=True)
    return found


def speed(args: argparse.Namespace) -> Json:
    """Frames per second by model and size, and of the peers: each the median over rounds, and the rounds."""
    rounds: dict[str, dict[str, list[float]]] = {name: {} for name in OURS}
    for number in range(args.rounds):
        for name, (model, runtime) in OURS.items():
            for size in SIZES:
                options = ["--model", model, "--runtime", runtime]
                options += ["--set", f"input.size=[{size}, {size}]"]
                fps = ours(args.clip, options)["fps"]
                rounds[name].setdefault(str(size), []).append(fps)
                told = f"round {number + 1}: {name} at {size} {fps:.1f} fps"
                print(told, file=sys.stderr, flush=True)
        for peer in PEERS_AP:
            script, *options = PEERS[peer]
            fps = figures([args.peers, str(HERE / script), str(args.clip), *options])["fps"]
            rounds.setdefault(peer, {}).setdefault("own", []).append(fps)
            print(f"round {number + 1}: {peer} {fps:.1f} fps", file=sys.stderr, flush=True)
    return {
        name: {size: {"fps": round(median(v), 2), "rounds": v} for size, v in sizes.items()}
        for name, sizes in rounds.items()
    }


def picture(found: Json) -> Any:
    """The curves of the models and the points of the peers."""
    series = {}
    for name, by_size in found["mask_ap"].items():
        fps = [found["fps"][name][size]["fps"] for size in by_size]
        series[SHORT.get(name, name)] = np.array(fps), np.array(list(by_size.values()))
    for peer, ap in PEERS_AP.items():
        series[SHORT[peer]] = np.array([found["fps"][peer]["own"]["fps"]]), np.array([ap])
    return drawn([Panel("mask AP", series, across="frames per second, file to file")])


if __name__ == "__main__":
    sys.exit(main())
