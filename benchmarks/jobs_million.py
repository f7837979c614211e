"""The driver of ``sipvideo video --list --workers`` with a million inputs; workers only say that they are done.

    python benchmarks/jobs_million.py --jobs 1000000 --workers 2 FOLDER

Makes that many empty files in FOLDER, lists them, and runs the command on the list. All is real but the segmenting: the
list is read, every input looked at, entered in the ledger, sent to a worker process, and settled with a summary of a
usual size. Prints JSON: seconds and memory of the driver, and what the ledger says.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

from sipvideo.apps import video
from sipvideo.config import TrackerConfig
from sipvideo.jobs import LEDGER, Job, SegmenterSpec, worker
from sipvideo.machine import peak_memory
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.summary import Summary
from sipvideo.tracker import build_tracker

FILES = {"video.mp4": 10_000_000, "results.json": 200_000, "objects.csv": 90_000}


@dataclass(frozen=True)
class StandInSpec(SegmenterSpec):
    """In a worker, jobs are settled without being run."""

    def build(self) -> VideoSegmenter:
        """A segmenter that nobody asks for anything."""
        worker.run_job = _settled

        def nothing(frame: Frame) -> Detections:
            raise AssertionError(frame)

        return VideoSegmenter(nothing, build_tracker(TrackerConfig()), ("person",))


def _settled(job: Job, *_: object) -> Summary:
    summary = Summary(input=job.input, settings=job.settings, state="complete", frames=250)
    summary.objects, summary.identities, summary.seconds, summary.duration = 1000, 7, 1.0, 10.0
    summary.files, summary.checksums = FILES, dict.fromkeys(FILES, "0" * 64)
    return summary


def prepare(folder: Path, count: int) -> Path:
    """The files, a thousand in a folder, and their list."""
    path = folder / "list.txt"
    with path.open("w", encoding="utf-8") as file:
        for k in range(count):
            clip = folder / "in" / f"camera{k // 1000:04}" / f"{k % 1000:03}.mp4"
            if k % 1000 == 0:
                clip.parent.mkdir(parents=True, exist_ok=True)
            clip.touch()
            file.write(f"{clip}\n")
    return path


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--workers", default="2")
    given = parser.parse_args()
    listed = prepare(given.folder, given.jobs)
    out = given.folder / "out"
    args = video.parse(["--list", str(listed), "-o", str(out), "--workers", given.workers])
    began, used = time.perf_counter(), time.process_time()
    code = video.run(args, StandInSpec())
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    with sqlite3.connect(out / LEDGER) as base:
        counts = dict(base.execute("SELECT state, count(*) FROM jobs GROUP BY state"))
        files = base.execute("SELECT count(*) FROM files").fetchone()[0]
    size = (out / LEDGER).stat().st_size
    told = {
        "exit_code": code,
        "jobs": counts,
        "files": files,
        "driver_peak_megabytes": round(peak_memory() or 0.0),
        "milliseconds_each": round(1000 * wall / given.jobs, 3),
        "driver_cpu_milliseconds_each": round(1000 * cpu / given.jobs, 3),
        "ledger_megabytes": round(size / 1e6),
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
