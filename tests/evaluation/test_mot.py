"""MOT and MOTS files: what is written comes back, and is scored as the same tracks in JSON are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sipvideo.apps.main import main
from sipvideo.errors import DatasetError
from sipvideo.evaluation.mot import read_sequences, score_sequences
from sipvideo.sinks import LabelMapPngs, MotsText
from sipvideo.structures import FrameResult
from tests.scenes import clock, crowd, film
from tests.sinks.runs import write_all


def run(swap: int = 10**9) -> list[FrameResult]:
    """A crowd; from frame ``swap`` on the first two have each other's identity."""
    results = []
    for shot in film(crowd(4, 2, seed=3, classes=1), clock(2, 8)):
        ids = shot.truth_ids.copy()
        if shot.frame.index >= swap:
            ids = np.where(shot.truth_ids < 2, 1 - shot.truth_ids, shot.truth_ids)
        results.append(FrameResult(shot.frame, shot.truth, ids, 1.0))
    return results


def mots(path: Path, results: list[FrameResult]) -> Path:
    path.parent.mkdir(exist_ok=True)
    write_all(MotsText(path), results)
    return path


def mot(path: Path, results: list[FrameResult], *tail: str) -> Path:
    lines = []
    for result in results:
        for track_id, (x0, y0, x1, y1) in zip(
            result.track_ids.tolist(), result.detections.boxes.tolist(), strict=True
        ):
            row = [result.frame.index + 1, track_id + 1, x0, y0, x1 - x0, y1 - y0, *tail]
            lines.append(",".join(map(str, row)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def test_what_is_written_as_mots_comes_back(tmp_path: Path) -> None:
    results = run()
    sequence = read_sequences(mots(tmp_path / "street.txt", results))["street"]
    assert sequence.kind == "segm"
    assert len(sequence.tracks) == 4
    shown = sum(len(result.track_ids) for result in results)
    assert sum(len(track.shapes) for track in sequence.tracks.values()) == shown
    first = min(sequence.tracks.values(), key=lambda t: min(t.shapes))
    assert min(first.shapes) == 1  # frames count from 1


def test_pictures_and_text_are_the_same_tracks(tmp_path: Path) -> None:
    results = run()
    mots(tmp_path / "text" / "street.txt", results)
    write_all(LabelMapPngs(tmp_path / "pictures" / "street"), results)
    text, pictures = read_sequences(tmp_path / "text"), read_sequences(tmp_path / "pictures")
    a = [sorted(len(t.shapes) for t in side["street"].tracks.values()) for side in (text, pictures)]
    assert a[0] == a[1]
    again = read_sequences(tmp_path / "pictures" / "street")
    assert score_sequences(pictures, again).combined.hota == 1


@pytest.mark.parametrize("form", ["mots", "mot"])
def test_a_swap_costs_what_it_costs_and_perfect_tracks_are_perfect(
    tmp_path: Path, form: str
) -> None:
    write, tail = (mots, ()) if form == "mots" else (mot, ("1", "1", "1.0"))
    truth = read_sequences(write(tmp_path / "gt" / "street.txt", run(), *tail))
    same = read_sequences(write(tmp_path / "same.txt", run(), *tail))
    perfect = score_sequences(truth, same).combined
    assert (perfect.hota, perfect.idf1, perfect.mota, perfect.id_switches) == (1, 1, 1, 0)
    swapped = read_sequences(write(tmp_path / "swapped.txt", run(8), *tail))
    scores = score_sequences(truth, swapped).combined
    assert scores.id_switches == 2
    assert scores.det_a == 1
    assert scores.idf1 < 0.8


def test_a_benchmark_of_several_sequences_is_scored_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, swap in (("a", 10**9), ("b", 8)):
        mot(tmp_path / "train" / name / "gt" / "gt.txt", run(), "1", "1", "1.0")
        mot(tmp_path / "mine" / f"{name}.txt", run(swap), "0.9", "-1", "-1", "-1")
    out = tmp_path / "out"
    given = ["eval", str(tmp_path / "train"), "--results", str(tmp_path / "mine"), "-o", str(out)]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["sequence", "a", "b", "all"]
    assert lines[1].split()[1:6] == ["1.000"] * 5
    told = json.loads((out / "scores.json").read_text())
    assert told["sequences"]["b"]["id_switches"] == told["tracking"]["combined"]["id_switches"] == 2


def test_what_is_marked_as_ignored_is_left_out_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = mot(tmp_path / "gt.txt", run(), "1", "1", "1.0")
    truth.write_text(truth.read_text() + "1,99,0,0,10,10,0,8,1.0\n")
    mine = mot(tmp_path / "mine.txt", run(), "-1", "-1", "-1", "-1")
    assert main(["eval", str(truth), "--results", str(mine)]) == 0
    seen = capsys.readouterr()
    assert "1 entries are marked as not to be scored" in seen.err
    assert seen.out.splitlines()[1].split()[1] == "1.000"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,5,5\n", "line 1: expected frame,id,x,y,width,height and more, got 4 fields"),
        ("1,1,5,5,9,9\n1,1,6,6,9,9\n", "line 2: id 1 is twice in frame 1"),
        ("1,1,5,5,-9,9\n", "line 1: expected a width and height of at least 0"),
        ("1,1,x,5,9,9\n", "line 1: expected a number, got 'x'"),
        ("1 1001 1 10 10 ~~\n", "line 1: the text is no compressed RLE"),
        ("1 1001 1 10\n", "line 1: expected frame id class height width rle, got 4 fields"),
    ],
)
def test_damage_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_sequences(tmp_path / "a.txt")
    assert message in str(caught.value)


def test_what_cannot_be_compared_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = mot(tmp_path / "gt" / "a.txt", run(), "1", "1", "1.0")
    masks = mots(tmp_path / "masks.txt", run())
    assert main(["eval", str(truth), "--results", str(masks)]) == 2
    assert "one side has boxes and the other has masks" in capsys.readouterr().err
    mot(tmp_path / "gt" / "b.txt", run(), "1", "1", "1.0")
    assert main(["eval", str(tmp_path / "gt"), "--results", str(truth)]) == 2
    assert "there are no results of sequence b" in capsys.readouterr().err
    assert main(["eval", str(truth)]) == 2
    assert "are scored with --results" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["eval", str(tmp_path / "empty"), "--results", str(truth)]) == 2
    assert "holds neither text files nor PNGs" in capsys.readouterr().err
