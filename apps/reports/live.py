"""``python apps/reports/live.py``: age, drops, recovery and memory of live sessions, with cameras on this machine."""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.apps import command, flags
from sipvideo.apps.reports import CHECKOUT
from sipvideo.apps.reports import cameras as live_cameras
from sipvideo.errors import ConfigError, SinkError
from sipvideo.pipeline import VideoSegmenter

if TYPE_CHECKING:
    from sipvideo.live import LiveSession
    from sipvideo.sources import Source
    from sipvideo.structures import Detections, Frame

CLIP = CHECKOUT / "examples" / "pedestrians.mp4"
FPS = 30.0
"""Of the cameras; the clip's pictures are shown faster than they were filmed."""

SHORTEST = 15.0
"""Seconds of a row, at least."""

LATEST = 60.0
"""Seconds after its end for which a row waits for a camera that is not back yet."""

OUTAGE = 1.0
"""Seconds for which a camera is off in the middle of its row."""

LOOKS = 60
"""How often memory is looked at in a run."""

KINDS: tuple[live_cameras.Kind, ...] = ("http", "udp", "rtsp")
ROW = "| {:16} | {:>7} | {:>5} | {:>23} | {:>17} | {:>7} | {:>22} | {:>8} | {:>8} |"
HEADS = ("camera, model", "seconds", "fps", "age p50/p95, first half", "second half, ms", "ms/min")
MORE_HEADS = ("filmed to shown, ms", "dropped", "back in")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = flags.Parser(
        prog="apps/reports/live.py",
        description="Measures live sessions: how old pictures are when they are shown and whether that grows, what is "
        "dropped, how long a stream needs to come back after its server was killed, and whether memory grows.",
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=1.0,
        help="for the slow model; every other row takes a fifth, 15 s at least (default: 1)",
    )
    parser.add_argument(
        "--frames",
        type=flags.count,
        default=5000,
        help="for the memory: results of a light model; the real one gives a tenth (default: 5000)",
    )
    parser.add_argument(
        "--clip", type=Path, default=CLIP, help="what the cameras show; default: %(default)s"
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="also write the figures there, as JSON"
    )
    flags.add_model_flags(parser)
    args = parser.parse_args(argv)
    return command.guarded(lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Measures, prints and writes the figures."""
    if args.minutes <= 0:
        raise ConfigError(f"--minutes: expected a number above 0, got {args.minutes:g}")
    if args.output and not args.output.parent.is_dir():
        raise SinkError(f"{args.output}: there is no folder {args.output.parent}")
    model = command.segmenter(args)
    pictures = _pictures(args.clip)
    model.step(_frame(pictures[0]))  # the first frame takes longer than all others
    report: dict[str, Any] = {"camera_fps": FPS, "rows": [], "memory": []}
    print(ROW.format(*HEADS, *MORE_HEADS))
    print("|---" + "|---:" * (len(HEADS + MORE_HEADS) - 1) + "|", flush=True)
    for kind, minutes, paused in _rows(args.minutes):
        row = _watch(kind, _paused(model, 10 / FPS) if paused else model, minutes * 60, pictures)
        row = {"camera": kind, "model": "10x slower" if paused else "default", **row}
        report["rows"].append(row)
        print(_line(row), flush=True)
    pictures.clear()
    for name, measured, fps, frames in (
        ("light", _light(model), None, args.frames),
        ("default", model, 2 * FPS, max(args.frames // 10, 4)),
    ):
        memory = {"model": name, **_memory(measured, _endless(args.clip, fps), frames)}
        report["memory"].append(memory)
        print(
            "memory, {model} model: {results} results of {captured} pictures in {seconds:.0f} s;"
            " {megabytes_middle:.1f} MB in the middle, {megabytes_end:.1f} MB at the end,"
            " {kilobytes_per_1000_results:+.1f} kB per 1000 results".format(**memory),
            flush=True,
        )
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _rows(minutes: float) -> Iterator[tuple[live_cameras.Kind, float, bool]]:
    """Camera, minutes, and whether the model is slowed down."""
    yield KINDS[0], minutes, True
    for kind in KINDS:
        yield kind, max(minutes / 5, SHORTEST / 60), False


@dataclass
class _Shown:
    """One shown result: all in seconds, on one clock."""

    moment: list[float] = field(default_factory=list)
    age: list[float] = field(default_factory=list)
    since_filmed: list[float] = field(default_factory=list)
    filmed: list[float] = field(default_factory=list)


def _watch(
    kind: live_cameras.Kind,
    model: VideoSegmenter,
    seconds: float,
    pictures: list[NDArray[np.uint8]],
) -> dict[str, Any]:
    """One camera for a time, switched off and on again in the middle."""
    from sipvideo.live import LiveSession

    def film(moment: float) -> NDArray[np.uint8]:
        return pictures[int(moment * FPS) % len(pictures)].copy()

    shown = _Shown()
    with (
        live_cameras.NetworkCamera(kind, film, FPS) as camera,
        LiveSession(model, {kind: camera.address}) as session,
    ):
        begun = time.monotonic()
        switch = _OffAndOn(camera, seconds / 2)

        def is_back() -> bool:
            return bool(shown.filmed) and shown.filmed[-1] > switch.back_at

        for live in _until(session, begun + seconds, is_back):
            filmed = live_cameras.painted_time(live.result.frame.image)
            age = live.shown()
            shown.moment.append(time.monotonic() - begun)
            shown.age.append(age)
            shown.filmed.append(filmed)
            shown.since_filmed.append(time.monotonic() - filmed)
        seconds = time.monotonic() - begun
        switch.join()
        status = session.status(kind)
    return _figures(shown, seconds, switch.back_at) | {
        "source_fps": round(status.source_fps, 2),
        "captured": status.captured,
        "delivered": status.delivered,
        "dropped": status.dropped,
        "adds_up": status.captured
        == status.delivered + sum(status.dropped.values()) + status.pending,
        "reconnects": status.reconnects,
        "interruption_seconds": status.last_recovery,
    }


class _OffAndOn(threading.Thread):
    """Kills a camera's server after a time and starts it again."""

    def __init__(self, camera: live_cameras.NetworkCamera, after: float) -> None:
        super().__init__(daemon=True)
        self._camera, self._after = camera, after
        self.back_at = float("inf")
        self.start()

    def run(self) -> None:
        time.sleep(self._after)
        self._camera.kill()
        time.sleep(OUTAGE)
        self._camera.start()
        self.back_at = time.monotonic()


def _figures(shown: _Shown, seconds: float, back_at: float) -> dict[str, Any]:
    moment, age = np.array(shown.moment), np.array(shown.age) * 1000
    late = moment > seconds / 2
    after = np.array(shown.filmed) > back_at
    shown_at = np.array(shown.filmed) + np.array(shown.since_filmed)
    return {
        "seconds": seconds,
        "fps": len(age) / seconds,
        "age_ms": _p50_p95(age),
        "age_ms_first_half": _p50_p95(age[~late]),
        "age_ms_second_half": _p50_p95(age[late]),
        "age_slope_ms_per_minute": _slope(moment / 60, age),
        "filmed_to_shown_ms": _p50_p95(np.array(shown.since_filmed) * 1000),
        "recovery_seconds": float(shown_at[after].min() - back_at) if after.any() else None,
    }


def _slope(minutes: NDArray[np.float64], age: NDArray[np.float64]) -> float | None:
    """Of the medians of ten parts of the time, so that one hiccup does not make a trend."""
    parts = [part for part in np.array_split(np.arange(len(age)), 10) if len(part)]
    if len(parts) < 2:
        return None
    middles = np.array([minutes[part].mean() for part in parts])
    medians = np.array([np.median(age[part]) for part in parts])
    return round(float(np.polyfit(middles, medians, 1)[0]), 3)


def _p50_p95(values: NDArray[np.float64]) -> list[float]:
    return [round(float(v), 1) for v in np.percentile(values, (50, 95))] if len(values) else []


def _line(row: dict[str, Any]) -> str:
    def pair(name: str) -> str:
        return " / ".join(f"{value:.0f}" for value in row[name]) or "-"

    back, slope = row["recovery_seconds"], row["age_slope_ms_per_minute"]
    return ROW.format(
        f"{row['camera']}, {row['model']}",
        f"{row['seconds']:.0f}",
        f"{row['fps']:.1f}",
        pair("age_ms_first_half"),
        pair("age_ms_second_half"),
        "-" if slope is None else f"{slope:+.1f}",
        pair("filmed_to_shown_ms"),
        f"{sum(row['dropped'].values()) / max(row['captured'], 1):.1%}",
        "never" if back is None else f"{back:.1f} s",
    )


def _until(session: LiveSession, end: float, is_back: Callable[[], bool]) -> Iterator[Any]:
    """What comes before a moment of ``time.monotonic``, and later if the camera is not back by then."""
    while (left := end - time.monotonic()) > 0 or (left > -LATEST and not is_back()):
        live = session.next(max(left, 0.1))
        if live is not None:
            yield live


def _paused(model: VideoSegmenter, seconds: float) -> VideoSegmenter:
    """The same model, taking at least so long for a frame."""

    def segment(frame: Frame) -> Detections:
        begun = time.monotonic()
        found = model.segment(frame)
        time.sleep(max(begun + seconds - time.monotonic(), 0.0))
        return found

    return VideoSegmenter(segment, model.another().tracker, model.class_names)


def _light(model: VideoSegmenter) -> VideoSegmenter:
    """The same tracker behind a model that takes no time: what is darker than its surroundings are objects."""
    import cv2

    from sipvideo.masks import CompactMasks
    from sipvideo.structures import Detections

    def segment(frame: Frame) -> Detections:
        small = cv2.resize(frame.image[::4, ::4, 1], None, fx=0.25, fy=0.25)
        dark = (small < float(small.mean()) * 0.7).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(dark)
        found = (stats[1:21, :4] * 16).astype(np.float32)
        boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1)
        boxes = np.minimum(boxes, np.array([*frame.size[::-1]] * 2, np.float32))
        origins = [(int(x), int(y)) for x, y in boxes[:, :2]]
        crops = [np.ones((int(y1 - y0), int(x1 - x0)), bool) for x0, y0, x1, y1 in boxes]
        return Detections(
            boxes=boxes,
            scores=np.full(len(boxes), 0.9, np.float32),
            labels=np.zeros(len(boxes), np.int64),
            masks=CompactMasks.from_crops(crops, origins, frame.size),
            embeddings=np.zeros((len(boxes), 0), np.float32),
        )

    return VideoSegmenter(segment, model.another().tracker, model.class_names)


