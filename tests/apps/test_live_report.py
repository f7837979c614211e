"""The measurements of live sessions, in short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sipvideo.apps import command
from sipvideo.apps.reports import cameras as live_cameras
from sipvideo.apps.reports import live as live_report
from tests.live_servers import segmenter
from tests.media import film


def test_the_report_tells_age_drops_recovery_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live_report, "KINDS", ("http",))
    monkeypatch.setattr(live_report, "OUTAGE", 0.2)
    monkeypatch.setattr(live_report, "SHORTEST", 4.0)
    monkeypatch.setattr(live_report, "LOOKS", 6)
    monkeypatch.setattr(command, "segmenter", lambda args: segmenter())
    path = film(tmp_path / "a.mp4", 30)
    output = tmp_path / "live.json"
    short = ["--minutes", "0.06", "--frames", "100", "--clip", str(path), "-o", str(output)]
    assert live_report.main(short) == 0
    report = json.loads(output.read_text())
    slow, fast = report["rows"]
    assert (slow["model"], fast["model"]) == ("10x slower", "default")
    assert slow["age_ms"][0] > 10_000 / 30
    assert slow["dropped"]["replaced"] > slow["delivered"]
    for row in (slow, fast):
        assert row["adds_up"]
        assert row["reconnects"] == 1
        assert row["recovery_seconds"] > 0
        # Painted when filmed, read when shown: the encoder and the network took their time too.
        assert row["filmed_to_shown_ms"][0] > row["age_ms"][0]
    light, default = report["memory"]
    assert (light["results"], default["results"]) == (100, 10)
    assert light["megabytes_end"] > 10
    table = capsys.readouterr().out.splitlines()
    assert table[2].startswith("| http, 10x slower |")
    assert len(table) == 6


def test_the_painted_time_survives_in_the_picture() -> None:
    pictures = live_report._pictures(live_report.CLIP)
    for moment in (0.0, 1234.567, 86400.001, 4_000_000.999):
        image = pictures[0].copy()
        live_cameras.paint_time(image, moment)
        assert live_cameras.painted_time(image) == pytest.approx(moment)


def test_wrong_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert live_report.main(["--minutes", "0"]) == 2
    assert "--minutes: expected a number above 0" in capsys.readouterr().err
    assert live_report.main(["-o", "/nowhere/live.json"]) == 2
    assert "there is no folder /nowhere" in capsys.readouterr().err
