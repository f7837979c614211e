"""``python -m tests.docs [PAGE...]``: runs every command of the pages, and tells what each did (make docs-commands)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.docs import marks, pages, places
from tests.docs.pages import ROOT, Command, Given

LIMIT = 1500
"""Seconds that one command may take, on a machine that has other things to do."""
ENDLESS = 20
"""Seconds after which what runs until it is stopped gets its Ctrl-C."""
STOPPED = (0, 130)


def main(wanted: list[str]) -> int:
    """Returns 1 if a command failed."""
    # A shell starts what is in its background deaf to Ctrl-C, and commands inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        places.make(inputs)
        for page in pages.PAGES:
            name = page.relative_to(ROOT).as_posix()
            if wanted and name not in wanted:
                continue
            here = Path(folder) / name.replace("/", "-")
            shutil.copytree(inputs, here, symlinks=True, dirs_exist_ok=True)
            for step in pages.steps(page):
                if isinstance(step, Given):
                    (here / step.name).write_text(step.content, encoding="utf-8")
                elif not marks.why_outside(step):
                    failed += _told(step, here)
    return int(failed > 0)


def _told(step: Command, here: Path) -> bool:
    started = time.monotonic()
    code, said = _run(step, here)
    good = code in (STOPPED if marks.ENDLESS.search(step.text) else (0,))
    print(f"{'ok' if good else 'FAILED':7}{time.monotonic() - started:7.1f} s  {step}", flush=True)
    if not good:
        print(said[-2000:])
    return not good


def _run(step: Command, here: Path) -> tuple[int, str]:
    """The exit code of a command, and what it said."""
    program, *words = step.words
    command = (
        [sys.executable, "-m", "sipvideo.apps.main"] if program == "sipvideo" else [sys.executable]
    )
    with _screen(step) as screen:
        running = subprocess.Popen(
            [*command, *words, *marks.shorter(step)],
            cwd=here,
            env=os.environ | screen,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        endless = marks.ENDLESS.search(step.text) is not None
        try:
            said, _ = running.communicate(timeout=ENDLESS if endless else LIMIT)
        except subprocess.TimeoutExpired:
            running.send_signal(signal.SIGINT if endless else signal.SIGKILL)
            said, _ = _ended(running)
    return running.returncode, said


def _ended(running: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command says that has been told to end; one that does not is killed."""
    try:
        return running.communicate(timeout=5 * ENDLESS)
    except subprocess.TimeoutExpired:
        running.kill()
        return running.communicate()


@contextlib.contextmanager
def _screen(step: Command) -> Iterator[dict[str, str]]:
    """A screen for what shows a window, where there is none: Xvfb."""
    if "webcam" not in step.words or "DISPLAY" in os.environ:
        yield {"BROWSER": "true"}
        return
    number = 1000 + os.getpid() % 1000
    server = subprocess.Popen(["Xvfb", f":{number}"], stderr=subprocess.DEVNULL)
    try:
        time.sleep(2)
        yield {"DISPLAY": f":{number}"}
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
