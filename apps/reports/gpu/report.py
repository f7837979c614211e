"""``make gpu-report``: whether what runs on a GPU is right, and how fast it is, in under eight minutes.

Every part runs in a process of its own with a limit of time, correctness first. Needs a checkout, not an installation.
Without a GPU the same code runs on the CPU, in small, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports.gpu import parts as gpu_parts
from sipvideo.apps.reports.gpu import speed as gpu_speed
from sipvideo.apps.reports.gpu.cameras import cameras
from sipvideo.apps.reports.gpu.parts import Setting
from sipvideo.apps.reports.gpu.training import training
from sipvideo.apps.reports.gpu.video import video
from sipvideo.engine.precision import LEAST_MASK_IOU, LEAST_SAME_IDS, PRECISIONS

OUTPUT = CHECKOUT / "docs" / "gpu_report.json"

TARGETS: dict[str, tuple[str, float, float]] = {
    "step_ms": ("step, batch 1, with association: at most, ms", 2.5, 4.0),
    "detections_fps": ("frames in memory to detections, in batches: at least, fps", 1500, 500),
    "video_fps": ("one video in memory to identities and masks: at least, fps", 600, 400),
    "json_csv_fps": ("file to JSON and CSV: at least, fps", 300, 250),
    "annotated_fps": ("file to annotated video too: at least, fps", 200, 200),
    "bytes_to_host": ("bytes to the host per frame: at most", 200_000, 200_000),
    "first_result_s": ("start to first result: at most, s", 5.0, 5.0),
}
"""What a figure is, and its target for nano and for SipMask-VIS R50."""
FURTHER: dict[str, dict[str, tuple[str, float]]] = {
    "video": {
        "nano_file_fps": (
            "1080p file to JSON and CSV by hardware, nano: at least, fps",
            350,
        ),
        "r50_file_fps": ("the same, R50", 250),
    },
    "training": {
        "nano_pictures_per_s": ("training, nano: at least, pictures a second", 200),
        "r50_544_pictures_per_s": ("the same, R50 at 544", 80),
        "r50_1333_pictures_per_s": ("the same, R50 at 1333x800", 30),
    },
    "cameras": {
        "shown_16": ("16 cameras, share of the pictures shown: at least", 0.9),
        "age_p95_ms_16": ("their age, p95: at most, ms", 100),
        "shown_32": ("32 cameras, share of the pictures shown: at least", 0.6),
        "age_p95_ms_32": ("their age, p95: at most, ms", 150),
    },
}
"""Figures of further parts, and their targets."""
FIXTURES = ("fixture_vis", "fixture_coco", "fixture_default")
PARTS: dict[str, tuple[Callable[[Setting], dict[str, Any]], int]] = {
    "facts": (gpu_parts.facts, 15),
    "fixture_vis": (gpu_parts.fixture_vis, 40),
    "fixture_coco": (gpu_parts.fixture_coco, 25),
    "fixture_default": (gpu_parts.fixture_default, 30),
    "agreement": (gpu_parts.agreement, 60),
    "speed_nano": (lambda setting: gpu_speed.speed("nano", setting), 80),
    "speed_r50": (lambda setting: gpu_speed.speed("r50", setting), 80),
    "video": (video, 75),
    "training": (training, 110),
    "cameras": (cameras, 60),
    "peer": (gpu_speed.peer, 45),
}
"""What is measured, and its limit in seconds on a GPU."""
MOST_SECONDS = 470.0
"""Of the whole report on a GPU."""
AT_MOST = ("step_ms", "bytes_to_host", "first_result_s", "age_p95_ms_16", "age_p95_ms_32")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/gpu/report.py", description=__doc__)
    parser.add_argument("--clips", type=Path, default=gpu_parts.CLIPS, help="folder of videos")
    parser.add_argument("--part", choices=PARTS, help="run one part, in this process")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--device", default=None, help="default: cuda where there is one")
    parser.add_argument(
        "--frames", type=flags.count, default=None, help="of a run; default: 2000, CPU: 8"
    )
    parser.add_argument("-o", "--output", type=Path, default=OUTPUT, help="default: %(default)s")
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Runs the parts, prints the tables, and writes the figures if a GPU made them."""
    device = args.device or gpu_parts.default_device()
    frames = args.frames or (2000 if device != "cpu" else 8)
    setting = Setting(device, frames, args.clips)
    if args.part:
        print(json.dumps(PARTS[args.part][0](setting), default=float))
        return 0
    if device == "cpu":
        print(
            "No GPU here: the same code runs on the CPU, in small. These are no figures of a GPU."
        )
    report: dict[str, Any] = {}
    started = time.perf_counter()
    for name in PARTS:
        if args.only and name not in args.only:
            report[name] = {"skipped": "not asked for"}
            continue
        left = MOST_SECONDS - (time.perf_counter() - started) if device != "cpu" else 1e9
        report[name] = _part(name, setting, left)
        print(f"{name}: {_in_short(report[name])}", flush=True)
    report["seconds"] = round(time.perf_counter() - started, 1)
    right = print_tables(report)
    if device == "cpu":
        print("Nothing was written: no GPU.")
    else:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        print(f"Written: {args.output}")
    return 0 if right else 1


