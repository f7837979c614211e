"""Datasets are valid YouTube-VIS files, and a stopped run goes on as if nothing had happened."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.errors import DatasetError, SinkError
from sipvideo.synth import SHAPES, Recipe, ShapesFilm, SyntheticDataset, video_names

RECIPE = Recipe(frames=5, size=(36, 64), objects=4, occlusion=0.8)
SETTINGS = {"kind": "shapes", "seed": 7}
NAMES = video_names("shapes", 7, 3)


def _film(k: int) -> ShapesFilm:
    return ShapesFilm(RECIPE, (7, k))


def _open(folder: Path) -> SyntheticDataset:
    return SyntheticDataset(folder, SETTINGS, SHAPES, RECIPE.size)


def _made(folder: Path) -> dict[str, Any]:
    dataset = _open(folder)
    for k, name in enumerate(NAMES):
        if not dataset.has(name):
            dataset.add(name, _film(k))
    return dataset.finish(NAMES)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_annotations_are_the_films_truth(tmp_path: Path) -> None:
    content = _made(tmp_path / "set")
    assert content == json.loads((tmp_path / "set" / "instances.json").read_text())
    assert [c["name"] for c in content["categories"]] == list(SHAPES)
    assert [v["length"] for v in content["videos"]] == [5, 5, 5]
    by_video: dict[int, list[dict[str, Any]]] = {v["id"]: [] for v in content["videos"]}
    for annotation in content["annotations"]:
        by_video[annotation["video_id"]].append(annotation)
    for k, video in enumerate(content["videos"]):
        shots = list(_film(k).shots())
        objects = [n for n in range(4) if any((shot.owners == n).any() for shot in shots)]
        assert len(by_video[video["id"]]) == len(objects)
        for n, annotation in zip(objects, by_video[video["id"]], strict=True):
            assert (
                content["categories"][annotation["category_id"] - 1]["name"]
                == (_film(k).class_names[n])
            )
            for t, shot in enumerate(shots):
                _check_frame(annotation, t, shot.owners == n, float(shot.hidden[n]))


def _check_frame(
    annotation: dict[str, Any], t: int, mask: np.ndarray[Any, Any], hidden: float
) -> None:
    rle, box = annotation["segmentations"][t], annotation["bboxes"][t]
    if not mask.any():
        assert rle is box is annotation["areas"][t] is annotation["occlusion"][t] is None
        return
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)
    assert annotation["areas"][t] == coco_mask.area(rle) == mask.sum()
    assert box == coco_mask.toBbox(rle).tolist()
    words = {
        "no_occlusion": (0, 1e-4),
        "slight_occlusion": (1e-4, 0.5),
        "severe_occlusion": (0.5, 1),
    }
    low, high = words[annotation["occlusion"][t]]
    assert low <= hidden <= high


def test_masks_of_a_frame_are_disjoint_and_pictures_have_their_size(tmp_path: Path) -> None:
    content = _made(tmp_path / "set")
    for video in content["videos"]:
        tracks = [a for a in content["annotations"] if a["video_id"] == video["id"]]
        for t, file_name in enumerate(video["file_names"]):
            image = cv2.imread(str(tmp_path / "set" / "images" / file_name))
            assert image is not None
            assert image.shape == (36, 64, 3)
            rles = [a["segmentations"][t] for a in tracks if a["segmentations"][t]]
            if rles:
                assert coco_mask.decode(rles).sum(2).max() == 1


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    _made(tmp_path / "a")
    _made(tmp_path / "b")
    assert _files(tmp_path / "a") == _files(tmp_path / "b")


def _stopping(after: int) -> Callable[[], None]:
    ticks: Iterator[int] = iter(range(after))

    def shown() -> None:
        if next(ticks, None) is None:
            raise KeyboardInterrupt

    return shown


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(after: int, tmp_path: Path) -> None:
    _made(tmp_path / "whole")
    dataset = _open(tmp_path / "stopped")
    dataset.add(NAMES[0], _film(0))
    with pytest.raises(KeyboardInterrupt):
        dataset.add(NAMES[1], _film(1), _stopping(after))
    assert [dataset.has(name) for name in NAMES] == [True, False, False]
    assert [p.name for p in (tmp_path / "stopped" / "images").iterdir()] == [NAMES[0]]
    _made(tmp_path / "stopped")
    assert _files(tmp_path / "stopped") == _files(tmp_path / "whole")


def test_leftovers_of_a_killed_run_are_replaced(tmp_path: Path) -> None:
    _made(tmp_path / "whole")
    dataset = _open(tmp_path / "killed")
    for folder in (f".{NAMES[0]}.partial", NAMES[1]):
        (tmp_path / "killed" / "images" / folder).mkdir()
        (tmp_path / "killed" / "images" / folder / "00009.jpg").write_bytes(b"half a pic")
    assert not any(map(dataset.has, NAMES))
    _made(tmp_path / "killed")
    assert _files(tmp_path / "killed") == _files(tmp_path / "whole")


def test_other_settings_are_refused(tmp_path: Path) -> None:
    _open(tmp_path)
    with pytest.raises(DatasetError, match="was made with seed 7, not 8"):
        SyntheticDataset(tmp_path, {**SETTINGS, "seed": 8}, SHAPES, RECIPE.size)


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty and holds no synthetic dataset"):
        _open(tmp_path)
    assert _files(tmp_path) == {"thesis.txt": b"mine"}


def test_a_file_in_the_folders_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="file: cannot be written"):
        _open(tmp_path / "file")


def test_a_damaged_part_says_which(tmp_path: Path) -> None:
    _made(tmp_path)
    (tmp_path / "videos" / f"{NAMES[1]}.json").write_text('{"half')
    with pytest.raises(DatasetError, match=f"{NAMES[1]}.json: cannot be read"):
        _made(tmp_path)


def test_a_write_that_fails_leaves_the_finished_videos(tmp_path: Path) -> None:
    dataset = _open(tmp_path)
    dataset.add(NAMES[0], _film(0))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(SinkError, match="cannot be written: File too large"):
            dataset.add(NAMES[1], _film(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [dataset.has(name) for name in NAMES] == [True, False, False]
    assert [p.name for p in (tmp_path / "images").iterdir()] == [NAMES[0]]
    assert len(_made(tmp_path)["videos"]) == 3


def test_a_dataset_without_videos_or_objects_is_whole(tmp_path: Path) -> None:
    dataset = _open(tmp_path)
    assert dataset.finish([])["videos"] == []
    dataset.add(NAMES[0], ShapesFilm(Recipe(frames=2, size=RECIPE.size, objects=0), (0,)))
    content = dataset.finish(NAMES[:1])
    assert content["annotations"] == []
    assert content["videos"][0]["length"] == 2
