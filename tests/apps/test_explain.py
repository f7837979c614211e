"""``sipvideo explain`` end to end: a run with --save explain, then its reasons as text and as a picture."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import cv2
import pytest

from sipvideo.apps.main import main
from tests.apps.scripted import clip, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two actors who cross; the tracker forgets each of them where it is missed for a moment."""
    base = tmp_path_factory.mktemp("explained")
    source = clip(base / "street.mp4", 3.0)
    assert run(source, "-o", base / "out", "-q", "--save", "lines,explain", seconds=3.0) == 0
    return base / "out" / "street"


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [s for s in capsys.readouterr().err.splitlines() if s.startswith("sipvideo: error: ")]


def test_a_run_keeps_the_reasons_of_every_frame(folder: Path) -> None:
    with gzip.open(folder / "explain.jsonl.gz", "rt") as file:
        records = [json.loads(line) for line in file]
    assert [record["frame"] for record in records] == list(range(75))
    first, second = records[:2]
    assert first["verdicts"]
    assert set(first["verdicts"]) <= {"begins an identity", "waits for a better look"}
    chosen = [pair for pair in second["pairs"] if pair["verdict"] == "chosen"]
    assert {second["track_ids"][pair["detection"]] for pair in chosen} == {
        p["track_id"] for p in chosen
    }
    assert all(len(record["boxes"]) == len(record["track_ids"]) for record in records)


def test_one_moment_is_told_with_every_pair(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(folder), "--at", "1.0", "-o", str(folder.parent / "at.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1.00 s, frame 25; weights: embedding_weight")
    assert "goes on: id 0" in "\n".join(lines)
    assert any("with id 1" in line and "affinity" in line for line in lines)
    assert lines[-1] == str(folder.parent / "at.png")
    picture = cv2.imread(str(folder.parent / "at.png"))
    assert picture.shape[1] == 564


def test_the_life_of_an_identity_is_told_from_its_beginning(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(folder), "--id", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("id 0: ")
    assert any("begins an identity" in line for line in lines)
    assert Path(lines[-1]) == folder.with_name("street-explain.png")
    assert cv2.imread(lines[-1]) is not None
    assert main(["explain", str(folder), "--id", "0", "--at", "1", "--no-picture"]) == 0
    assert "detection" in capsys.readouterr().out


def test_what_an_identity_became_is_answered_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {
        **{"detection": 0, "track_id": 7, "unseen": 0.4, "overlap": 0.1, "margin": 9.0},
        **{"likeness": 0.05, "label_agrees": True, "mask_overlap": None, "affinity": 0.08},
        **{"needed": 0.15, "verdict": "affinity too low"},
    }
    shared = {"size": [72, 128], "name": "", "reunions": [], "weights": {}, "cut": False}
    one = {"boxes": [[10, 10, 30, 40]], "scores": [0.8], "labels": [0]}
    told = [
        {"track_ids": [7], "verdicts": ["begins an identity"], "pairs": [], **one},
        {"track_ids": [], "verdicts": [], "pairs": [], "boxes": [], "scores": [], "labels": []},
        {"track_ids": [12], "verdicts": ["begins an identity"], "pairs": [pair], **one},
    ]
    with gzip.open(tmp_path / "explain.jsonl.gz", "wt") as file:
        for k, record in enumerate(told):
            file.write(json.dumps({"frame": k, "timestamp": k / 5, **shared, **record}) + "\n")
    assert main(["explain", str(tmp_path), "--id", "7", "--no-picture"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id 7: class 0, 0.00-0.00 s, 1 frames"
    assert lines[-1] == "id 7 became 12 because: affinity too low (affinity 0.08, needed 0.15)"


def test_wrong_use_is_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(tmp_path), "--id", "7"]) == 2
    assert "with --save explain" in errors(capsys)[0]
    assert main(["explain", str(folder), "--id", "99"]) == 2
    assert errors(capsys) == [f"sipvideo: error: {folder}: id 99 is not there"]
    (tmp_path / "explain.jsonl.gz").write_bytes(b"not packed")
    assert main(["explain", str(tmp_path), "--at", "1"]) == 2
    assert "is damaged" in errors(capsys)[0]
    with pytest.raises(SystemExit):
        main(["explain", str(folder)])
    assert "--id N, --at TIME" in capsys.readouterr().err
