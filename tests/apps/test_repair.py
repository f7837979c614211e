"""``sipvideo repair`` and ``sipvideo video --lookahead`` end to end: results in, repaired results out, read back."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sipvideo.apps import command, video
from sipvideo.apps.main import main
from sipvideo.pipeline import VideoSegmenter
from sipvideo.results_reader import SavedRun
from sipvideo.structures import Detections, Frame, IntArray
from tests.apps.scripted import CLASSES, ReadySpec
from tests.media import write_video
from tests.scenes import clock, crossing, film

SECONDS = 4.0
FPS = 10.0


class Forgetful:
    """Sees what is there, but not the first actor for a while, and then calls it by a new name."""

    def __init__(self) -> None:
        self.shots = list(film(crossing(), clock(SECONDS, FPS)))

    def __call__(self, frame: Frame) -> Detections:
        shot = self.shots[frame.index]
        self.ids = shot.truth_ids
        if 0.5 <= shot.frame.timestamp < 0.8:
            self.ids = self.ids[self.ids != 0]
        rows = np.array([shot.truth_ids.tolist().index(k) for k in self.ids.tolist()], np.int64)
        self.ids = np.where((self.ids == 0) & (shot.frame.timestamp >= 0.8), 9, self.ids)
        return shot.truth[rows]

    def update(self, detections: Detections, timestamp: float) -> IntArray:
        return self.ids

    def labels(self, detections: Detections, track_ids: IntArray) -> IntArray:
        return detections.labels

    def returned(self, track_ids: IntArray) -> None:
        return None

    def reset(self) -> None:
        pass


def segment(folder: Path, *arguments: str) -> Path:
    """A run over the film; the folder of its results."""
    seer = Forgetful()
    source = folder / "film.mp4"
    write_video(source, [shot.frame.image for shot in seer.shots], time_base=Fraction(1, int(FPS)))
    args = video.parse([str(source), "-o", str(folder / "out"), "-q", *arguments])
    segmenter = VideoSegmenter(seer, seer, CLASSES)
    # One frame after the other: the scripted tracker answers for the frame that was seen last.
    segmenter.run = lambda source, *_, **__: (segmenter.step(f) for f in source)  # type: ignore[method-assign]
    assert command.guarded(lambda: video.run(args, ReadySpec(ready=segmenter))) == 0
    return folder / "out" / "film"


def identities(folder: Path) -> set[int]:
    return {k for r in SavedRun(folder).results() for k in r.track_ids.tolist()}


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [s for s in capsys.readouterr().err.splitlines() if s.startswith("sipvideo: error: ")]


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_is_repaired_into_a_new_folder_with_all_its_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = segment(tmp_path, "--save", "video,json,csv,lines,mots,png,appearance")
    before = content(folder)
    assert identities(folder) == {0, 1, 9}
    assert main(["repair", str(folder)]) == 0
    assert content(folder) == before

    target = tmp_path / "out" / "film-repaired"
    assert identities(target) == {0, 1}
    assert capsys.readouterr().out.splitlines() == [
        "40 frames, 2 identities: 1 joined, 1 gaps filled",
        str(target),
    ]
    names = {path.name for path in folder.iterdir()}
    assert {path.name for path in target.iterdir()} == names | {"repair.log", "repair.jsonl"}
    with av.open(str(target / "video.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40
    changes = [json.loads(line) for line in (target / "repair.jsonl").read_text().splitlines()]
    assert [(c["kind"], c["was"], c["track_id"]) for c in changes] == [
        ("joined", 9, 0),
        ("filled", 0, 0),
    ]
    assert "id 9 is id 0" in (target / "repair.log").read_text()
    filled = [r.frame.index for r in SavedRun(target).results() if r.filled is not None]
    assert filled == [5, 6, 7]
    told: dict[str, Any] = json.loads((target / "summary.json").read_text())
    assert (told["state"], told["frames"], told["identities"]) == ("complete", 40, 2)
    assert told["notes"] == ["repaired: 1 joined, 1 gaps filled"]
    assert told["settings"]["repaired"] == str(folder)

    assert main(["repair", "-q", str(target)]) == 0  # repaired results are results
    assert (tmp_path / "out" / "film-repaired-repaired" / "repair.log").read_text() == ""


def test_what_a_repair_has_to_do_without_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = segment(tmp_path, "--save", "video,json,csv")
    (tmp_path / "film.mp4").unlink()
    assert main(["repair", str(folder), "-o", str(tmp_path / "mended")]) == 0
    notes = [s for s in capsys.readouterr().err.splitlines() if s.startswith("sipvideo: note: ")]
    assert any(
        "no appearance.npz: identities are joined by motion, class and size" in s for s in notes
    )
    assert any(
        "gaps are filled by interpolation, and video.mp4 cannot be drawn" in s for s in notes
    )
    assert identities(tmp_path / "mended") == {0, 1}
    assert not (tmp_path / "mended" / "video.mp4").exists()
    assert "interpolated" in (tmp_path / "mended" / "repair.log").read_text()


def test_a_run_with_privacy_is_not_drawn_anew_from_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = segment(tmp_path, "--save", "video,lines")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["covered"] is False
    (folder / "summary.json").write_text(json.dumps(summary | {"covered": True}))
    assert main(["repair", str(folder)]) == 0
    repaired = folder.with_name(f"{folder.name}-repaired")
    assert not (repaired / "video.mp4").exists()
    assert json.loads((repaired / "summary.json").read_text())["covered"] is True
    source = ["--source", str(tmp_path / "film.mp4"), "-o", str(tmp_path / "other")]
    capsys.readouterr()
    assert main(["repair", str(folder), *source]) == 2
    assert "was made with privacy" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_settings_change_what_is_repaired(tmp_path: Path) -> None:
    folder = segment(tmp_path, "--save", "lines")
    keep = ["--set", "repair.join_odds=30", "--set", "repair.fill_seconds=0"]
    assert main(["repair", "-q", str(folder), *keep]) == 0
    assert 9 in identities(tmp_path / "out" / "film-repaired")


def test_looking_ahead_gives_repaired_results_at_once(tmp_path: Path) -> None:
    folder = segment(tmp_path, "--save", "lines", "--lookahead", "2s")
    assert identities(folder) == {0, 1}
    results = list(SavedRun(folder).results())
    assert [r.frame.index for r in results] == list(range(40))
    assert [r.frame.index for r in results if r.filled is not None] == [5, 6, 7]
    changes = [json.loads(line) for line in (folder / "repair.jsonl").read_text().splitlines()]
    assert {c["kind"] for c in changes} == {"joined", "filled"}
    assert json.loads((folder / "summary.json").read_text())["settings"]["lookahead"] == 2.0


def test_wrong_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["repair", str(tmp_path / "nowhere")]) == 2
    assert errors(capsys) == [
        f"sipvideo: error: {tmp_path}/nowhere: expected the folder of a run's results"
    ]
    folder = segment(tmp_path, "--save", "lines")
    assert main(["repair", str(folder), "-o", str(folder)]) == 2
    assert "choose another --output" in errors(capsys)[0]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    assert main(["repair", str(folder), "-o", str(tmp_path / "mine")]) == 2
    assert "holds no results of ours" in errors(capsys)[0]
    assert main(["repair", str(folder), "--source", str(tmp_path / "gone.mp4")]) == 2
    assert "gone.mp4" in errors(capsys)[0]
    assert main(["repair", str(folder), "--set", "repair.join_ods=1"]) == 2
    assert "join_odds" in errors(capsys)[0]
    assert not (tmp_path / "out" / "film-repaired").exists()
    with pytest.raises(SystemExit):
        main(["video", "a.mp4", "-o", "out", "--lookahead", "soon"])
    assert "expected a time such as" in capsys.readouterr().err
