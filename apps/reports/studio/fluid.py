"""How fluid the studio's page is on an hour of film with hundreds of identities: opening, seeking, memory."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports.studio.stand import serving, tab

FPS = 25
SIZE = (360, 640)
TOGETHER = 12
"""Identities in a frame, about."""
STAYS = 25
"""Frames for which an object stands still, so that its mask is encoded once."""
SEEKS = 25


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(prog="apps/reports/studio/fluid.py", description=__doc__)
    add = parser.add_argument
    add("--frames", type=flags.count, default=90_000, metavar="N", help="default: 90000")
    add("--identities", type=flags.count, default=500, metavar="N", help="default: 500")
    add(
        "--work",
        type=Path,
        default=CHECKOUT / "build" / "fluid",
        metavar="DIR",
        help="the run and its film, made if not there; default: build/fluid",
    )
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Makes what is not there, measures, and prints the figures as JSON."""
    folder = args.work / "runs" / f"{args.frames}x{args.identities}"
    if not (folder / "summary.json").is_file():
        make_run(folder, args.work / f"{args.frames}.mp4", args.frames, args.identities)
    with serving(folder.parent) as address, tab() as page:
        figures = [
            measured(page, f"{address}/studio?run={folder.name}", args.frames) for _ in range(3)
        ]
    print(json.dumps(figures, indent=2))
    return 0


def measured(page: Any, address: str, frames: int) -> dict[str, float]:
    """Seconds to open, milliseconds of a seek (median, worst of nine in ten), megabytes of the page's process.

    The first of several measurements in a row contains what the server does for the first time.
    """
    page.goto("about:blank")
    page.goto(address)
    # From the navigation on, until picture, masks and lanes of the first frame are there.
    page.wait_for_selector("#place[data-frame]", timeout=600_000)
    opened = page.evaluate("performance.now() / 1000")
    rng = np.random.default_rng(0)
    seeks = sorted(
        page.evaluate(
            """async (frame) => {
              const begun = performance.now();
              await studio.player.seek(frame);
              await new Promise(requestAnimationFrame);
              return performance.now() - begun;
            }""",
            int(frame),
        )
        for frame in rng.integers(0, frames, SEEKS)
    )
    paints = page.evaluate(
        """() => {
          const begun = performance.now();
          for (let k = 0; k < 20; k++) studio.timeline.paint();
          return (performance.now() - begun) / 20;
        }"""
    )
    client = page.context.new_cdp_session(page)
    client.send("HeapProfiler.collectGarbage")
    heap = client.send("Runtime.getHeapUsage")
    return {
        "opened_s": round(opened, 2),
        "seek_ms": round(statistics.median(seeks)),
        "seek_p90_ms": round(seeks[int(0.9 * len(seeks))]),
        "paint_ms": round(paints, 2),
        "heap_mb": round(heap["usedSize"] / 2**20, 1),
        "process_mb": round(_resident(page.context.browser) / 2**20, 1),
    }


def _resident(browser: Any) -> int:
    """Bytes of private memory of the largest page process."""
    client = browser.new_browser_cdp_session()
    found = client.send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [int(one["id"]) for one in found if one["type"] == "renderer"]
    return max(_private(number) for number in pages)


def _private(number: int) -> int:
    lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def make_run(folder: Path, film: Path, frames: int, identities: int) -> None:
    """A run in which so many objects come and go, each a rectangle that moves once a second, and its film."""
    from sipvideo.classes import COCO
    from sipvideo.masks import CompactMasks
    from sipvideo.summary import Summary

    folder.mkdir(parents=True, exist_ok=True)
    if not film.is_file():
        _shoot(film, frames)
    rng = np.random.default_rng(0)
    length = min(frames, frames * TOGETHER // identities)
    starts = np.sort(rng.integers(0, frames - length + 1, identities))
    known: dict[int, tuple[int, dict[str, Any]]] = {}
    objects = 0
    with (folder / "results.jsonl").open("w") as file:
        for n in range(frames):
            here = []
            for track_id in np.flatnonzero((starts <= n) & (n < starts + length)).tolist():
                if known.get(track_id, (-1, {}))[0] != n // STAYS:
                    x, y, w, h = _place(rng)
                    bits = [np.ones((h, w), bool)]
                    mask = CompactMasks.from_crops(bits, [(x, y)], SIZE).rle(0)
                    label = track_id % 3
                    one = {"track_id": track_id, "label": label, "class_name": COCO[label]}
                    one |= {"score": round(float(rng.uniform(0.3, 1)), 3), "bbox": [x, y, w, h]}
                    known[track_id] = n // STAYS, {**one, "segmentation": mask}
                here.append(known[track_id][1])
            objects += len(here)
            record = {"frame": n, "timestamp": n / FPS, "name": "", "size": SIZE, "objects": here}
            file.write(json.dumps(record) + "\n")
    summary = Summary(input=str(film), state="complete", frames=frames, covered=False)
    summary.objects, summary.identities, summary.duration = objects, identities, frames / FPS
    summary.write(folder)


def _place(rng: np.random.Generator) -> tuple[int, int, int, int]:
    w, h = (int(side) for side in rng.integers(16, 90, 2))
    return int(rng.integers(0, SIZE[1] - w)), int(rng.integers(0, SIZE[0] - h)), w, h


def _shoot(path: Path, frames: int) -> None:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(60, 120, (*SIZE, 3), np.uint8)
    partial = path.with_suffix(".partial.mp4")
    with av.open(str(partial), "w") as container:
        stream = container.add_stream("h264", FPS, {"preset": "ultrafast", "crf": "35", "g": "50"})
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for n in range(frames):
            image = noise.copy()
            image[100:140, n % 600 : n % 600 + 40] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode())
    partial.replace(path)


if __name__ == "__main__":
    sys.exit(main())
