"""``python apps/reports/many.py``: many network cameras through one model: how many results, how old, how even."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports.cameras import painted_time
from sipvideo.apps.reports.replayed import Film, Rack, Way
from sipvideo.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from sipvideo.live import LiveSession
    from sipvideo.pipeline import VideoSegmenter

CLIP = CHECKOUT / "examples" / "pedestrians.mp4"
FILMS: dict[str, tuple[Way, Film]] = {
    "h264-50": ("rtsp", Film()),
    "h264-250": ("rtsp", Film(gop=250)),
    "h264-30": ("rtsp", Film(gop=30, b_frames=0, seconds=6)),
    "h264-50-http": ("http", Film()),
    "hevc-50": ("rtsp", Film("libx265")),
    "mjpeg": ("http", Film("mjpeg", gop=1, seconds=4)),
}
"""What cameras send and how, by name: RTSP, and MPEG transport streams or JPEG pictures over HTTP."""

PHASE = 0.618
"""Parts of its film by which each camera is ahead of the one before: key frames come at different moments."""

ROW = "| {:14} | {:>7} | {:>9} | {:>8} | {:>15} | {:>17} | {:>9} | {:>12} | {:>12} | {:>6} |"
HEADS = ("film", "cameras", "results/s", "of one", "age p50/95, ms", "filmed to result", "slowest/")
MORE_HEADS = ("ms a result", "cameras, ms/s", "MB")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/many.py",
        description="Measures one and many network cameras (1280x720, 25 pictures a second) through one network.",
    )
    parser.add_argument(
        "--cameras", type=flags.count, nargs="+", default=[1, 16], help="default: 1 16"
    )
    parser.add_argument(
        "--films",
        nargs="+",
        default=["h264-50", "h264-250", "h264-30"],
        metavar="FILM",
        help=f"of {', '.join(FILMS)}; default: %(default)s",
    )
    parser.add_argument("--seconds", type=flags.count, default=20, help="of a row; default: 20")
    parser.add_argument("--rounds", type=flags.count, default=1, help="default: 1")
    add_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What such a report shows, keeps and writes, and with which model."""
    parser.add_argument(
        "--clip", type=Path, default=CLIP, help="what the cameras show; default: %(default)s"
    )
    parser.add_argument(
        "--kept", metavar="DIR", type=Path, help="where encoded films are kept for the next run"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="also write the figures there, as JSON"
    )
    flags.add_model_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes the figures."""
    if unknown := set(args.films) - set(FILMS):
        raise ConfigError(f"--films: there is no {min(unknown)}; there are {', '.join(FILMS)}")
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    model = command.segmenter(args)
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        folder = args.kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        films = {name: _encoded(name, args.clip, folder) for name in args.films}
        print(ROW.format(*HEADS, *MORE_HEADS))
        print("|---" + "|---:" * (len(HEADS + MORE_HEADS) - 1) + "|", flush=True)
        for _ in range(args.rounds):
            for name in args.films:
                one = None
                for cameras in args.cameras:
                    row = measure(model, FILMS[name], films[name], cameras, args.seconds)
                    one = row["results_per_second"] if cameras == 1 else one
                    of_one = row["results_per_second"] / one if one else None
                    rows.append({"film": name, "of_one": of_one, **row})
                    print(_line(rows[-1]), flush=True)
    if args.output:
        args.output.write_text(json.dumps({"rows": rows}, indent=2) + "\n", encoding="utf-8")
    return 0


def _encoded(name: str, clip: Path, folder: Path) -> Path:
    path = folder / f"{clip.stem}-{name.removesuffix('-http')}.{'mkv' if name == 'mjpeg' else 'ts'}"
    if not path.exists():
        new = path.with_name(f"new-{path.name}")
        FILMS[name][1].write(clip, new)
        new.replace(path)
    return path


@dataclass
class _Came:
    """What came of the cameras."""

    by_camera: Counter[str] = field(default_factory=Counter)
    ages: list[float] = field(default_factory=list)
    since_filmed: list[float] = field(default_factory=list)


def measure(
    model: VideoSegmenter, kind: tuple[Way, Film], path: Path, cameras: int, seconds: float
) -> dict[str, Any]:
    """So many cameras for a time."""
    from sipvideo.live import LiveSession

    way, film = kind
    with Rack() as rack:
        zeros, addresses = {}, {}
        for number in range(cameras):
            key = str(number)
            zeros[key] = time.monotonic() - film.seconds * (1 + PHASE * number % 1)
            addresses[key] = rack.switch_on(way, path, zeros[key])
        with LiveSession(model, addresses) as session:
            for _ in _results(
                session, seconds / 4
            ):  # what was collected while opening is gone then
                pass
            came, begun = _Came(), time.monotonic()
            before, cameras_before = time.process_time(), rack.processor_seconds
            for live in _results(session, seconds):
                filmed = painted_time(live.result.frame.image)
                came.ages.append(live.age())
                moment = time.monotonic() - zeros[live.source]
                came.since_filmed.append((moment - filmed) % film.seconds)
                came.by_camera[live.source] += 1
            lasted = time.monotonic() - begun
            spent = time.process_time() - before
            dropped: Counter[str] = Counter()
            for key in session.keys:
                dropped.update(session.status(key).dropped)
            cameras_spent = rack.processor_seconds - cameras_before
    counts = [came.by_camera[key] for key in addresses]
    return {
        "cameras": cameras,
        "results_per_second": sum(counts) / lasted,
        "age_ms": _p50_p95(came.ages),
        "filmed_to_result_ms": _p50_p95(came.since_filmed),
        "slowest_of_mean": min(counts) / max(float(np.mean(counts)), 1e-9),
        "processor_ms_per_result": spent * 1000 / max(sum(counts), 1),
        "processor_ms_per_second": spent * 1000 / lasted,
        "cameras_ms_per_second": cameras_spent * 1000 / lasted,
        "dropped": dict(dropped),
        "megabytes": resident_megabytes(),
    }


def _results(session: LiveSession, seconds: float) -> Iterator[Any]:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        live = session.next(left)
        if live is not None:
            yield live


def _p50_p95(values: list[float]) -> list[float]:
    return [round(float(v) * 1000, 1) for v in np.percentile(values, (50, 95))] if values else []


def resident_megabytes() -> float:
    """Memory that this process holds."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


def _line(row: dict[str, Any]) -> str:
    def pair(name: str) -> str:
        return " / ".join(f"{value:.0f}" for value in row[name]) or "-"

    return ROW.format(
        row["film"],
        row["cameras"],
        f"{row['results_per_second']:.1f}",
        "-" if row["of_one"] is None else f"{row['of_one']:.0%}",
        pair("age_ms"),
        pair("filmed_to_result_ms"),
        f"{row['slowest_of_mean']:.2f}",
        f"{row['processor_ms_per_result']:.0f}",
        f"{row['cameras_ms_per_second']:.0f}",
        f"{row['megabytes']:.0f}",
    )


if __name__ == "__main__":
    sys.exit(main())
