"""``make soak``: hours of live use of ``sipvideo serve`` with all that can go wrong; memory and handles.

The server is a process as people start it. Four cameras on this machine, one of each kind, die, hang and change their
size; visitors watch, send webcam pictures, upload, download, delete and leave rudely; beside it a live session of the
library is recorded, on and off. Every ten seconds a line goes to ``samples.csv``, readable at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.apps import command
from sipvideo.apps.reports import CHECKOUT
from sipvideo.errors import ConfigError, SinkError

CLIP = CHECKOUT / "examples" / "pedestrians.mp4"
EVERY = 10.0
"""Seconds between samples."""

VISITORS = 3
COLUMNS = {
    "server_mb": "server, resident MB",
    "server_handles": "server, open handles",
    "server_threads": "server, threads",
    "server_files": "server, temporary files",
    "server_files_mb": "server, temporary MB",
    "server_cpu": "server, cores busy",
    "recorder_mb": "recorder, resident MB",
    "recorder_handles": "recorder, open handles",
    "recorder_threads": "recorder, threads",
    "results_per_second": "results per second, all cameras",
    "age_p50_ms": "captured to received, ms, p50",
    "age_p95_ms": "captured to received, ms, p95",
    "filmed_p50_ms": "filmed to received, ms, p50",
    "filmed_p95_ms": "filmed to received, ms, p95",
    "recovery_s": "camera back to seen again, s, longest",
}
"""What is sampled, and what it is called in the table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 1 after failures."""
    parser = argparse.ArgumentParser(
        prog="apps/reports/soak/run.py", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--minutes", type=float, default=120.0, help="default: 120")
    parser.add_argument(
        "-o", "--output", metavar="DIR", type=Path, default=Path("soak"), help="default: soak"
    )
    parser.add_argument(
        "--report", action="store_true", help="only the table of what is in the folder already"
    )
    args = parser.parse_args(argv)
    return command.guarded(lambda: report(args.output) if args.report else run(args))


def run(args: argparse.Namespace) -> int:
    """Soaks, and prints the table."""
    if args.minutes <= 0:
        raise ConfigError(f"--minutes: expected a number above 0, got {args.minutes:g}")
    if (args.output / "samples.csv").exists():
        raise SinkError(f"{args.output}: holds a soak already: name another folder, or --report")
    from sipvideo.apps.reports.soak import visitors as soak_visitors

    args.output.mkdir(parents=True, exist_ok=True)
    tally = soak_visitors.Tally(args.output / "failures.log")
    films = _films(soak_visitors.SIZES)
    kinds: tuple[Any, ...] = ("http", "udp", "tcp", "rtsp")
    cameras = [
        soak_visitors.Camera(str(number), kind, films, tally)
        for number, kind in enumerate(kinds, 1)
    ]
    addresses = [camera.camera.address for camera in cameras]
    with contextlib.ExitStack() as stack:
        server, page = stack.enter_context(_server(args.output, addresses))
        recorder = stack.enter_context(_recorder(args.output, addresses[0]))
        stack.callback(tally.ending.set)
        visitors = soak_visitors.Visitors(page, tally, films[soak_visitors.SIZES[0]], _clips(films))
        people = [soak_visitors.started(visitors.come_and_go, seed) for seed in range(VISITORS)]
        for camera in cameras:
            people.append(soak_visitors.started(visitors.stay, camera.key))
            camera.start()
        soak_visitors.started(_count_recordings, recorder, tally)
        _sample(args, tally, server, recorder)
        tally.ending.set()
        for thread in (*people, *cameras):
            thread.join(soak_visitors.PATIENCE)
        tally.ending.clear()  # from here on every trouble counts again
        _end(server, args.output, tally)
    return report(args.output)


@contextlib.contextmanager
def _server(folder: Path, addresses: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running command, and its page."""
    arguments = [part for address in addresses for part in ("--source", address)]
    arguments += ["--port", "0", "--keep", "60s", "--max-jobs", "1"]
    with _process(folder, "server", "sipvideo.apps.main", "serve", *arguments) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if "open http" not in line:
            raise SinkError(f"the server did not start: see {folder / 'server.log'}")
        yield process, line.split()[2]


@contextlib.contextmanager
def _recorder(folder: Path, address: str) -> Iterator[subprocess.Popen[str]]:
    place = str(folder / "recordings")
    with _process(
        folder, "recorder", "sipvideo.apps.reports.soak.recorder", address, place
    ) as process:
        yield process


