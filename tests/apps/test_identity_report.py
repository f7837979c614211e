"""``make identity-report`` on small films: tables, figures beside them, nothing done twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sipvideo.apps.reports.identities import cost as identity_cost
from sipvideo.apps.reports.identities import report as identity_report
from sipvideo.apps.reports.identities import sets as identity_sets
from sipvideo.apps.reports.identities import trackers as identity_trackers
from sipvideo.apps.reports.identities.aims import aims
from sipvideo.apps.reports.identities.sets import FilmSet
from tests.synth import catalogue

pytest.importorskip("panda3d.core", reason="panda3d, which renders scenes, is not installed")

PEER = """
import sys
from pathlib import Path
import numpy as np

folder, names = Path(sys.argv[2]), sys.argv[4]
for path in folder.glob("*.npz"):
    with np.load(path) as content:
        counts = content["counts"]
        assert len(content["boxes"]) == len(content["scores"]) == counts.sum()
        assert len(content["seconds"]) == len(content["pictures"]) == len(counts)
        assert all(Path(str(picture)).is_file() for picture in content["pictures"])
    # Every report is somebody new, or nobody.
    ids = {"strangers": np.arange(counts.sum()), "nobody": np.full(counts.sum(), -1)}
    for name in names.split(","):
        np.save(path.with_name(f"{path.stem}.{name}.npy"), ids[name])
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sets are small and of boxes; peers know nobody again."""
    models = f"--models {catalogue.boxes(tmp_path)} --size 96x54 --videos 1"
    sets = {
        "still": FilmSet("nobody moves the camera", f"{models} --seed 1 --frames 6 --camera still"),
        "pan": FilmSet("it turns", f"{models} --seed 1 --frames 6 --camera pan"),
        "returns": FilmSet(
            "all leave", f"{models} --seed 1 --frames 60 --fps 2 --drop 0 --returns 1 --objects 3"
        ),
    }
    monkeypatch.setattr(identity_sets, "SETS", sets)
    monkeypatch.setattr("sipvideo.apps.reports.identities.tables.SETS", sets)
    script = tmp_path / "peer.py"
    script.write_text(PEER)
    monkeypatch.setattr(identity_trackers, "SCRIPT", script)
    monkeypatch.setattr(
        identity_trackers, "PEERS", {"strangers": "all strangers", "nobody": "nobody"}
    )
    return tmp_path


def _report(work: Path, *more: str) -> int:
    common = ["--reports", "truth", "--work", str(work), "--no-cost", "-q"]
    return identity_report.main([*common, *more])


def test_everybody_is_scored_on_the_same_reports(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = small / "page.md"
    assert _report(small / "work", "-o", str(page), "--peers", sys.executable) == 0
    assert page.read_text() in capsys.readouterr().out
    content = json.loads(page.with_suffix(".json").read_text())
    assert set(content["titles"]) == {
        *("ours", "lookahead", "repaired", "paper"),
        *("strangers", "nobody", "perfect"),
    }
    for name in ("still", "pan", "returns"):
        figures = content["sets"][name]["truth"]
        assert figures["perfect"]["switches"] == 0
        for who, one in figures.items():
            if who not in ("lookahead", "repaired"):  # which may fill in what was missed
                assert one["ass_a"] <= figures["perfect"]["ass_a"] + 1e-9
            assert sum(one["objects"]) > 0
        assert figures["nobody"]["ass_a"] == 0
        assert figures["strangers"]["ass_a"] < 0.5 * figures["ours"]["ass_a"]
    returns = content["sets"]["returns"]["truth"]
    assert returns["perfect"]["right"] > 0
    assert returns["perfect"]["false"] == returns["perfect"]["new"] == 0
    assert returns["strangers"]["new"] == returns["perfect"]["right"]
    text = page.read_text()
    assert "| all strangers |" in text
    assert "## A camera that moves against one that stands" in text


def test_what_is_known_is_not_done_again(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _report(small / "work", "--sets", "still", "--no-peers") == 0
    monkeypatch.setattr("sipvideo.apps.data.synth.main", lambda arguments: 1 / 0)
    monkeypatch.setattr("sipvideo.evaluation.replay.TruthReporter.__call__", lambda *_: 1 / 0)
    monkeypatch.setattr("sipvideo.evaluation.replay.tracking_counts", lambda *_: 1 / 0)
    assert _report(small / "work", "--sets", "still", "--no-peers") == 0


def test_a_page_is_brought_up_to_date_set_by_set(small: Path) -> None:
    page = small / "page.md"
    common = ["--no-peers", "--only", "paper", "-o", str(page)]
    assert _report(small / "work", "--sets", "pan", *common) == 0
    saved = json.loads(page.with_suffix(".json").read_text())
    saved["sets"]["pan"]["truth"]["paper"]["hota"] = 0.123
    saved["commits"]["pan"]["truth"] = "0123abc"
    page.with_suffix(".json").write_text(json.dumps(saved))
    assert _report(small / "work", "--sets", "still", *common) == 0
    content = json.loads(page.with_suffix(".json").read_text())
    assert content["sets"]["pan"] == saved["sets"]["pan"]
    assert content["sets"]["still"]["truth"].keys() == {"paper", "perfect"}
    text = page.read_text()
    assert "0.123" in text
    assert text.count("(measured with commit 0123abc):") == 1
    assert content["commits"].keys() == {"pan", "still"}
    assert text.index("## still") < text.index("## pan")
    assert "Not measured for this page: *returns* (all leave)." in text


def test_figures_of_something_else_are_not_overwritten(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "page.json").write_text("[]")
    assert _report(small / "work", "--no-peers", "-o", str(small / "page.md")) == 2
    assert "are no figures of this report" in capsys.readouterr().err
    assert (small / "page.json").read_text() == "[]"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "luck"], "--only: unknown luck"),
        (["--sets", "still,soft"], "--sets: unknown soft; known: still, pan, returns"),
        (["--reports", "luck"], "--reports: unknown luck"),
        (["-o", "/nowhere/page.md"], "there is no folder /nowhere"),
    ],
)
def test_a_wrong_value_is_one_line(
    small: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(small / "work", "--no-peers", *arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_peer_that_fails_is_one_line(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small / "peer.py").write_text("raise SystemExit('no such library')")
    assert _report(small / "work", "--sets", "still", "--peers", sys.executable) == 2
    assert "no such library" in capsys.readouterr().err


def test_costs_are_of_all_trackers_and_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("COUNTS", (4,)), ("HEIGHTS", (90,)), ("FRAMES", 6), ("ROUNDS", 1)):
        monkeypatch.setattr(identity_cost, name, value)
    (row,) = identity_cost.costs(tmp_path, None)
    assert (row["objects"], row["height"]) == (4, 90)
    assert "ours" in row["milliseconds"]
    assert all(0 < cost < 1000 for cost in row["milliseconds"].values())


def test_aims_say_by_how_much_they_were_missed() -> None:
    one = {"hota": 0.7, "ass_a": 0.8, "switches": 12, "half": 0.97}
    figures = {"ours": one, "perfect": {**one, "ass_a": 0.9}}
    rows = {row[0]: row[1:] for row in aims({"medium": {"network": figures}})}
    assert rows["medium, network: AssA"] == ["at least 0.785", "0.800", ""]
    assert rows["medium, network: switches"] == ["at most 10", "12", "2"]
    share = rows["medium, network: share of the perfect identities' AssA"]
    assert share == ["at least 96.0%", "88.9%", "7.1%"]
    assert rows["half, least of all sets and reports"][-1] == "0.010"
    assert not any(name.startswith("hard") for name in rows)
