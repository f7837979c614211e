"""``sipvideo train`` and ``sipvideo bench`` on small material, read back."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

import sipvideo
from sipvideo.apps.main import main
from sipvideo.model import checkpoint
from tests.apps.scripted import clip
from tests.media import write_coco
from tests.waiting import PATIENCE, until

DETECTOR = ("backbone.", "neck.", "head.class_towers.", "head.class_logits.", "head.box_distances.")


PACKAGED = Path(sipvideo.__file__).parent / "weights" / "sipmask_nano.safetensors"
SMALL = ["--threads", "1", "--set", "stream.sizes=[64, 96]"]


def changed(result: Path) -> set[str]:
    """Names of the tensors that differ from the default model's."""
    before, after = checkpoint.read(PACKAGED), checkpoint.read(result)
    return {n for n, t in after.tensors.items() if not torch.equal(t, before.tensors[n])}


def test_training_goes_on_where_it_stopped_and_keeps_the_detector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_coco(tmp_path / "data"), tmp_path / "run"
    command = ["train", "nano", str(data), "--steps", "3", "-o", str(run), "--threads", "1"]
    assert main(command) == 0
    result = run / "model.safetensors"
    assert "5 pictures" in capsys.readouterr().out
    rows = (run / "log.csv").read_text().splitlines()
    assert len(rows) == 4
    result.unlink()
    assert main(command) == 0  # complete: nothing is trained again
    assert "complete" in capsys.readouterr().out
    assert (run / "log.csv").read_text().splitlines() == rows
    names = changed(result)
    assert names
    assert not [name for name in names if name.startswith(DETECTOR)]


