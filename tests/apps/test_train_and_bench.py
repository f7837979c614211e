"""``sipvideo train`` and ``sipvideo bench`` on small material, read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import sipvideo
from sipvideo.apps.main import main
from sipvideo.model import checkpoint
from tests.apps.scripted import clip
from tests.media import write_coco

DETECTOR = ("backbone.", "neck.", "head.class_towers.", "head.class_logits.", "head.box_distances.")


def test_training_goes_on_where_it_stopped_and_keeps_the_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_coco(tmp_path / "data"), tmp_path / "run"
    command = ["train", str(data), "--steps", "3", "-o", str(run), "--threads", "1"]
    assert main(command) == 0
    result = run / "model.safetensors"
    assert "5 pictures" in capsys.readouterr().out
    rows = (run / "log.csv").read_text().splitlines()
    assert len(rows) == 4
    result.unlink()
    assert main(command) == 0  # complete: nothing is trained again
    assert (run / "log.csv").read_text().splitlines() == rows
    before = checkpoint.read(
        Path(sipvideo.__file__).parent / "weights" / "sipmask_nano.safetensors"
    )
    after = checkpoint.read(result)
    changed = {
        name
        for name, tensor in after.tensors.items()
        if not torch.equal(tensor, before.tensors[name])
    }
    assert changed
    assert not [name for name in changed if name.startswith(DETECTOR)]


def test_training_without_pictures_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(tmp_path / "none.json"), "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sipvideo: error: ")
    assert "none.json" in error


def test_bench_prints_stages_and_saves_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, saved = clip(tmp_path / "clip.mp4", seconds=0.2), tmp_path / "figures.json"
    options = ["--frames", "2", "--warm-up", "1", "--threads", "1", "--json", str(saved)]
    assert main(["bench", str(video), *options]) == 0
    out = capsys.readouterr().out
    assert "boxes and masks" in out
    assert "2 frames of 160x120" in out
    values = json.loads(saved.read_text())
    assert values["step_ms"] == pytest.approx(sum(values["stages_ms"].values()), rel=0.3)


def test_bench_compares_with_the_plain_form_in_the_same_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--set", "input.size=[96, 64]", "--size", "96x64", "--frames", "1", "--warm-up", "1"]
    config = ["--config", "mmdet_sipmask_r50_caffe_fpn_ssd_6x", "--random-weights"]
    assert main(["bench", *config, *small, "--vs", "plain", "--threads", "1"]) == 0
    assert "ours / plain" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--vs", "plain", "--set", "postprocess.threshold_on=class"], "plain form does not cover"),
        (["missing.mp4"], "missing.mp4"),
        (["--config", "sipmask_nan"], "did you mean 'sipmask_nano'"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--frames", "1", *arguments]) == 2
    assert expected in capsys.readouterr().err
