"""The process that runs cases one after the other: ``python -m tests.fuzz.worker SEED FOLDER``.

It reads numbers of inputs and kinds, one pair a line, and answers each with a line of JSON. Whoever started it
watches its time and memory, and starts another when it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz import engines
from tests.fuzz.case import Case, generator
from tests.fuzz.kinds import maker
from tests.fuzz.rules import Guard, Ran, Written, broken_rule

QUIET_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "SIPVIDEO_CACHE": "off", "SVT_LOG": "0"}
DEATH_SIGNAL = 1
STREAMS = ("stdout", "stderr")


def main(seed: int, folder: Path) -> None:
    """Answers until the line ends."""
    os.environ.update(QUIET_ENVIRONMENT)
    ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)  # not longer than whoever watches
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever watches
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is said while an input is made
    stacks = (folder / "stacks").open("w", encoding="utf-8")
    faulthandler.enable(stacks)
    faulthandler.register(signal.SIGUSR1, stacks)
    engines.install()
    guard = Guard()
    sys.addaudithook(guard)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        number, kind = line.split()
        stacks.seek(0)
        stacks.truncate()
        outcome = run(seed, int(number), kind, folder, guard)
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


def run(seed: int, number: int, kind: str, folder: Path, guard: Guard) -> dict[str, Any]:
    """One case from making its input to the judgement."""
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    (place / "tmp").mkdir(parents=True)
    os.chdir(place)
    tempfile.tempdir = str(place / "tmp")
    try:
        case = maker(kind)(generator(seed, kind, number), place)
    except Exception as error:  # of the harness itself: told like a defect, and the run goes on
        raised = error
        case = Case("an input that could not be made", work=lambda: _raise(raised))
    (folder / "about").write_text(f"{case.about}\n{case.arguments}\n", errors="replace")
    before = _listing(place)
    with contextlib.suppress(OSError):  # from here on the peak of memory counts
        Path("/proc/self/clear_refs").write_text("5")
    threads, memory = set(threading.enumerate()), _megabytes("VmRSS")
    with _captured(folder), guard.watching(place):
        begun = time.process_time()
        code, error = _execute(case)
        seconds = time.process_time() - begun
    after = _listing(place)
    error = error or next(iter(engines.unforeseen), None)
    texts = [(folder / name).read_text("utf-8", "replace") for name in STREAMS]
    left = [] if case.work else _left(threads)
    strange = [*guard.seen, *(f"{name} changed" for name in _differing(before, after))]
    ran = Ran(code, error, *texts, Written(strange, os.listdir(place / "tmp"), left))
    problem, where = broken_rule(case, ran) or (None, None)
    gc.collect(1)
    return {
        "number": number,
        "kind": kind,
        "code": code,
        "seconds": round(seconds, 3),
        "peak_mb": _megabytes("VmHWM"),
        "took_mb": max(0, _megabytes("VmHWM") - memory),
        "about": case.about[:300].encode("utf-8", "replace").decode(),
        "problem": problem,
        "where": where,
    }


def _raise(error: Exception) -> int:
    raise error


def _execute(case: Case) -> tuple[int | None, BaseException | None]:
    """Exit code, or what came out in its place."""
    engines.current = case.engine
    engines.unforeseen.clear()
    try:
        if case.work is not None:
            return case.work(), None
        from sipvideo.apps.main import main as sipvideo

        return sipvideo(case.arguments), None
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1, None
    except BaseException as error:  # whatever comes out is what is looked for
        return None, error


@contextlib.contextmanager
def _captured(folder: Path) -> Iterator[None]:
    """Both streams of the process into files, what libraries write themselves as well."""
    former = [os.dup(1), os.dup(2)]
    try:
        for number, name in enumerate(STREAMS, 1):
            target = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(target, number)
            os.close(target)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in enumerate(former, 1):
            os.dup2(old, number)
            os.close(old)


def _left(before: set[threading.Thread], patience: float = 3.0) -> list[str]:
    """Names of threads that were not there before and do not end by themselves."""
    new = [thread for thread in threading.enumerate() if thread not in before]
    ends = time.monotonic() + patience
    for thread in new:
        thread.join(max(0.0, ends - time.monotonic()))
    return [thread.name for thread in new if thread.is_alive()]


def _listing(place: Path) -> dict[str, tuple[int, int]]:
    """Every file outside of the output folder, with size and time."""
    found = {}
    for path in place.rglob("*"):
        name = path.relative_to(place)
        if name.parts[0] not in ("out", "tmp") and path.is_file():
            stat = path.lstat()
            found[str(name)] = (stat.st_size, stat.st_mtime_ns)
    return found


def _differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return sorted(name for name, _ in set(before.items()) ^ set(after.items()))


def _megabytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) // 1024
    return 0


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
