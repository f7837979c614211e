"""What must hold whatever comes in, and how it is told that it does not."""

from __future__ import annotations

import contextlib
import os
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz.case import Case

CODES = (0, 2, 130, 141, 143)
LONGEST_LINE = 2000
"""Letters of an error that is still a line for people."""

ONCE = ("tqdm_monitor", "torchinductor", "asyncio", "AnyIO")
"""What libraries leave behind once in the life of a process."""

ERROR = re.compile(r"sipvideo[\w ]*: error: ")
TOLD = re.compile(r"sipvideo[\w ]*: (error|note|warning): |usage: |  |saved out/")


@dataclass
class Written:
    """Traces beside the output folder: forbidden calls and changed files, temporary files left, threads left."""

    strange: list[str]
    temporary: list[str]
    threads: list[str]


@dataclass
class Ran:
    """What a case did."""

    code: int | None
    error: BaseException | None
    stdout: str
    stderr: str
    traces: Written


def broken_rule(case: Case, ran: Ran) -> tuple[str, str] | None:
    """The first rule that a run broke, and where; None: it kept them all."""
    if ran.error is not None:
        return "traceback", _origin(ran.error)
    if "Traceback (most recent call last)" in ran.stderr:
        return "traceback shown", ran.stderr.strip().splitlines()[-1][:200]
    if ran.code not in CODES:
        return "exit code", str(ran.code)
    if ran.traces.strange:
        return "written outside", ran.traces.strange[0]
    for what, traces in (("temporary file", ran.traces.temporary), ("thread", ran.traces.threads)):
        left = [name for name in traces if not name.startswith(ONCE)]
        if left:
            return f"{what} left", left[0]
    return _broken_words(case, ran)


def _broken_words(case: Case, ran: Ran) -> tuple[str, str] | None:
    lines = ran.stderr.splitlines()
    foreign = [line for line in lines if line.strip() and not TOLD.match(line)]
    if foreign:
        return "words of a library", foreign[0][:200]
    errors = [line for line in lines if ERROR.match(line)]
    if any(len(line) > LONGEST_LINE for line in errors):
        return "a line too long", errors[0][:200]
    if ran.code == 0 and errors:
        return "an error with exit code 0", errors[0][:200]
    # The report of a check says on standard output why a data set cannot be used.
    if (
        ran.code == 2
        and not errors
        and "not usable" not in ran.stdout
        and '"usable"' not in ran.stdout
    ):
        return "failed without a word", ""
    if len(errors) > case.lines:
        return "more lines than inputs", errors[-1][:200]
    return None


def _origin(error: BaseException) -> str:
    """Type, place in the project, and the beginning of the words: equal for the same defect."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [
        f
        for f in frames
        if re.search(r"/(sipvideo|apps)/", f.filename) and "site-packages" not in f.filename
    ]
    place = "?"
    if ours:
        last = ours[-1]
        place = f"{'/'.join(Path(last.filename).parts[-2:])}:{last.lineno} {last.name}"
    words = " ".join(str(error).split())[:160]
    return f"{type(error).__name__} at {place}: {words}".encode("utf-8", "replace").decode()


class Guard:
    """An audit hook that notes what may not happen: programs started, files written outside of the output folder."""

    FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pty.spawn")
    CHANGING = (
        "os.mkdir",
        "os.rename",
        "os.remove",
        "os.rmdir",
        "os.symlink",
        "os.link",
        "os.truncate",
    )
    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._place: str | None = None

    @contextlib.contextmanager
    def watching(self, place: Path) -> Iterator[None]:
        """Until the block ends, for a case in that folder."""
        self.seen, self._place = [], str(place)
        try:
            yield
        finally:
            self._place = None

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._place is None:
            return
        if event in self.FORBIDDEN and "ldconfig" not in str(
            arguments[0]
        ):  # Python's search for a library
            self.seen.append(f"{event} {str(arguments[0])[:80]}")
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & self.WRITING:
            self._check(event, arguments[0])
        elif event in ("os.remove", "os.rmdir") and arguments[1] != -1:
            pass  # inside of a folder that is being removed, whose own removal has a path
        elif event in self.CHANGING:
            for argument in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                self._check(event, argument)

    def _check(self, event: str, path: Any) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        full = os.path.abspath(os.fsdecode(path))
        server = f"{os.path.dirname(self._place)}/server/"
        allowed = (f"{self._place}/out", f"{self._place}/tmp", server, "/dev/", "/proc/self/")
        if not full.startswith(allowed):
            self.seen.append(f"{event} {full.replace(str(self._place), 'case')[:120]}")
