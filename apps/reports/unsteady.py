"""``python apps/reports/unsteady.py``: many cameras that die, return and change size: memory, handles, threads."""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports.many import add_flags, resident_megabytes
from sipvideo.apps.reports.replayed import Film, Rack, Way
from sipvideo.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from sipvideo.pipeline import VideoSegmenter

LARGE, MIDDLE = (720, 1280), (360, 640)
KINDS: tuple[tuple[Way, Film], ...] = (
    ("rtsp", Film()),
    ("rtsp", Film(gop=250)),
    ("rtsp", Film("libx265")),
    ("http", Film()),
    ("http", Film("mjpeg", gop=1, seconds=4)),
)
"""One after the other for the cameras; each comes in two sizes."""

OFF = 2.0
"""Seconds for which a camera is off."""

RETURN = 120.0
"""Seconds for which cameras may take to be back at the end, and threads to end, on a busy machine."""

ROW = "| {:>7} | {:>9} | {:>6} | {:>7} | {:>7} | {:>10} | {:>9} |"
HEADS = ("seconds", "results/s", "MB", "handles", "threads", "reconnects", "sources")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/unsteady.py",
        description="Lets network cameras die, come back and change their size, one every few seconds, and tells what "
        "the process that watches them holds.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="default: 10")
    parser.add_argument("--cameras", type=flags.count, default=16, help="default: 16")
    parser.add_argument(
        "--every", type=float, default=4.0, help="seconds from one death to the next; default: 4"
    )
    add_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes the figures."""
    if args.minutes <= 0 or args.every <= OFF:
        raise ConfigError(f"expected --minutes above 0 and --every above {OFF:g}")
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    model = command.segmenter(args)
    with contextlib.ExitStack() as stack:
        folder = args.kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        rack = stack.enter_context(Rack())
        cameras = _Cameras(rack, _films(args.clip, folder), args.cameras)
        rows, end = _watch(model, cameras, args.minutes * 60, args.every)
    later = rows[len(rows) // 3 :]
    report = {"rows": rows, **end}
    for name in ("megabytes", "handles", "threads"):
        slope = np.polyfit([row["seconds"] for row in later], [row[name] for row in later], 1)[0]
        report[f"{name}_per_minute"] = round(float(slope) * 60, 3)
    print(json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=2))
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _films(clip: Path, folder: Path) -> list[list[Path]]:
    """Both sizes of each kind."""
    films: list[list[Path]] = []
    for number, (_, film) in enumerate(KINDS):
        films.append([])
        for size in (LARGE, MIDDLE):
            suffix = "mkv" if film.codec == "mjpeg" else "ts"
            path = folder / f"{clip.stem}-unsteady-{number}-{size[0]}.{suffix}"
            if not path.exists():
                new = path.with_name(f"new-{path.name}")
                Film(film.codec, film.gop, film.b_frames, size, film.seconds).write(clip, new)
                new.replace(path)
            films[-1].append(path)
    return films


class _Cameras:
    """Cameras of which one after the other dies and comes back with the other size."""

    def __init__(self, rack: Rack, films: list[list[Path]], count: int) -> None:
        self.addresses = {}
        self.deaths = 0
        self._rack = rack
        self._films = films
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: None)
        for number in range(count):
            way, path = KINDS[number % len(KINDS)][0], films[number % len(KINDS)][0]
            self.addresses[str(number)] = rack.switch_on(way, path, time.monotonic() - 0.7 * number)

    def begin(self, every: float) -> None:
        """Lets them die from now on."""
        self._thread = threading.Thread(target=self._run, args=(every,))
        self._thread.start()

    def end(self) -> None:
        """No more of them die, and all are there."""
        self._ended.set()
        self._thread.join()

    def _run(self, every: float) -> None:
        for number in itertools.count():
            if self._ended.wait(every - OFF):
                return
            turn, camera = divmod(number, len(self.addresses))
            kind = camera % len(KINDS)
            port = self._rack.switch_off(self.addresses[str(camera)])
            self._ended.wait(OFF)
            film = self._films[kind][(turn + 1) % 2]
            self._rack.switch_on(KINDS[kind][0], film, time.monotonic(), port)
            self.deaths += 1


def _watch(
    model: VideoSegmenter, cameras: _Cameras, seconds: float, every: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    from sipvideo.live import LiveSession

    rows: list[dict[str, Any]] = []
    print(ROW.format(*HEADS))
    print("|" + "---:|" * len(HEADS), flush=True)
    with LiveSession(model, cameras.addresses) as session:
        cameras.begin(every)
        begun, results, sizes = time.monotonic(), 0, set()
        try:
            while (now := time.monotonic() - begun) < seconds:
                if now >= len(rows) * seconds / 40:
                    rows.append(_held(session, now, results))
                    print(ROW.format(*_cells(rows)), flush=True)
                live = session.next(1.0)
                if live is not None:
                    results += 1
                    sizes.add((live.source, live.result.frame.size))
        finally:
            cameras.end()
        deadline = time.monotonic() + RETURN
        missing = set(session.keys)
        while missing and time.monotonic() < deadline:
            if (live := session.next(1.0)) is not None and live.age() < 5:
                missing.discard(live.source)
        adds_up = all(
            status.captured == status.delivered + sum(status.dropped.values()) + status.pending
            for status in map(session.status, session.keys)
        )
        end = {
            "deaths": cameras.deaths,
            "reconnects": sum(session.status(key).reconnects for key in session.keys),
            "not_back": sorted(missing),
            "sources_seen_in_two_sizes": sum(
                len({size for key, size in sizes if key == one}) > 1 for one in session.keys
            ),
            "counts_add_up": adds_up,
        }
    deadline = time.monotonic() + RETURN
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.1)  # whoever is blocked in a read frees everything at its timeout
    return rows, {**end, "threads_after": threading.active_count()}


def _held(session: Any, now: float, results: int) -> dict[str, Any]:
    gc.collect()  # what is left then is held by somebody
    states = [session.status(key) for key in session.keys]
    return {
        "seconds": round(now, 1),
        "results": results,
        "megabytes": round(resident_megabytes(), 1),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "reconnects": sum(status.reconnects for status in states),
        "live": sum(status.state == "live" for status in states),
    }


def _cells(rows: list[dict[str, Any]]) -> list[str]:
    row, before = rows[-1], rows[-2] if len(rows) > 1 else rows[-1]
    passed = max(row["seconds"] - before["seconds"], 1e-9)
    rate = (row["results"] - before["results"]) / passed
    return [
        f"{row['seconds']:.0f}",
        f"{rate:.1f}",
        f"{row['megabytes']:.0f}",
        str(row["handles"]),
        str(row["threads"]),
        str(row["reconnects"]),
        f"{row['live']} live",
    ]


if __name__ == "__main__":
    sys.exit(main())