def _memory(model: VideoSegmenter, opener: Callable[[], Source], frames: int) -> dict[str, Any]:
    """Resident memory over so many results."""
    from sipvideo.live import LiveSession

    places: list[tuple[int, float]] = []
    begun = time.monotonic()
    with LiveSession(model, {"clip": opener}) as session:
        for number, live in enumerate(itertools.islice(session, frames)):
            live.shown()
            if number >= len(places) * frames / LOOKS:
                gc.collect()  # what is left then cannot be freed: a leak, and not only untidiness
                places.append((number, _resident_megabytes()))
        status = session.status("clip")
    # The first half fills caches and pools; what grows in the second one would go on growing.
    later = np.array(places[len(places) // 2 :])
    slope = np.polyfit(later[:, 0], later[:, 1], 1)[0]
    return {
        "captured": status.captured,
        "results": status.delivered,
        "seconds": time.monotonic() - begun,
        "megabytes_middle": round(float(later[0, 1]), 2),
        "megabytes_end": round(float(later[-1, 1]), 2),
        "kilobytes_per_1000_results": round(float(slope) * 1e6, 2),
    }


def _endless(clip: Path, fps: float | None) -> Callable[[], Source]:
    """A live source that decodes a clip again and again; without ``fps`` as fast as it can."""
    from sipvideo.sources import Capture, Source, VideoFile

    class Endless(Source):
        is_live = True
        start = None

        def _captures(self) -> Generator[Capture, None, None]:
            index = itertools.count()
            begun = time.monotonic()
            with VideoFile(clip) as video:
                while True:
                    for one in video.captures():
                        number = next(index)
                        if fps is not None:
                            time.sleep(max(begun + number / fps - time.monotonic(), 0.0))
                        yield Capture(number, number / FPS, one.rgb)

        def _frames(self) -> Generator[Frame, None, None]:
            return (capture.frame() for capture in self._captures())

    return lambda: Endless(str(clip))


def _resident_megabytes() -> float:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
    return float("nan")


def _pictures(clip: Path) -> list[NDArray[np.uint8]]:
    from sipvideo.sources import VideoFile

    with VideoFile(clip) as video:
        return [frame.image for frame in itertools.islice(video, 300)]


def _frame(image: NDArray[np.uint8]) -> Frame:
    from sipvideo.structures import Frame

    return Frame(image, 0, 0.0)


if __name__ == "__main__":
    sys.exit(main())