def _part(name: str, setting: Setting, left: float) -> dict[str, Any]:
    """What a part says, run in a process of its own; what it had said so far if it fails or has no time left."""
    limit = min(left, PARTS[name][1] * (1 if setting.device != "cpu" else 4))
    line = [sys.executable, "-m", "sipvideo.apps.reports.gpu.report", "--part", name]
    line += ["--device", setting.device, "--frames", str(setting.frames)]
    line += ["--clips", str(setting.clips)]
    started = time.perf_counter()
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        try:
            said, complaint = process.communicate(timeout=max(limit, 0))
            error = complaint if process.returncode else ""
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
            error = f"took longer than {limit:.0f} s"
    found: dict[str, Any] = {}
    for text in said.splitlines():
        if text.startswith("{"):
            found |= json.loads(text)
    found["part_s"] = round(time.perf_counter() - started, 1)
    if error or len(found) == 1:
        found["error"] = (error.strip().splitlines() or ["no word"])[-1]
    return found


def _in_short(values: dict[str, Any]) -> str:
    text = json.dumps(values, default=float)
    return text if len(text) <= 400 else text[:400] + " ..."


def print_tables(report: dict[str, Any]) -> bool:
    """Prints what is right and how fast it is, with the targets; returns whether the fixtures hold."""
    right = True
    print("\n| right? | result |\n|---|---|")
    for name in FIXTURES:
        part = report[name]
        ok = part.get("right")
        right &= ok is not False and "error" not in part
        word = "not there" if part.get("skipped") else "yes" if ok else "NO"
        print(f"| {name} | {word}: {_in_short(part)} |")
    for name, one in PRECISIONS.items():
        part = report["agreement"].get(name)
        if isinstance(part, dict):
            holds = part["same_objects"] >= LEAST_SAME_IDS and part["mask_iou"] >= LEAST_MASK_IOU
            hint = "" if one.holds is holds else f"; set holds={holds} in engine/precision.py"
            print(f"| {name} | {'holds' if holds else 'does not hold'}: {part}{hint} |")
    print("\n| figure | default | target | SipMask-VIS R50 | target |\n|---|---|---|---|---|")
    for key, (title, nano, r50) in TARGETS.items():
        cells = []
        for model, target in (("nano", nano), ("r50", r50)):
            value = report[f"speed_{model}"].get(key)
            if value is None:
                cells += ["not measured", f"{target:g}"]
                continue
            met = value <= target if key in AT_MOST else value >= target
            cells += [f"{value:.4g}{'' if met else ' (missed)'}", f"{target:g}"]
        print(f"| {title} | {' | '.join(cells)} |")
    right &= _print_further(report)
    print(f"\nPeer: {report['peer']}\nSeconds: {report['seconds']}")
    return right


def _print_further(report: dict[str, Any]) -> bool:
    """Prints the figures of the further parts; returns whether video by hardware is that of software."""
    print("\n| figure | measured | target |\n|---|---|---|")
    for part, figures in FURTHER.items():
        for key, (title, target) in figures.items():
            value = report[part].get(key)
            if value is None:
                print(f"| {title} | not measured | {target:g} |")
                continue
            met = value <= target if key in AT_MOST else value >= target
            print(f"| {title} | {value:.4g}{'' if met else ' (missed)'} | {target:g} |")
    return report["video"].get("right") is not False


if __name__ == "__main__":
    sys.exit(main())
