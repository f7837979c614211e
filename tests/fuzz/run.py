"""The long run: hands numbers to a worker, watches it, keeps what it says, starts another when it dies."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.kinds import kind_of

OUTCOMES = "outcomes.jsonl"
ROUND = 3000
"""Cases after which a worker is replaced, as users' processes are young too."""
KEPT = 4
"""Inputs that are kept of each finding."""
Outcome = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """Of one case: seconds of processor time, seconds of any clock, memory of the process."""

    seconds: float = 30.0
    still_seconds: float = 300.0
    megabytes: int = 1536
    again: bool = True
    """What died, hung or took much memory is tried again by a process of its own, as other inputs came before."""


LIMITS = Limits()


class Worker:
    """One process that runs cases, and its watch."""

    def __init__(self, seed: int, folder: Path, limits: Limits) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.limits = folder.resolve(), limits
        self.done = 0
        root = Path(__file__).resolve().parents[2]
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.fuzz.worker",
            str(seed),
            str(self.folder),
        ]
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "SVT_LOG": "0"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root, env=environment
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has imported everything

    def run(self, number: int, kind: str) -> Outcome:
        """One case; a death, a hang or too much memory is an outcome too."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        begun, peak, problem = time.monotonic(), 0, ""
        busy = self._busy()
        try:
            self._process.stdin.write(f"{number} {kind}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            problem = "died between two cases"
        while not problem:
            if select.select([self._process.stdout], [], [], 0.05)[0]:
                line = self._process.stdout.readline()
                if line:
                    self.done += 1
                    return self._judged(json.loads(line))
                problem = "killed"
            peak = max(peak, self._megabytes())
            if peak > self.limits.megabytes:
                problem = "memory"
            elif (
                self._busy() - busy > self.limits.seconds
                or time.monotonic() - begun > self.limits.still_seconds
            ):
                problem = "hang"
        where = self._end()
        seconds = round(time.monotonic() - begun, 3)
        about = (self.folder / "about").read_text(errors="replace").splitlines()[:1]
        return {
            **{
                "number": number,
                "kind": kind,
                "code": self._process.returncode,
                "seconds": seconds,
            },
            **{"peak_mb": peak, "about": "".join(about), "problem": problem, "where": where},
        }

    def _judged(self, outcome: Outcome) -> Outcome:
        if outcome["problem"] is None and outcome["peak_mb"] > self.limits.megabytes:
            outcome |= {"problem": "memory", "where": f"{outcome['peak_mb']} MB"}
        return outcome

    def _megabytes(self) -> int:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * 4096 // 2**20

    def _busy(self) -> float:
        """Seconds of processor time of all its threads: a machine with other work to do makes nothing hang."""
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _end(self) -> str:
        """Ends the process; gives where it was: the innermost line of ours on its main stack."""
        if self._process.poll() is None:
            self._process.send_signal(
                signal.SIGUSR1
            )  # its stacks, as far as it can still write them
            time.sleep(0.3)
        self.close()
        text = (self.folder / "stacks").read_text(errors="replace")
        stacks = [stack for stack in text.split("\n\n") if "fuzz/worker.py" in stack]
        lines = [line.strip() for line in stacks[-1].splitlines()] if stacks else []
        ours = [line for line in lines if re.search(r"/(sipvideo|apps)/", line)]
        ours = [line for line in ours if "site-packages" not in line]
        signal_name = ""
        if self._process.returncode < 0:
            signal_name = signal.Signals(-self._process.returncode).name
        place = ours[0] if ours else "?"
        return f"{signal_name} at {place.replace(str(Path(__file__).parents[2]), '')}"

    @property
    def usable(self) -> bool:
        """Whether it lives, and is not yet due for replacement."""
        return self._process.poll() is None and self.done < ROUND

    def close(self) -> None:
        """Ends the process."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Fuzzer:
    """Runs inputs in one worker after the other, and keeps the inputs of those that broke a rule.

    Args:
        seed: of everything.
        folder: for the worker's files and the findings.
        limits: of a case.
    """

    def __init__(self, seed: int, folder: Path, limits: Limits = LIMITS) -> None:
        self.seed, self.folder, self.limits = seed, folder, limits
        self._worker: Worker | None = None
        self._findings: Counter[str] = Counter()

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def run(self, number: int, kind: str) -> Outcome:
        """One input: its last word."""
        outcome = self._run(number, kind)
        if outcome["problem"] in ("hang", "killed", "memory") and self.limits.again:
            self.__exit__()
            again = self._run(number, kind)
            outcome = again if again["problem"] else {**again, "once": outcome["problem"]}
        if outcome["problem"]:
            key = f"{outcome['problem']} {outcome['where']}"
            self._findings[key] += 1
            if self._findings[key] <= KEPT:
                _keep(self.folder, outcome)
        return outcome

    def _run(self, number: int, kind: str) -> Outcome:
        if self._worker is None or not self._worker.usable:
            self.__exit__()
            self._worker = Worker(self.seed, self.folder / "work", self.limits)
        return self._worker.run(number, kind)


def _keep(folder: Path, outcome: Outcome) -> None:
    """Copies a case with what it said."""
    target = folder / "findings" / f"{outcome['kind']}-{outcome['number']}"
    shutil.rmtree(target, ignore_errors=True)
    ignore = shutil.ignore_patterns("out", "tmp", "model")
    work = folder / "work"
    shutil.copytree(work / "case", target / "case", ignore=ignore, dirs_exist_ok=True)
    for name in ("about", "stdout", "stderr", "stacks"):
        if (work / name).is_file():
            (target / name).write_bytes((work / name).read_bytes()[:20000])
    (target / "outcome.json").write_text(json.dumps(outcome, indent=2))


def outcomes(folder: Path) -> list[Outcome]:
    """What an earlier run has left, the last word on every input."""
    path = folder / OUTCOMES
    known: dict[int, Outcome] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.endswith("}"):  # not one that a kill cut off
                outcome = json.loads(line)
                known[outcome["number"]] = outcome
    return list(known.values())


def long_run(
    seed: int, count: int, folder: Path, only: str | None = None, *, mended: bool = False
) -> Iterator[Outcome]:
    """All inputs that an earlier run in the folder has not done; each outcome is a line on disk at once.

    Args:
        seed: of everything.
        count: of inputs, the earlier run's with them.
        folder: of the run.
        only: inputs of this kind.
        mended: first those again that broke a rule.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = {outcome["number"]: outcome for outcome in outcomes(folder)}
    broken = [(k, o["kind"]) for k, o in known.items() if o["problem"] and mended]
    new = ((k, kind_of(seed, k)) for k in range(count) if k not in known)
    numbers = itertools.chain(broken, new)
    wanted = ((k, kind) for k, kind in numbers if only is None or kind == only)
    with (folder / OUTCOMES).open("a", encoding="utf-8") as file, Fuzzer(seed, folder) as fuzzer:
        file.write("\n")  # after what a kill may have cut off
        for number, kind in wanted:
            outcome = fuzzer.run(number, kind)
            file.write(json.dumps(outcome) + "\n")
            file.flush()
            yield outcome
