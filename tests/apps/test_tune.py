"""``sipvideo tune`` end to end: detections once, trials that go on, a YAML that runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.apps import command, tune
from sipvideo.config import Config, load_config
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.apps.oracle import Oracle, class_names

pytest.importorskip("optuna")


class Doubtful:
    """Sees what is there, with false alarms of low scores beside it."""

    def __init__(self, dataset: Path) -> None:
        self.oracle = Oracle(dataset, class_names(dataset))
        self.frames = 0

    def __call__(self, frame: Frame) -> Detections:
        self.frames += 1
        found = self.oracle(frame)
        wrong = found[np.arange(len(found))]
        scores = np.full(len(wrong), 0.45, np.float32)
        wrong = replace(wrong, scores=scores, masks=_aside(wrong))
        return _both(found, wrong)


def _aside(found: Detections) -> Any:
    from sipvideo.masks import CompactMasks

    corner = [np.ones((6, 6), bool)] * len(found)
    return CompactMasks.from_crops(corner, [(2, 2)] * len(found), found.masks.frame_size)


def _both(a: Detections, b: Detections) -> Detections:
    from sipvideo.masks import CompactMasks

    masks = CompactMasks(
        np.concatenate((a.masks.windows, b.masks.windows)),
        (*a.masks.bits, *b.masks.bits),
        a.masks.frame_size,
    )
    boxes = np.concatenate((a.boxes, masks.windows[len(a) :].astype(np.float32)))
    return Detections(
        boxes,
        np.concatenate((a.scores, b.scores)),
        np.concatenate((a.labels, b.labels)),
        masks,
        np.zeros((len(boxes), 0), np.float32),
    )


def run(dataset: Path, folder: Path, *arguments: str) -> tuple[int, Doubtful]:
    args = tune.parse([str(dataset), "-o", str(folder), *arguments])
    seer = Doubtful(dataset)
    names = tuple(class_names(dataset))

    def load(_: argparse.Namespace) -> VideoSegmenter:
        config = Config(name="scripted", classes=names)
        return VideoSegmenter(seer, build_tracker(config.tracker), names, config=config)

    return command.guarded(lambda: tune.run(args, load)), seer


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "tuning.json").read_text())
    return content


def test_tuning_finds_better_settings_and_says_what_they_are_worth(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seer = run(dataset, tmp_path, "--trials", "12", "-q")
    assert code == 0
    assert seer.frames == 12
    found = report(tmp_path)
    assert found["trials"] == 12
    assert found["hota_tuned"] > found["hota_default"] + 0.05  # false alarms are left out
    low, high = found["gain_interval"]
    assert low <= found["hota_tuned"] - found["hota_default"] <= high
    best = load_config(tmp_path / "best.yaml")
    assert best.tracker.birth_score == pytest.approx(found["best"]["tracker.birth_score"])
    assert max(best.tracker.birth_score, best.postprocess.score_threshold) > 0.45
    assert "on videos left out, gain +" in (tmp_path / "best.yaml").read_text().splitlines()[0]

    code, seer = run(dataset, tmp_path, "--trials", "14")
    assert code == 0
    assert seer.frames == 0  # detections are kept
    assert report(tmp_path)["trials"] == 14
    assert capsys.readouterr().out.startswith("14 trials: HOTA ")


def test_trials_of_something_else_are_not_mixed_in(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dataset, tmp_path, "--trials", "1", "-q")[0] == 0
    content = json.loads(dataset.read_text())
    content["videos"] = content["videos"][1:]
    kept = {video["id"] for video in content["videos"]}
    content["annotations"] = [a for a in content["annotations"] if a["video_id"] in kept]
    fewer = dataset.with_name("fewer.json")
    fewer.write_text(json.dumps(content))
    assert run(fewer, tmp_path, "--trials", "1", "-q")[0] == 2
    assert "holds trials of other videos" in capsys.readouterr().err


def test_what_cannot_be_tuned_is_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(dataset.read_text())
    content["annotations"] = []
    empty = dataset.with_name("empty.json")
    empty.write_text(json.dumps(content))
    assert run(empty, tmp_path, "-q")[0] == 2
    assert "no video of it has an annotated object" in capsys.readouterr().err
