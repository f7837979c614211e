"""``make studio-report``: what doubts, clicks, carried masks and corrections are worth (docs/studio_report.json)."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sipvideo.apps import command, flags
from sipvideo.apps.data import synth
from sipvideo.apps.reports import CHECKOUT
from sipvideo.errors import ConfigError, SipVideoError

Json = dict[str, Any]
FILMS = range(501, 506)
"""Seeds of the films; others than those on which anything was chosen (401 to 407)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/studio/report.py",
        description="Measures the studio: where planted errors stand among the doubts, masks after clicks, masks "
        "carried on, what is learnt from corrections. Sections that are measured take the place of earlier ones.",
    )
    parser.add_argument(
        "data", type=Path, help="folder with coco/, coco_choice/, coco_more/, davis/"
    )
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="NAME,...")
    parser.add_argument("--work", type=Path, default=CHECKOUT / "build" / "studio", metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures, and saves after every section."""
    command.require_opencv()
    names = args.only.split(",")
    if unknown := sorted(set(names) - SECTIONS.keys()):
        raise ConfigError(f"--only: unknown {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    content: Json = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {}
    for name in names:
        content[name] = SECTIONS[name](args)
        args.output.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        print(json.dumps({name: content[name]}, indent=1), flush=True)
    return 0


def _film(seed: int, work: Path) -> Path:
    """Twenty seconds of a rendered scene."""
    folder = work / "films" / str(seed)
    if not (folder / "instances.json").is_file():
        wanted = f"--videos 1 --frames 300 --fps 15 --size 512x288 --returns 0.3 --seed {seed} -q"
        objects = ["--objects", "10" if seed % 2 == 0 else "7"]
        if synth.main(["--kind", "scenes", *wanted.split(), *objects, "-o", str(folder)]):
            raise SipVideoError(f"{folder}: the film is not complete; the same command goes on")
    return folder


def _doubts(args: argparse.Namespace) -> Json:
    from sipvideo.apps.reports.identities.sets import LazyNetwork
    from sipvideo.apps.reports.studio import doubt_order
    from sipvideo.config import load_config
    from sipvideo.evaluation.replay import replays
    from sipvideo.studio.doubts import doubts

    found, network = [], LazyNetwork()
    names = load_config("sipmask_nano").class_names
    for seed in FILMS:
        for film in replays(_film(seed, args.work), args.work / "reports", network):
            for turn in (1, 2):
                folder = args.work / "planted" / f"{seed}_{turn}"
                found += doubt_order.places(film, turn, folder, names)
    spent = []
    seen = doubt_order.hour()
    for _ in range(3):
        began = time.thread_time()
        doubts(seen.rows(seen.frames >= 0))
        spent.append(time.thread_time() - began)
    cost = {"sightings": len(seen), "seconds of processor time": round(median(spent), 2)}
    return {"kinds": doubt_order.figures(found), "an hour with 500 identities": cost}


def _clicks(args: argparse.Namespace) -> Json:
    from sipvideo.apps.reports.studio.clicks import measured
    from sipvideo.build import load
    from sipvideo.studio.refine import Refiner

    return measured(Refiner(load(device="cpu").engine), args.data, 100)


def _carried(args: argparse.Namespace) -> Json:
    from sipvideo.apps.reports.studio.carrying import figures

    return figures(args.data / "davis" / "instances.json")


def _taught(args: argparse.Namespace) -> Json:
    from sipvideo.apps.reports.studio.taught import figures

    work = args.work / "taught"
    return {"clips": [figures(_film(s, args.work), args.data, work, None) for s in FILMS]}


SECTIONS: dict[str, Callable[[argparse.Namespace], Json]] = {
    "doubts": _doubts,
    "clicks": _clicks,
    "carried": _carried,
    "taught": _taught,
}


if __name__ == "__main__":
    sys.exit(main())
