"""The soak, in short."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sipvideo.apps.reports.soak import run as soak
from sipvideo.apps.reports.soak import visitors as soak_visitors


def samples(folder: Path, count: int, **grows_per_hour: float) -> Path:
    """The file of a soak in which all figures are 100, but some grow."""
    folder.mkdir()
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["seconds", *soak.COLUMNS, "failures"])
        writer.writeheader()
        for number in range(count):
            hours = number * soak.EVERY / 3600
            row = dict.fromkeys(soak.COLUMNS, 100.0) | {"seconds": hours * 3600, "failures": 0}
            row |= {name: 100 + slope * hours for name, slope in grows_per_hour.items()}
            writer.writerow(row)
    (folder / "counts.json").write_text(json.dumps({"visit: watch": 7}))
    return folder


def line_of(table: str, name: str) -> list[str]:
    """First quarter, last quarter, per hour."""
    found = next(line for line in table.splitlines() if soak.COLUMNS[name] in line)
    return [cell.strip() for cell in found.split("|")[2:5]]


def test_the_table_tells_what_grew_and_what_did_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = samples(tmp_path / "soak", 361, server_mb=20.0)
    assert soak.main(["--report", "-o", str(folder)]) == 0
    told = capsys.readouterr().out
    assert line_of(told, "server_mb") == ["102.5", "117.5", "+20"]
    assert line_of(told, "server_handles") == ["100", "100", "+0"]
    assert "visit: watch: 7" in told
    assert "failures: 0" in told


def test_failures_are_told_and_make_the_command_fail(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = samples(tmp_path / "soak", 8)
    tally = soak_visitors.Tally(folder / "failures.log")
    tally.fail("camera 1 not seen again")
    tally.ending.set()
    tally.fail("a connection ended, as everything does")
    assert soak.main(["--report", "-o", str(folder)]) == 1
    told = capsys.readouterr().out
    assert "failures: 1" in told
    assert "camera 1 not seen again" in told
    assert "as everything does" not in told


def test_a_picture_whose_time_is_damaged_is_counted_and_is_no_age(tmp_path: Path) -> None:
    tally = soak_visitors.Tally(tmp_path / "failures.log")
    tally.shown("1", 0.1, soak_visitors.time.monotonic() - 0.2)
    tally.shown("1", 0.1, soak_visitors.time.monotonic() + 4000)
    ages, _ = tally.take()
    assert ages.shape == (1, 2)
    assert tally.counts["pictures without a readable time"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--minutes", "0"], "--minutes: expected a number above 0, got 0"),
        (["-o", "{}/old"], "holds a soak already"),
        (["--report", "-o", "{}/none"], "samples.csv: No such file"),
        (["--report", "-o", "{}/short"], "3 samples are too few for a table, expected 8"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    samples(tmp_path / "old", 9)
    samples(tmp_path / "short", 3)
    assert soak.main([part.format(tmp_path) for part in arguments]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


def test_a_short_soak_runs_from_cameras_to_table(tmp_path: Path) -> None:
    """The real server, cameras, visitors and recorder, each in a process of its own."""
    short = "from sipvideo.apps.reports.soak import run as soak; soak.EVERY = 0.5; raise SystemExit(soak.main())"
    folder = tmp_path / "soak"
    command = [sys.executable, "-c", short, "--minutes", "0.08", "-o", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "failures: 0" in ended.stdout
    last = list(csv.DictReader((folder / "samples.csv").read_text().splitlines()))[-1]
    assert float(last["server_mb"]) > 100
    assert int(float(last["server_threads"])) > 4
    assert not list((folder / "server-temporary").iterdir())