@contextlib.contextmanager
def _process(folder: Path, name: str, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A Python module as a process, with a folder of its own for temporary files."""
    temporary = folder / f"{name}-temporary"
    temporary.mkdir(exist_ok=True)
    surroundings = os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=subprocess.PIPE,
            stderr=log,
            env=surroundings,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _sample(
    args: argparse.Namespace,
    tally: Any,
    server: subprocess.Popen[str],
    recorder: subprocess.Popen[str],
) -> None:
    """A line of figures every ten seconds, until the time is over or a process has ended."""
    columns = ["seconds", *COLUMNS, "failures"]
    cpu = _cpu_seconds(server.pid)
    due = last = tally.begun = time.monotonic()
    with (args.output / "samples.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        while last - tally.begun < args.minutes * 60:
            due += EVERY
            time.sleep(max(due - time.monotonic(), 0.0))
            for name, process in (("server", server), ("recorder", recorder)):
                if process.poll() is not None:
                    tally.fail(f"the {name} ended with {process.returncode}")
                    return
            now = time.monotonic()
            row = {"seconds": now - tally.begun} | _of_process(server.pid, "server")
            row |= _of_process(recorder.pid, "recorder") | _shown(tally, now - last)
            row |= _temporary(args.output / "server-temporary")
            busy, cpu = cpu, _cpu_seconds(server.pid)
            row |= {"server_cpu": (cpu - busy) / (now - last), "failures": tally.failures}
            writer.writerow({name: round(value, 3) for name, value in row.items()})
            file.flush()
            (args.output / "counts.json").write_text(json.dumps(tally.counts, indent=2), "utf-8")
            last = now


def _of_process(pid: int, name: str) -> dict[str, float]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return {
        f"{name}_mb": int(lines["VmRSS"].split()[0]) / 1024,
        f"{name}_handles": len(os.listdir(f"/proc/{pid}/fd")),
        f"{name}_threads": int(lines["Threads"]),
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _temporary(folder: Path) -> dict[str, float]:
    sizes = []
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed just now
            if path.is_file():
                sizes.append(path.stat().st_size)
    return {"server_files": len(sizes), "server_files_mb": sum(sizes) / 2**20}


def _shown(tally: Any, seconds: float) -> dict[str, float]:
    ages, recoveries = tally.take()
    row = {
        "results_per_second": len(ages) / seconds,
        "recovery_s": max(recoveries, default=float("nan")),
    }
    for name, values in (("age", ages[:, 0]), ("filmed", ages[:, 1])):
        p50, p95 = np.percentile(values, (50, 95)) * 1000 if len(values) else (np.nan, np.nan)
        row |= {f"{name}_p50_ms": float(p50), f"{name}_p95_ms": float(p95)}
    return row


def _count_recordings(recorder: subprocess.Popen[str], tally: Any) -> None:
    assert recorder.stdout is not None
    for line in recorder.stdout:
        told = json.loads(line)
        tally.count("recordings")
        tally.count("frames recorded", told["frames"])
        tally.count("frames not recorded", told["dropped"])
        if told["problem"] or told["playable"] != told["frames"]:
            tally.fail(f"recording: {told}")


def _end(server: subprocess.Popen[str], folder: Path, tally: Any) -> None:
    """Ctrl-C, and what is left afterwards."""
    server.send_signal(signal.SIGINT)
    try:
        code = server.wait(30)
    except subprocess.TimeoutExpired:
        tally.fail("the server did not end within 30 s of Ctrl-C")
        return
    if code != 130:
        tally.fail(f"the server ended with {code} after Ctrl-C, expected 130")
    left = [str(path) for path in (folder / "server-temporary").rglob("*")]
    if left:
        tally.fail(f"temporary files are left: {left[:5]}")


def report(folder: Path) -> int:
    """Prints the table of a soak, finished or not; 1 where something failed."""
    try:
        with (folder / "samples.csv").open(encoding="utf-8", newline="") as file:
            rows = [
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            ]
        counts = json.loads((folder / "counts.json").read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from error
    if len(rows) < 8:
        raise ConfigError(f"{folder}: {len(rows)} samples are too few for a table, expected 8")
    hours = np.array([row["seconds"] for row in rows]) / 3600
    print(f"{hours[-1] * 60:.0f} minutes, {len(rows)} samples\n")
    print("| | first quarter | last quarter | per hour |\n|---|---:|---:|---:|")
    for name, title in COLUMNS.items():
        values = np.array([row[name] for row in rows])
        quarters = np.array_split(values, 4)
        first, last = (_median(part) for part in (quarters[0], quarters[-1]))
        print(f"| {title} | {first:.4g} | {last:.4g} | {_slope(hours, values):+.3g} |")
    print("\n" + "\n".join(f"{what}: {number}" for what, number in sorted(counts.items())))
    log = folder / "failures.log"
    failures = log.read_text("utf-8") if log.is_file() else ""
    print(f"\nfailures: {len(failures.splitlines())}\n{failures}", end="")
    return 1 if failures else 0


def _median(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _slope(hours: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Per hour, after the first quarter, in which caches and pools fill; the median of all pairs' slopes."""
    from scipy.stats import theilslopes

    later = (np.arange(len(values)) >= len(values) // 4) & ~np.isnan(values)
    return float(theilslopes(values[later], hours[later])[0]) if later.sum() > 1 else float("nan")


def _films(sizes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], list[NDArray[np.uint8]]]:
    """The example clip in those sizes, five pictures a second."""
    import cv2

    from sipvideo.sources import VideoFile

    with VideoFile(CLIP) as video:
        frames = [frame.image for frame in video][::5]
    films: dict[tuple[int, int], list[NDArray[np.uint8]]] = {}
    for height, width in sizes:
        small = [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames
        ]
        films[height, width] = [np.asarray(frame, np.uint8) for frame in small]
    return films


def _clips(films: dict[tuple[int, int], list[NDArray[np.uint8]]]) -> dict[str, bytes]:
    """Videos to upload."""
    import io

    import av

    clips = {"no video": b"no video at all" * 1000}
    for name, form in (("whole", "mp4"), ("cut", "matroska")):
        file = io.BytesIO()
        with av.open(file, "w", format=form) as container:
            stream = container.add_stream("libx264", rate=10)
            stream.height, stream.width, stream.pix_fmt = 180, 320, "yuv420p"
            for picture in films[180, 320][:20]:
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        clips[name] = file.getvalue()
    clips["cut"] = clips["cut"][: len(clips["cut"]) // 2]
    return clips


if __name__ == "__main__":
    sys.exit(main())
