"""What a run leaves to read: tables, TensorBoard, a line of progress."""

from __future__ import annotations

import csv
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from sipvideo.extras import absence


class Table:
    """A CSV file with one row per step.

    Args:
        path: made with the first row; rows after ``step`` are removed: they will be written again.
        step: the last step that is done.
    """

    def __init__(self, path: Path, step: int) -> None:
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines[1:] if _step(line) <= step and line.endswith("\n")]
            path.write_text("".join(lines[:1] + kept if kept else []), encoding="utf-8")
        self._file: IO[str] = open(path, "a", newline="", encoding="utf-8")  # noqa: SIM115
        self._empty = self._file.tell() == 0

    def write(self, step: int, values: dict[str, float]) -> None:
        """Adds a row."""
        table = csv.writer(self._file)
        if self._empty:
            table.writerow(["step", *values])
            self._empty = False
        table.writerow([step, *(f"{value:.6g}" for value in values.values())])

    def flush(self) -> None:
        """Hands all rows to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def _step(line: str) -> float:
    head = line.partition(",")[0]
    return int(head) if head.isdigit() else float("inf")


class Logs:
    """The tables ``log.csv`` and ``validation.csv`` of a folder, and TensorBoard's files where it is installed.

    Args:
        folder: of the run.
        step: the last step that is done.
        report: takes a line if there is no TensorBoard.
    """

    def __init__(self, folder: Path, step: int, report: Callable[[str], None]) -> None:
        self._training = Table(folder / "log.csv", step)
        self._validation = Table(folder / "validation.csv", step)
        self._board = _board(folder / "tensorboard", step, report)

    def training(self, step: int, values: dict[str, float]) -> None:
        """Figures of a step; the board gets every tenth after the first ten."""
        self._training.write(step, values)
        # A figure on the board costs as much as a small layer.
        if step <= 10 or step % 10 == 0:
            self._to_board("train", step, values)

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Figures of a validation."""
        self._validation.write(step, values)
        self._to_board("validation", step, values)

    def flush(self) -> None:
        """Hands everything to the operating system."""
        self._training.flush()
        self._validation.flush()

    def close(self) -> None:
        """Ends all files."""
        self._training.close()
        self._validation.close()
        if self._board is not None:
            self._board.close()

    def _to_board(self, group: str, step: int, values: dict[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)


def _board(folder: Path, step: int, report: Callable[[str], None]) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        report(f"no files for TensorBoard: {absence('tensorboard')}")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


class Progress:
    """Losses, speed and time left: one line that is rewritten on a terminal, else a line now and then.

    Args:
        report: takes lines; None: standard error.
        seconds: time between two lines where they are not rewritten.
    """

    def __init__(self, report: Callable[[str], None] | None = None, seconds: float = 10.0) -> None:
        self._terminal = report is None and sys.stderr.isatty()
        self._report = report
        self._seconds = 0.5 if self._terminal else seconds
        self._means: dict[str, float] = {}
        self._began = self._shown = time.monotonic()
        self._steps = 0
        self._paused = 0.0
        self._open = False

    def step(
        self, step: int, stop: int, pictures: int, values: dict[str, float], ahead: int = 0
    ) -> None:
        """A step of so many pictures is done, and ``ahead`` steps after it that will be told next."""
        self._steps += 1
        for name, value in values.items():
            keep = 0.0 if name == "rate" else 0.98
            self._means[name] = keep * self._means.get(name, value) + (1 - keep) * value
        now = time.monotonic()
        if now - self._shown < self._seconds and step < stop:
            return
        self._shown = now
        pace = (now - self._began - self._paused) / (self._steps + ahead)
        left = int(pace * (stop - step))
        figures = "  ".join(f"{name} {value:.3g}" for name, value in self._means.items())
        speed = f"{pictures / pace:.3g} pictures/s" if pace > 0 else ""
        clock = f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        self._show(f"step {step}/{stop}  {clock}  {speed}  {figures}", last=step >= stop)

    def say(self, line: str) -> None:
        """A line that stays."""
        self._show(line, last=True)

    def end(self) -> None:
        """Nothing more comes: what others write begins on a line of its own."""
        if self._open:
            print(file=sys.stderr, flush=True)
            self._open = False

    def pause(self, seconds: float) -> None:
        """Time that was not spent on steps."""
        self._paused += seconds

    def _show(self, line: str, last: bool) -> None:
        if self._report is not None:
            self._report(line)
        elif self._terminal:
            # A line that the terminal breaks could not be rewritten.
            line = line if last else line[: shutil.get_terminal_size().columns - 1]
            print(f"\r\x1b[K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
            self._open = not last
        else:
            print(line, file=sys.stderr, flush=True)
