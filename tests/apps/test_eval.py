"""``sipvideo eval`` runs a model: from the command line to the files."""

from __future__ import annotations

import copy
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sipvideo.apps.eval import command as eval
from sipvideo.apps.eval.parts import TrackRecorder, VideoPart
from sipvideo.apps.main import main
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sinks import YouTubeVISResults
from sipvideo.structures import Detections, Frame, FrameResult
from tests.apps.oracle import Json, Oracle, class_names, errors, read, run, saved, synth
from tests.waiting import PATIENCE, until

NO_RESAMPLES = ("--resamples", "0")


def test_a_model_without_mistakes_scores_one(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, "-o", tmp_path, "--zip") == 0
    scores = read(tmp_path / "scores.json")
    assert scores["figures"]["ap"] == 1.0
    assert scores["tracking"]["combined"]["hota"] == pytest.approx(1.0)
    assert scores["run"]["frames"] == 12
    content = read(dataset)
    results = read(tmp_path / "results.json")
    assert {r["video_id"] for r in results} == {v["id"] for v in content["videos"]}
    assert {r["category_id"] for r in results} == {a["category_id"] for a in content["annotations"]}
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert json.loads(archive.read("results.json")) == results
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3 * 4 * 2
    told = capsys.readouterr().out
    assert "AP (IoU 0.50:0.95)" in told
    assert "tracks with score >= 0.5" in told
    assert f"saved: {tmp_path / 'results.json'}" in told


