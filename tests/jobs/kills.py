"""A run whose workers and driver are killed at random, and its results against those of an undisturbed one.

    python -m tests.jobs.kills FOLDER --clips 200 --kills 60 --seed 1 [--real]

``--real`` takes the default model instead of a stand-in that needs 50 ms a frame. What is compared: every input is
complete in its one row of the ledger, nothing half done is in the folders, text files are equal byte by byte, videos
picture by picture.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sipvideo.apps import command, video
from sipvideo.errors import SinkError
from sipvideo.jobs import LEDGER, Ledger
from sipvideo.sources import VideoFile
from sipvideo.summary import SUMMARY, Summary
from tests.jobs.odd import SLOW, OddSpec, clip

SAVED = "lines,json,csv,video"
ROUNDS = 200
"""Starts after which a run is taken for one that never ends."""


@dataclass
class Kills:
    """What was done to a run, and what came of it."""

    workers: int = 0
    drivers: int = 0
    starts: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    tries: dict[int, int] = field(default_factory=dict)


def prepare(folder: Path, clips: int, frames: int) -> Path:
    """Clips of different lengths, and their list."""
    paths = [folder / "in" / f"camera{k % 7}" / f"{k:03}.mp4" for k in range(clips)]
    for k, path in enumerate(paths):
        if not path.exists():
            clip(path, SLOW, frames + k % 5)
    (folder / "list.txt").write_text("".join(f"{path.relative_to(folder)}\n" for path in paths))
    return folder / "list.txt"


def command_line(folder: Path, out: str, real: bool, *more: str) -> list[str]:
    """Of a run over the list; the module itself is the command with the stand-in."""
    module = ["sipvideo.apps.main", "video"] if real else ["tests.jobs.kills", "--as-command"]
    flags = ["--list", "list.txt", "-o", out, "--save", SAVED, "--device", "cpu", "-q", *more]
    return [sys.executable, "-m", *module, *flags]


def start(line: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """A run in the folder, on one core, so that engine and encoder have as many threads as in each of two workers."""
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(line, cwd=folder, env=environment, stderr=log)


def undisturbed(folder: Path, real: bool) -> None:
    """The same inputs one after the other, on one core."""
    line = command_line(folder, "expected", real, "--resume")
    if sys.platform == "linux":
        line = ["taskset", "-c", str(min(os.sched_getaffinity(0))), *line]
    assert start(line, folder).wait() == 0


def disturbed(folder: Path, kills: int, seed: int, real: bool) -> Kills:
    """A run that is killed so many times, now a worker, now the driver, and started again until it is done."""
    dice, done = random.Random(seed), Kills()
    began = time.monotonic()
    line = command_line(folder, "out", real, "--resume", "--workers", "2")
    while done.starts < ROUNDS:
        driver = start(line, folder)
        done.starts += 1
        while driver.poll() is None and done.workers + done.drivers < kills:
            if dice.random() < 0.9:  # else at any time, while models are loaded for instance
                _wait_for_work(folder / "out", driver)
            time.sleep(dice.uniform(0.0, 1.0))
            _kill_one(driver, dice, done)
        if driver.wait() == 0:
            break
    done.seconds = round(time.monotonic() - began, 1)
    return done


def _wait_for_work(out: Path, driver: subprocess.Popen[bytes]) -> None:
    """Until some input is in work in a run that lives, or the run has ended."""
    while driver.poll() is None:
        with contextlib.suppress(SinkError), Ledger(out / LEDGER) as ledger:
            if ledger.counts()["running"]:
                return
        time.sleep(0.05)


def _kill_one(driver: subprocess.Popen[bytes], dice: random.Random, done: Kills) -> None:
    """The driver one time in four, else one of its workers."""
    with contextlib.suppress(psutil.NoSuchProcess):
        processes = psutil.Process(driver.pid).children()
        workers = [one for one in processes if "spawn_main" in " ".join(one.cmdline())]
        if dice.random() < 0.25 and driver.poll() is None:
            driver.kill()
            driver.wait()
            done.drivers += 1
        elif workers:
            dice.choice(workers).kill()
            done.workers += 1


def compare(folder: Path, done: Kills) -> None:
    """Writes down what is wrong."""
    listed = [f"{line}" for line in (folder / "list.txt").read_text().split()]
    with Ledger(folder / "out" / LEDGER) as ledger:
        rows = list(ledger.jobs())
    done.tries = dict(sorted(Counter(row["tries"] for row in rows).items()))
    if sorted(row["input"] for row in rows) != sorted(listed):
        done.wrong.append("the ledger has other inputs than the list")
    done.wrong += [f"{row['input']}: {row['state']}" for row in rows if row["state"] != "complete"]
    for name in listed:
        one, other = folder / "expected" / name, folder / "out" / name
        summary = Summary.read(other)
        if summary is None or summary.state != "complete":
            done.wrong.append(f"{name}: no summary that says complete")
            continue
        if sorted(path.name for path in other.iterdir()) != sorted([*summary.files, SUMMARY]):
            done.wrong.append(f"{name}: has files that are not results")
        for file in summary.files:
            if _content(one / file) != _content(other / file):
                done.wrong.append(f"{name}: {file} is another one")


def _content(path: Path) -> str:
    """A checksum of a text file, or of all pictures of a video."""
    if path.suffix != ".mp4":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    with VideoFile(path) as film:
        for frame in film:
            whole.update(f"{frame.timestamp:.4f}".encode())
            whole.update(frame.image.tobytes())
    return whole.hexdigest()


def main() -> int:
    """The test as a command; prints what was done as JSON."""
    if sys.argv[1:2] == ["--as-command"]:
        args = video.parse(sys.argv[2:])
        spec = OddSpec(**vars(command.spec(args)))
        return command.guarded(lambda: video.run(args, spec))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--frames", type=int, default=10)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    prepare(given.folder, given.clips, given.frames)
    undisturbed(given.folder, given.real)
    done = disturbed(given.folder, given.kills, given.seed, given.real)
    compare(given.folder, done)
    print(json.dumps(vars(done) | {"clips": given.clips}, indent=2))
    return 1 if done.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
