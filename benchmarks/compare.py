"""sipvideo and its peers over one clip, file to file, in alternation: a table with the ratios.

    python benchmarks/compare.py CLIP --peers PYTHON

PYTHON is the interpreter of a virtual environment with what ultralytics.txt and torchvision.txt list; this script
itself needs nothing but sipvideo's environment. Each figure is the median over the rounds; a ratio is the median of
the ratios of a round, in which all run one after the other. Options after ``--`` go to ``sipvideo bench``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = {
    "yolo11n-seg-openvino": ("ultralytics_track.py", "--backend", "openvino"),
    "yolo11n-seg-openvino-int8": ("ultralytics_track.py", "--backend", "openvino-int8"),
    "yolo26n-seg-320-openvino-int8": (
        *("ultralytics_track.py", "--backend", "openvino-int8"),
        *("--model", "yolo26n-seg", "--size", "320"),
    ),
    "yolo11n-seg-onnxruntime": ("ultralytics_track.py", "--backend", "onnxruntime"),
    "yolo11n-seg-torch": ("ultralytics_track.py", "--backend", "torch"),
    "maskrcnn-torch": ("torchvision_maskrcnn.py",),
}


def main() -> int:
    """Runs everything and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", type=Path)
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="default: this one"
    )
    parser.add_argument(
        "--only", default=",".join(PEERS), metavar="NAME,...", help=f"of {', '.join(PEERS)}"
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also save the figures")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:end])
    names = args.only.split(",")
    if unknown := set(names) - PEERS.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    runs: dict[str, list[dict[str, Any]]] = {}
    for number in range(args.rounds):
        for name in ["sipvideo", *names]:
            if name == "sipvideo":
                found = ours(args.clip, sys.argv[end + 1 :])
            else:
                script, *options = PEERS[name]
                command = [args.peers, str(HERE / script), str(args.clip), *options]
                found = figures(command)
            runs.setdefault(name, []).append(found)
            print(f"round {number + 1}: {name} {found['fps']:.1f} fps", file=sys.stderr, flush=True)
    print(table(runs))
    if args.json:
        args.json.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    return 0


def ours(clip: Path, options: list[str]) -> dict[str, Any]:
    """What sipvideo reaches end to end, annotated video and results written."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "bench.json"
        command = [sys.executable, "-m", "sipvideo.apps.main", "bench", str(clip), "--io"]
        run([*command, "--json", str(saved), *options])
        values = json.loads(saved.read_text(encoding="utf-8"))
    return {
        **values["end_to_end"],
        "about": f"{values['runtime']}, {values['input_size']}",
        "objects_per_frame": values["objects"],
    }


def figures(command: list[str]) -> dict[str, Any]:
    """A peer's line of JSON."""
    lines = run(command).splitlines()
    found: dict[str, Any] = json.loads(next(line for line in reversed(lines) if line[:1] == "{"))
    return found


def run(command: list[str]) -> str:
    """Standard output of a command; its errors end this one."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def table(runs: dict[str, list[dict[str, Any]]]) -> str:
    """One line per contender: fps, ours / theirs, objects, cores, and what the fps includes."""
    lines = [f"{'':<28}{'fps':>8}{'ours / it':>11}{'objects':>9}{'cores':>7}  includes"]
    for name, of_name in runs.items():
        fps = [run["fps"] for run in of_name]
        ratio = median(
            mine["fps"] / theirs for mine, theirs in zip(runs["sipvideo"], fps, strict=True)
        )
        last = of_name[-1]
        lines.append(
            f"{name:<28}{median(fps):8.1f}{ratio:11.2f}{last['objects_per_frame']:9.1f}"
            f"{last['cores_busy']:7.2f}  {last['includes']} ({last['about']})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