def test_one_video_that_fails_hurts_no_other_and_is_tried_again(
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = VideoPart.steps
    second = f"video_{read(dataset)['videos'][1]['id']}"

    def failing(self: VideoPart, segmenter: VideoSegmenter) -> Iterator[object]:
        yield from steps(self, segmenter)
        if self.key == second:
            raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(VideoPart, "steps", failing)
        assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 2
    told = errors(capsys)
    assert "not enough memory" in told[0]
    assert "1 of 3 parts failed, so nothing is scored" in told[1]
    assert len(told) == len(list((tmp_path / "parts").iterdir())) == 2
    assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 0
    assert read(tmp_path / "scores.json")["figures"]["ap"] == 1.0


def test_results_are_those_of_the_sink(dataset: Path, tmp_path: Path) -> None:
    from sipvideo.data import YouTubeVis

    assert run(dataset, "-o", tmp_path, *NO_RESAMPLES) == 0
    names = class_names(dataset)
    data = YouTubeVis(dataset)
    oracle = Oracle(dataset, names)
    segmenter = VideoSegmenter(oracle, oracle, names)
    first = data.videos[0]
    ids = [int(key) for key in data.category_ids if key is not None]
    with YouTubeVISResults(tmp_path / "sink.json", first.id, ids, first.length) as sink:
        for video in data.videos:
            if video is not first:
                sink.start_video(video.id, video.length)
            for result in segmenter.run(data.frames(video)):
                sink.write(result)
    ours, theirs = read(tmp_path / "results.json"), read(tmp_path / "sink.json")
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.pop("score") == pytest.approx(other.pop("score"), abs=1e-6)
        assert mine == other


def test_classes_are_found_by_name(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read(dataset)
    named = [c["name"] for c in content["categories"]]
    used = {a["category_id"] for a in content["annotations"]}
    seen = [c["name"] for c in content["categories"] if c["id"] in used]
    # The model knows all but one of the classes in another order, and two that the dataset lacks.
    known = ["wine glass", *reversed([name for name in named if name != seen[0]]), "sheep"]
    assert run(dataset, "-o", tmp_path, *NO_RESAMPLES, names=known) == 0
    notes = capsys.readouterr().err
    lost = sum(
        a["category_id"] == c["id"]
        for a in content["annotations"]
        for c in content["categories"]
        if c["name"] == seen[0]
    )
    assert (
        f"the model does not know these classes of the dataset: {seen[0]}; they have {lost} of"
        in notes
    )
    assert "the dataset lacks these classes of the model: wine glass, sheep" in notes
    scores = read(tmp_path / "scores.json")
    by_name = {c["name"]: c["ap"] for c in scores["classes"]}
    assert [by_name[name] for name in seen] == pytest.approx([0.0] + [1.0] * (len(seen) - 1))


def test_underscores_and_capitals_do_not_part_classes() -> None:
    from sipvideo.apps.eval.run import ClassMap

    categories = [{"id": 4, "name": "Giant_Panda"}, {"id": 2, "name": "tennis-racket"}]
    classes = ClassMap.of(["tennis racket", "cat", "giant panda"], categories)
    assert classes.category_ids == (2, None, 4)
    assert classes.unknown == ()
    assert classes.missing == ("cat",)


def test_results_in_classes_that_the_dataset_lacks_are_left_out(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = read(dataset)
    lost = content["annotations"][0]["category_id"]
    name = next(c["name"] for c in content["categories"] if c["id"] == lost)
    smaller = tmp_path / "smaller.json"
    left = [a for a in content["annotations"] if a["category_id"] != lost]
    categories = [c for c in content["categories"] if c["id"] != lost]
    saved(smaller, {**content, "annotations": left, "categories": categories})
    args = eval.parse(
        [str(smaller), "-o", str(tmp_path / "o"), "--images", str(dataset.parent / "images")]
    )
    oracle = Oracle(dataset, class_names(dataset))
    assert eval.run(args, lambda _: VideoSegmenter(oracle, oracle, class_names(dataset))) == 0
    gone = len(content["annotations"]) - len(left)
    assert f"that the dataset lacks were left out: {name} {gone}" in capsys.readouterr().err
    scores = read(tmp_path / "o" / "scores.json")
    assert scores["figures"]["ap"] == 1.0
    assert scores["run"]["left_out"] == {name: gone}


def test_no_class_in_common_is_an_error(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, "-o", tmp_path / "o", names=["sheep"]) == 2
    assert "none of its classes" in errors(capsys)[0]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("without", ["key", "content"])
def test_without_annotations_there_are_results_but_no_figures(
    without: str,
    dataset: Path,
    perfect: list[Json],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = read(dataset)
    content["annotations"] = []
    if without == "key":
        del content["annotations"]
    path = saved(tmp_path / "test.json", content)
    args = eval.parse(
        [str(path), "--images", str(dataset.parent / "images"), "-o", str(tmp_path / "o"), "--zip"]
    )
    oracle = Oracle(dataset, class_names(dataset))
    assert eval.run(args, lambda _: VideoSegmenter(oracle, oracle, class_names(dataset))) == 0
    assert "nothing is annotated" in capsys.readouterr().err
    names = {p.name for p in (tmp_path / "o").iterdir()}
    assert names == {"parts", "run.json", "results.json", "results.zip"}
    assert len(read(tmp_path / "o" / "results.json")) == len(perfect)
    perfect = copy.deepcopy(perfect)
    perfect[0]["segmentations"].pop()
    assert run(path, "--results", saved(tmp_path / "short.json", perfect)) == 2
    assert "expected 4 segmentations" in errors(capsys)[0]


def test_a_killed_run_goes_on_where_it_was(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    command = [sys.executable, "-m", "tests.apps.oracle", "0.3", str(dataset), "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: list(out.glob("parts/video_*.json")))
    process.kill()
    process.communicate()
    done = {path: path.stat().st_mtime_ns for path in out.glob("parts/video_*.json")}
    assert 1 <= len(done) < 3
    assert not (out / "results.json").exists()
    assert run(dataset, "-o", out, *NO_RESAMPLES) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert run(dataset, "-o", tmp_path / "whole", *NO_RESAMPLES) == 0
    assert (out / "results.json").read_bytes() == (tmp_path / "whole" / "results.json").read_bytes()


def test_ctrl_c_says_how_to_go_on(dataset: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.apps.oracle", "0.2", str(dataset), "-o", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    until(lambda: list(tmp_path.glob("parts/video_*.json")))
    os.kill(process.pid, signal.SIGINT)
    told = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130
    assert re.search("[12] of 3 parts are done; the same command goes on", told)
    assert not (tmp_path / "results.json").exists()


def test_other_settings_in_the_same_folder_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 0
    part = next(tmp_path.glob("parts/*.json"))
    made = part.stat().st_mtime_ns
    assert run(dataset, "-o", tmp_path, "-q", "--fps", "24") == 2
    (told,) = errors(capsys)
    assert "holds results of fps None, not 24.0" in told
    assert "--restart" in told
    assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 0
    assert part.stat().st_mtime_ns == made
    assert run(dataset, "-o", tmp_path, "-q", "--fps", "24", "--restart", *NO_RESAMPLES) == 0
    assert part.stat().st_mtime_ns > made


def test_a_damaged_part_says_what_to_do(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 0
    part = next(tmp_path.glob("parts/*.json"))
    whole = read(part)
    for damage in (
        whole | {"results": 5},
        {"frames": 3},
        whole | {"left_out": {"x": "y"}},
        [whole],
    ):
        part.write_text(json.dumps(damage))
        assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 2
        assert f"{part}: damaged" in errors(capsys)[0]
    for text in (json.dumps(whole)[:50], "[" * 100_000):
        part.write_text(text)
        assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 2
        assert f"{part}: damaged" in errors(capsys)[0]
    part.unlink()
    assert run(dataset, "-o", tmp_path, "-q", *NO_RESAMPLES) == 0


def test_a_folder_that_cannot_be_made_is_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(dataset, "-o", tmp_path / "file" / "o") == 2
    assert "cannot be written" in errors(capsys)[0]


def test_frames_have_the_times_that_the_file_says(dataset: Path, tmp_path: Path) -> None:
    content = read(dataset)
    del content["videos"][1]["seconds"]
    content["videos"][2] = {**content["videos"][2], "seconds": None, "fps": 10}
    path = saved(tmp_path / "times.json", content)
    oracle = Oracle(path, class_names(path))
    images = str(dataset.parent / "images")
    args = eval.parse(
        [str(path), "-o", str(tmp_path / "o"), "--images", images, "--fps", "2", *NO_RESAMPLES]
    )
    assert eval.run(args, lambda _: VideoSegmenter(oracle, oracle, class_names(path))) == 0
    expected = [*content["videos"][0]["seconds"], 0, 0.5, 1, 1.5, 0, 0.1, 0.2, 0.3]
    assert oracle.timestamps == pytest.approx(expected)


def test_a_split_is_scored_alone(dataset: Path, tmp_path: Path) -> None:
    content = read(dataset)
    for video, split in zip(content["videos"], ("train", "val", "train"), strict=True):
        video["split"] = split
    path = saved(dataset.parent / "splits.json", content)
    assert run(path, "-o", tmp_path, "--split", "train", *NO_RESAMPLES) == 0
    scores = read(tmp_path / "scores.json")
    assert scores["figures"]["ap"] == 1.0
    assert [v["video_id"] for v in scores["videos"]] == [79, 93]


def _result(frame: int, label: int, score: float) -> FrameResult:
    image = np.zeros((8, 8, 3), np.uint8)
    detections = Detections(
        np.array([[1, 1, 5, 5]], np.float32),
        np.array([score], np.float32),
        np.array([label], np.int64),
        CompactMasks.from_dense(np.ones((1, 8, 8), bool)),
        np.zeros((1, 0), np.float32),
    )
    return FrameResult(Frame(image, frame, 0.0), detections, np.array([7], np.int64), 0.0)


def test_a_track_has_the_mean_score_and_its_most_frequent_class() -> None:
    tracks = TrackRecorder(6)
    for frame, (label, score) in enumerate([(3, 0.5), (1, 0.25), (1, 0.75), (3, 0.5)]):
        tracks.add(_result(frame, label, score))
    ((label, entry),) = tracks.results(12)
    assert (label, entry["score"], entry["video_id"]) == (1, 0.5, 12)
    assert [mask is None for mask in entry["segmentations"]] == [False] * 4 + [True] * 2


def test_several_classes_of_a_track_share_its_score() -> None:
    tracks = TrackRecorder(4)
    for frame, (label, score) in enumerate([(3, 0.5), (1, 0.25), (3, 0.75), (2, 0.5)]):
        tracks.add(_result(frame, label, score))
    found = list(tracks.results(12, classes_per_track=9))
    assert [(label, entry["score"]) for label, entry in found] == [
        (3, 0.3125),
        (2, 0.125),
        (1, 0.0625),
    ]
    assert sum(entry["score"] for _, entry in found) == 0.5
    assert [label for label, _ in tracks.results(12, classes_per_track=2)] == [3, 2]


def test_a_video_without_objects_has_no_tracks() -> None:
    tracks = TrackRecorder(2)
    image = np.zeros((8, 8, 3), np.uint8)
    nothing = Detections.empty((8, 8))
    tracks.add(FrameResult(Frame(image, 0, 0.0), nothing, nothing.labels, 0.0))
    assert list(tracks.results(1)) == []


def test_the_default_model_runs_and_is_scored(tmp_path: Path) -> None:
    path = synth(tmp_path / "set", "--classes", "coco", "--videos", "1")
    assert (
        main(["eval", str(path), "-o", str(tmp_path / "o"), "-q", "--classes-per-track", "2"]) == 0
    )
    scores = read(tmp_path / "o" / "scores.json")
    assert 0 <= scores["figures"]["ap"] <= 1
    assert scores["run"]["frames"] == 4
    assert main(["eval", str(path), "--results", str(tmp_path / "o" / "results.json"), "-q"]) == 0
