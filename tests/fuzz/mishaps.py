"""Cases that break each rule: what the watch must see."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from sipvideo.errors import contained
from tests.fuzz.case import Case
from tests.fuzz.mutate import Rng


def _case(work: Callable[[], object], code: int = 0) -> Case:
    def whole() -> int:
        work()
        return code

    return Case("a mishap", work=whole)


def none(rng: Rng, folder: Path) -> Case:
    return _case(lambda: (folder / "out").mkdir())


def crash(rng: Rng, folder: Path) -> Case:
    return _case(faulthandler._sigsegv)  # type: ignore[attr-defined]


def loop(rng: Rng, folder: Path) -> Case:
    def forever() -> None:
        while True:
            pass

    return _case(forever)


def wait(rng: Rng, folder: Path) -> Case:
    return _case(threading.Event().wait)


def hunger(rng: Rng, folder: Path) -> Case:
    return _case(lambda: [b"x" * 2**20 for _ in range(2000)])


def peak(rng: Rng, folder: Path) -> Case:
    """Over before anybody who only looks now and then has looked."""
    return _case(lambda: len(b"x" * (700 * 2**20)))


def exception(rng: Rng, folder: Path) -> Case:
    return _case(lambda: {}["missing"])


def unforeseen(rng: Rng, folder: Path) -> Case:
    def work() -> None:
        with contained("input"):
            raise KeyError("missing")

    return _case(work)


def exit_code(rng: Rng, folder: Path) -> Case:
    return _case(lambda: None, 1)


def outside(rng: Rng, folder: Path) -> Case:
    return _case(lambda: Path(tempfile.gettempdir(), "..", "..", "beside").write_text("x"))


def changed(rng: Rng, folder: Path) -> Case:
    """By a program that is not watched."""
    (folder / "in").write_text("x")
    return _case(lambda: os.utime(folder / "in", (0, 0)))


def program(rng: Rng, folder: Path) -> Case:
    return _case(lambda: subprocess.run(["true"], check=False))


def temporary(rng: Rng, folder: Path) -> Case:
    return _case(tempfile.mkdtemp)


def words(rng: Rng, folder: Path) -> Case:
    return _case(lambda: os.write(2, b"[h264 @ 0x1] error\n"))


def silence(rng: Rng, folder: Path) -> Case:
    return _case(lambda: None, 2)


def lines(rng: Rng, folder: Path) -> Case:
    return _case(lambda: print("sipvideo: error: a\nsipvideo: error: b", file=sys.stderr), 2)


def success(rng: Rng, folder: Path) -> Case:
    return _case(lambda: print("sipvideo: error: a", file=sys.stderr), 0)
