"""What spreading jobs over workers costs and brings, in alternation: wall and processor time.

    python -m benchmarks.jobs_workers overhead FOLDER    # a job of one second of video beside its bare work
    python -m benchmarks.jobs_workers workers FOLDER     # 1, 2 and 4 workers against one process, default model

Models are loaded before the clock starts. Processor time is that of the driver and all workers; on a machine that does
other things too it is the figure to look at. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from sipvideo.config import TrackerConfig
from sipvideo.jobs import (
    Entry,
    Executor,
    InProcess,
    Job,
    Ledger,
    Monitor,
    SegmenterSpec,
    WorkerPool,
)
from sipvideo.pipeline import VideoSegmenter
from sipvideo.results import Results
from sipvideo.sources import VideoFile
from sipvideo.tracker import build_tracker
from tests.fuzz.engines import CLASSES, detect
from tests.media import picture, write_video

EXAMPLE = Path(__file__).parents[1] / "examples" / "pedestrians.mp4"
KINDS = ("csv", "json")


@dataclass(frozen=True)
class FoundSpec(SegmenterSpec):
    """Three objects in every frame, in no time."""

    def build(self) -> VideoSegmenter:
        """A segmenter whose tracker is the real one."""
        return VideoSegmenter(detect, build_tracker(TrackerConfig()), CLASSES)


def used() -> float:
    """Seconds of processor time of this process and its children, living and dead."""
    here = psutil.Process()
    own = here.cpu_times()
    children = sum(sum(child.cpu_times()[:2]) for child in here.children())
    return own.user + own.system + children


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, processor = time.perf_counter(), used()
    work()
    return time.perf_counter() - wall, used() - processor


def through(executor: Executor, clips: Sequence[Path], out: Path, ahead: int) -> None:
    """All clips as the command runs them: listed in a ledger, run, settled."""
    shutil.rmtree(out, ignore_errors=True)
    with Ledger(out / "ledger.sqlite") as ledger:
        ledger.begin({})
        ledger.enter(Entry(str(clip), clip.stem) for clip in clips)

        def jobs() -> Iterator[Job]:
            for entry in ledger.taken():
                yield Job(entry.input, out / entry.name, KINDS, name=entry.name, ahead=ahead)

        for outcome in executor.run(jobs(), Monitor()):
            assert outcome.summary.state == "complete", outcome.summary.problem
            ledger.settle(outcome.job.name, outcome.summary, outcome.tries)


def bare(clips: Sequence[Path], out: Path) -> None:
    """The work of the same clips alone: decoding, association, writing."""
    shutil.rmtree(out, ignore_errors=True)
    segmenter = FoundSpec().build()
    for clip in clips:
        with (
            VideoFile(clip) as source,
            Results(source, CLASSES, out / clip.stem, KINDS) as results,
        ):
            for result in segmenter.run(source):
                results.write(result)


def overhead(folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of a job beside its work, clips of one second, one warm worker."""
    clips = [folder / "clips" / f"{k}.mp4" for k in range(40)]
    clips[0].parent.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        write_video(clip, [picture(k) for k in range(25)])
    found: dict[str, list[tuple[float, float]]] = {"bare": [], "one process": [], "worker": []}
    with WorkerPool(FoundSpec(), 1) as pool, InProcess(FoundSpec()) as here:
        for executor in (pool, here):
            executor.load()
            through(executor, clips[:3], folder / "warm", 0)
        for _ in range(rounds):
            found["bare"].append(timed(lambda: bare(clips, folder / "bare")))
            for name, executor in (("one process", here), ("worker", pool)):
                run = lambda e=executor: through(e, clips, folder / "jobs", 0)  # noqa: E731
                found[name].append(timed(run))
    each = {
        name: [1000 * statistics.median(pair[k] for pair in pairs) / len(clips) for k in (0, 1)]
        for name, pairs in found.items()
    }
    return {
        "milliseconds_of_a_job": {
            name: dict(zip(("wall", "processor"), (round(v, 1) for v in pair), strict=True))
            for name, pair in each.items()
        },
        "overhead_milliseconds_processor": round(each["worker"][1] - each["bare"][1], 1),
        "overhead_milliseconds_wall": round(each["worker"][0] - each["bare"][0], 1),
    }


def workers(folder: Path, rounds: int) -> dict[str, Any]:
    """Speed of 1, 2 and 4 workers beside one process, the default model on the example clip."""
    clips = [folder / "clips" / f"{k}.mp4" for k in range(4)]
    clips[0].parent.mkdir(parents=True, exist_ok=True)
    with VideoFile(EXAMPLE) as film:
        pictures = [frame.image for frame in film][:16]
    for clip in clips:
        write_video(clip, pictures)
    spec = SegmenterSpec(device="cpu").sealed()
    found: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:
        executors = {"one process": stack.enter_context(InProcess(spec))}
        executors |= {f"{n} workers": stack.enter_context(WorkerPool(spec, n)) for n in (1, 2, 4)}
        for executor in executors.values():
            executor.load()
            through(executor, clips, folder / "warm", 3)
        for _, (name, executor) in product(range(rounds), executors.items()):
            run = lambda e=executor: through(e, clips, folder / "out", 3)  # noqa: E731
            found.setdefault(name, []).append(timed(run))
    alone = found["one process"]
    return {
        name: {
            "wall_ratio": round(
                statistics.median(a[0] / b[0] for a, b in zip(alone, pairs, strict=True)), 2
            ),
            "processor_ratio": round(
                statistics.median(a[1] / b[1] for a, b in zip(alone, pairs, strict=True)), 2
            ),
            "seconds": [round(pair[0], 1) for pair in pairs],
        }
        for name, pairs in found.items()
    }


def main() -> None:
    """Runs one of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("overhead", "workers"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    figures = (overhead if given.what == "overhead" else workers)(given.folder, given.rounds)
    print(json.dumps({"load": round(psutil.getloadavg()[0], 1), **figures}, indent=2))


if __name__ == "__main__":
    main()
