"""Tables, curves and progress of a run."""

from __future__ import annotations

import builtins
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sipvideo.charts import COLOURS, MARGIN
from sipvideo.training.curves import _smooth, draw_curves
from sipvideo.training.logs import Logs, Progress, Table


def test_a_table_that_goes_on_loses_the_rows_that_come_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    first = Table(path, 0)
    for step in (1, 2, 3):
        first.write(step, {"loss": step / 2})
    first.close()
    with open(path, "a") as file:
        file.write("4,0.")  # a row that a kill has cut
    again = Table(path, 2)
    again.write(3, {"loss": 9.0})
    again.close()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(r["step"], r["loss"]) for r in rows] == [("1", "0.5"), ("2", "1"), ("3", "9")]


def test_a_table_that_begins_anew_has_one_header(tmp_path: Path) -> None:
    for _ in range(2):
        table = Table(tmp_path / "log.csv", 0)
        table.write(1, {"loss": 1.0})
        table.close()
    assert (tmp_path / "log.csv").read_text().split() == ["step,loss", "1,1"]


def test_without_tensorboard_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    lines: list[str] = []
    logs = Logs(tmp_path, 0, lines.append)
    logs.training(1, {"loss": 1.0})
    logs.close()
    assert len(lines) == 1
    assert "pip install 'sipvideo[train]'" in lines[0]
    assert (tmp_path / "log.csv").exists()


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = Logs(tmp_path, 0, print)
    logs.training(1, {"mask": 0.5})
    logs.validation(1, {"mask_ap": 0.25})
    logs.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/mask")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("validation/mask_ap")] == [(1, 0.25)]


def test_progress_says_losses_speed_and_time_left() -> None:
    lines: list[str] = []
    progress = Progress(lines.append, seconds=0)
    progress.step(1, 4, 2, {"rate": 0.1, "mask": 0.5})
    progress.step(4, 4, 2, {"rate": 0.05, "mask": 0.5})
    assert lines[0].startswith("step 1/4  0:00:0")
    assert "pictures/s" in lines[0]
    assert lines[0].endswith("rate 0.1  mask 0.5")
    assert lines[1].startswith("step 4/4  0:00:00 left")
    assert lines[1].endswith("rate 0.05  mask 0.5")


def test_a_line_that_is_rewritten_fits_the_terminal_and_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "60")
    progress = Progress()
    progress._seconds = 0
    figures = {f"loss number {k}": 0.5 for k in range(9)}
    for step in (1, 2):
        progress.step(step, 9, 2, figures)
    lines = terminal.getvalue().split("\r\x1b[K")[1:]
    assert len(lines) == 2
    assert all(len(line) == 59 and " left  " in line for line in lines)
    progress.end()
    progress.end()
    assert terminal.getvalue().endswith("\n")
    assert terminal.getvalue().count("\n") == 1


@pytest.mark.parametrize("count", [1, 2, 500])
@pytest.mark.parametrize("same", [True, False])
def test_curves_show_losses_rate_and_figures(tmp_path: Path, count: int, same: bool) -> None:
    logs = Logs(tmp_path, 0, print)
    rng = np.random.default_rng(0)
    for step in range(1, count + 1):
        value = 0.5 if same else float(rng.random())
        logs.training(step, {"rate": 1 / step, "mask": value, "box": value * 1e-4})
    logs.validation(1, {"mask_ap": -1.0, "box_ap": 0.3})
    logs.close()
    path = draw_curves(tmp_path)
    assert path is not None
    image = np.asarray(Image.open(path).convert("L"))
    assert image.shape == (520, 1380)  # two losses, the rate, the figures
    for panel in (image[:260, :460], image[:260, 460:920], image[260:, :460]):
        assert (panel < 128).sum() > 100


def test_equal_figures_are_all_seen_and_names_stand_beside_the_title(tmp_path: Path) -> None:
    logs = Logs(tmp_path, 0, print)
    logs.training(1, {"mask": 1.0})
    logs.training(9, {"mask": 0.5})
    names = ("mask_ap", "mask_ap50", "box_ap", "box_ap50")
    logs.validation(9, dict.fromkeys(names, 0.7))
    logs.close()
    path = draw_curves(tmp_path)
    assert path is not None
    panel = np.asarray(Image.open(path))[:, 460:]
    for colour in COLOURS[: len(names)]:
        rows, columns = np.nonzero((panel == colour).all(-1))
        dot = rows >= MARGIN[1]
        assert dot.any()
        assert (~dot).any()
        assert columns[dot].min() > 430  # at the run's last step


def test_smoothing_at_the_ends_is_a_mean_too() -> None:
    values = np.array([0.0] * 39 + [9.0])
    smooth = _smooth(values)
    assert smooth.shape == values.shape
    assert smooth[-1] == 3.0  # of the last three: half a window is two
    assert smooth[:37].max() == 0.0


def test_without_a_log_there_are_no_curves(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) is None
