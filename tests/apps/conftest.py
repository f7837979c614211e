"""Datasets that several tests of commands share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.apps.oracle import Json, synth


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos whose ids are not 1, 2, 3, nor those of the categories."""
    path = synth(tmp_path_factory.mktemp("synth"))
    content = json.loads(path.read_text())
    for video in content["videos"]:
        video["id"] = 100 - 7 * video["id"]
    for category in content["categories"]:
        category["id"] = 3 * category["id"] + 11
    for annotation in content["annotations"]:
        annotation["video_id"] = 100 - 7 * annotation["video_id"]
        annotation["category_id"] = 3 * annotation["category_id"] + 11
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def perfect(dataset: Path) -> list[Json]:
    """Results of a model without mistakes."""
    keys = ("video_id", "category_id", "segmentations")
    annotations = json.loads(dataset.read_text())["annotations"]
    return [{"score": 0.9, **{key: a[key] for key in keys}} for a in annotations]
