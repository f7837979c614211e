"""Every command that reads annotations ends in one line and exit code 2 where one of them is wild."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sipvideo.apps.main import main

SIZE = (36, 48)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    result: dict[str, Any] = {"image_id": 1, "category_id": 1, "score": 0.5, "bbox": [1, 1, 9, 9]}
    (tmp_path / "results.json").write_text(json.dumps([result]))
    return tmp_path


def annotations(folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 36}],
        "categories": [{"id": 1, "name": "person"}],
    }
    mask = [[1, 1, 30, 1, 30, 20]]
    annotation = {"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 290}
    annotation |= {"bbox": [1, 1, 29, 19], "segmentation": mask}
    values["annotations"] = [annotation | changes]
    path = folder / "instances.json"
    path.write_text(json.dumps(values))
    return path


WILD: list[dict[str, Any]] = [
    *({"segmentation": [[1, 1, 30, 1, 30, v]]} for v in (float("nan"), float("inf"), 1e9, "x")),
    {"segmentation": {"size": [36, 48], "counts": [10**9]}},
    {"segmentation": {"size": [36, 48], "counts": "ooooooooooo0"}},
    {"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}},
    {"bbox": [1, 1, 1e9, 5]},
    {"bbox": [float("nan"), 1, 5, 5]},
    {"area": float("inf")},
    {"area": 1e9},
    {"iscrowd": "maybe"},
    {"category_id": True},
]


@pytest.mark.parametrize("changes", WILD)
def test_a_wild_annotation_is_a_finding_and_one_line_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    path = str(annotations(folder, **changes))
    field = next(iter(changes))
    assert main(["data", "check", path]) == 2
    found = capsys.readouterr().out
    assert "annotation 7" in found
    evaluation = ["eval", path, "--results", str(folder / "results.json")]
    training = ["train", path, "--steps", "1", "-o", str(folder / "run")]
    commands = [training] if field == "segmentation" else [evaluation, training]
    for command in commands:
        assert main(command) == 2
        errors = capsys.readouterr().err.splitlines()
        assert len(errors) == 1, errors
        assert "annotation 7" in errors[0]
        assert field in errors[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"score": float("nan")},
        {"score": "high"},
        {"bbox": [1, 1, float("inf"), 5]},
        {"bbox": [1, 1, 1e9, 5]},
        {"bbox": "1 1 5 5"},
        {"image_id": 1.5},
        {"category_id": None},
        {"segmentation": {"size": [36, 48], "counts": "ooooooooooo0"}},
    ],
)
def test_a_wild_result_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    path = annotations(folder)
    results = json.loads((folder / "results.json").read_text())
    results[0] |= changes
    (folder / "results.json").write_text(json.dumps(results))
    assert main(["eval", str(path), "--results", str(folder / "results.json")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    assert "results.json: result 1" in errors[0]
    assert next(iter(changes)) in errors[0]


def test_what_can_only_mean_one_thing_is_scored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = annotations(folder, iscrowd="0", category_id="1", segmentation=[1, 1, 30, 1, 30, 20])
    result = {"image_id": "1", "category_id": 1.0, "score": "0.9", "bbox": ["1", 1, "29", 19]}
    (folder / "results.json").write_text(json.dumps([result]))
    assert main(["eval", str(path), "--results", str(folder / "results.json")]) == 0
    assert "1.000" in capsys.readouterr().out
    assert main(["data", "check", str(path)]) == 0
    assert "with another type than the published one" in capsys.readouterr().out