def test_fine_tuning_on_classes_of_ones_own_gives_weights_for_the_other_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_coco(tmp_path / "data"), tmp_path / "run"
    content = json.loads(data.read_text())
    content["categories"][0]["name"] = "axolotl"
    for image in content["images"]:
        image["split"] = "val" if image["id"] > 2 else "train"
    data.write_text(json.dumps(content))
    command = ["train", str(data), "--split", "train", "--val-split", "val", "--steps", "4", *SMALL]
    assert main([*command, "--set", "validation.every=2", "-o", str(run)]) == 0
    captured = capsys.readouterr()
    assert "known by name: dog; new: axolotl" in captured.out
    assert "3 pictures with objects" in captured.out
    assert "validation: mask_ap" in captured.err
    table = (run / "validation.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in table] == ["step", "2", "4"]
    assert cv2.imread(str(run / "curves.png")) is not None
    result = checkpoint.read(run / "model.safetensors")
    assert result.config is not None
    assert result.config.class_names == ("axolotl", "dog")
    frozen = ("backbone.", "head.track_tower.", "head.embedding.")
    before = checkpoint.read(PACKAGED).tensors
    for name, tensor in result.tensors.items():
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
    clip(tmp_path / "clip.mp4", seconds=0.2)
    weights = [
        "--weights",
        str(run / "model.safetensors"),
        "--set",
        "postprocess.score_threshold=0",
    ]
    tracker = ["--set", "tracker.birth_score=0", "--set", "tracker.keep_score=0"]
    video = ["video", str(tmp_path / "clip.mp4"), "-o", str(tmp_path), "--save", "csv", *weights]
    assert main([*video, *tracker]) == 0
    objects = (tmp_path / "clip" / "objects.csv").read_text()
    assert "axolotl" in objects or "dog" in objects


def test_a_video_set_is_trained_on_and_validated_with_the_tracker(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_videos(tmp_path / "data")
    run = ["--steps", "2", *SMALL, "--val", str(data), "-o", str(tmp_path / "run")]
    whole = ["--set", "whole.views=references", "--set", "freeze.prefixes=[backbone]"]
    assert main(["train", str(data), *run, *whole]) == 0
    assert "validation: mask_ap" in capsys.readouterr().err
    header, row = (tmp_path / "run" / "log.csv").read_text().splitlines()[::2]
    assert header == "step,rate,class,box,mask,track,gradient"
    assert all(math.isfinite(float(value)) for value in row.split(","))


def write_videos(folder: Path) -> Path:
    """Two videos of three frames with a cat and a dog that move, annotated as YouTube-VIS does; gives the json."""
    still = json.loads(write_coco(folder).read_text())
    height, width = still["images"][0]["height"], still["images"][0]["width"]
    videos, annotations = [], []
    for number in (1, 2):
        names = [f"v{number}/{k:05}.png" for k in range(3)]
        (folder / "images" / f"v{number}").mkdir()
        tracks = [np.zeros((3, height, width), np.uint8) for _ in range(2)]
        for k, name in enumerate(names):
            image = np.full((height, width, 3), 90, np.uint8)
            for which, track in enumerate(tracks):
                x = 10 + 5 * k + 60 * which
                track[k, 20:70, x : x + 40] = 1
                image[track[k] > 0] = (200, 60, 60) if which else (60, 200, 60)
            cv2.imwrite(str(folder / "images" / name), image)
        for which, track in enumerate(tracks):
            rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in track]
            number_of = {"id": len(annotations) + 1, "video_id": number, "category_id": which + 1}
            masks = [{"size": r["size"], "counts": r["counts"].decode()} for r in rles]
            boxes = [coco_mask.toBbox(r).tolist() for r in rles]
            areas = [int(mask.sum()) for mask in track]
            more = {"segmentations": masks, "bboxes": boxes, "areas": areas, "iscrowd": 0}
            annotations.append({**number_of, **more, "height": height, "width": width, "length": 3})
        size = {"height": height, "width": width, "length": 3}
        videos.append({"id": number, **size, "file_names": names})
    path = folder / "videos.json"
    content = {"videos": videos, "annotations": annotations, "categories": still["categories"]}
    path.write_text(json.dumps(content))
    return path


def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    number = signal.SIGINT
    data, run = write_coco(tmp_path / "data"), tmp_path / "run"
    command = [sys.executable, "-m", "sipvideo.apps.main", "train", "nano", str(data), *SMALL]
    process = subprocess.Popen(
        [*command, "-o", str(run)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: (run / "log.csv").exists() or process.poll() is not None)
    process.send_signal(number)
    out, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, errors
    assert "the same command goes on from there" in out
    assert (run / "last.pt").exists()
    assert "Traceback" not in errors


def test_the_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--list"]) == 0
    out = capsys.readouterr().out
    assert "vis_1x" in out
    assert "12 epochs of 32 pictures a step" in out
    assert main(["config"]) == 0
    assert "vis_1x" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none.json"], "none.json"),
        (["fintune", "--data", "none.json"], "did you mean 'finetune'"),
        (["nano"], "recipe nano: expected an annotation file"),
        (["none.json", "--data", "a.json=x"], "expected JSON=WEIGHT"),
        (["vis_1x", "{data}"], "recipe vis_1x: starts from weights that do not come with sipvideo"),
        (["{data}", "--set", "optimiser.rat=1"], "optimiser.rat: unknown key; did you mean 'rate'"),
        (["{data}", "--data", "{data}=-1"], "a number above 0, got '-1'"),
        (["{data}", "--split", "x"], "no picture of split 'x'"),
        (["{data}", "--set", "freeze.prefixes=[heda]"], "the model has no parameter heda"),
    ],
)
def test_training_says_what_is_wrong_or_missing(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(write_coco(tmp_path / "data"))
    given = [text.replace("{data}", data) for text in arguments]
    assert main(["train", *given, "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sipvideo: error: ")
    assert error.count("\n") == 1
    assert expected in error


def test_data_without_objects_of_the_classes_are_named_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_coco(tmp_path / "data")
    content = json.loads(data.read_text())
    nothing, others = data.with_name("nothing.json"), data.with_name("others.json")
    nothing.write_text(json.dumps({**content, "annotations": []}))
    zebras = [{**one, "name": f"zebra {one['id']}"} for one in content["categories"]]
    others.write_text(json.dumps({**content, "categories": zebras}))
    run = ["-o", str(tmp_path / "run"), *SMALL]
    for given, file in (
        (["train", str(nothing)], nothing),
        (["train", str(data), "--val", str(nothing)], nothing),
        (["train", str(data), "--val", str(others)], others),
    ):
        assert main([*given, *run]) == 2
        error = capsys.readouterr().err
        assert f"{file}: no object of the model's classes is annotated (cat, dog)" in error
        assert not (tmp_path / "run").exists()


def test_a_folder_of_a_run_on_other_classes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_coco(tmp_path / "data"), tmp_path / "run"
    command = ["train", str(data), "--steps", "1", *SMALL, "-o", str(run)]
    assert main(command) == 0
    content = json.loads(data.read_text())
    content["categories"].append({"id": 99, "name": "axolotl"})
    data.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(command) == 2
    assert "belongs to a run with other settings (data.classes)" in capsys.readouterr().err


SHORT = ["--frames", "2", "--warm-up", "1", "--threads", "1"]


def test_bench_times_stages_and_files_and_saves_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, saved = clip(tmp_path / "clip.mp4", seconds=0.4), tmp_path / "figures.json"
    picture = tmp_path / "figures.png"
    more = ["--io", "--runtime", "torch", "--json", str(saved), "--plot", str(picture)]
    assert main(["bench", str(video), *SHORT, *more]) == 0
    out = capsys.readouterr().out
    assert "boxes and masks" in out
    assert "2 frames of 160x120" in out
    values = json.loads(saved.read_text())
    stages = {"preprocess", "backbone", "pyramid", "head", "boxes and masks", "association"}
    assert values["stages_ms"].keys() == stages
    for row in (*values["stages_ms"].values(), values["step_ms"]):
        assert 0 < row["p50"] <= row["p95"] <= row["p99"]
    parts = sum(row["p50"] for row in values["stages_ms"].values())
    assert values["step_ms"]["p50"] == pytest.approx(parts, rel=0.3)
    whole = values["end_to_end"]
    assert whole["frames"] == 10
    assert whole["fps"] == pytest.approx(whole["frames"] / whole["seconds"], rel=0.01)
    assert "video, json, csv" in whole["includes"]
    assert values["peak_memory_mb"] > 50
    assert values["machine"]["cores"] >= 1
    assert cv2.imread(str(picture)) is not None


def test_bench_compares_with_the_plain_form_in_the_same_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = ["--set", "input.size=[96, 64]", "--size", "96x64", "--frames", "1", "--warm-up", "1"]
    config = ["--config", "mmdet_sipmask_r50_caffe_fpn_ssd_6x", "--random-weights"]
    assert main(["bench", *config, *small, "--vs", "plain", "--threads", "1"]) == 0
    assert "ours / plain" in capsys.readouterr().out


def test_bench_compares_runtimes_on_the_same_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "figures.json"
    small = ["--size", "96x64", "--runtime", "torch", "--json", str(saved)]
    assert main(["bench", *SHORT, *small, "--vs", "runtime=torch-bf16"]) == 0
    assert "ours / runtime=torch-bf16" in capsys.readouterr().out
    other = json.loads(saved.read_text())["versus"]
    assert other["ratio"] > 0
    assert "network" in other["stages_ms"]


def test_bench_writes_every_kind_of_result_on_request(tmp_path: Path) -> None:
    saved = tmp_path / "figures.json"
    small = ["--size", "96x64", "--io", "--save", "all", "--json", str(saved)]
    assert main(["bench", *SHORT, *small, "--runtime", "torch"]) == 0
    whole = json.loads(saved.read_text())["end_to_end"]
    assert whole["frames"] == 3
    assert "parquet" in whole["includes"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--vs", "plain", "--set", "postprocess.threshold_on=class"], "plain form does not cover"),
        (["missing.mp4"], "missing.mp4"),
        (["--vs", "runtime=toch"], "--runtime toch: unknown"),
        (["--size", "64x64", "--runtime", "torch", "--json", "/no/such.json"], "cannot be written"),
        (["--config", "sipmask_nan"], "did you mean 'sipmask_nano'"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--frames", "1", *arguments]) == 2
    assert expected in capsys.readouterr().err
