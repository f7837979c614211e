"""The annotation API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.errors import DatasetError
from sipvideo.evaluation import YTVOS
from tests.evaluation import plain
from tests.evaluation.runs import box, perfect, two_objects
from tests.evaluation.sets import random_set


def test_annotations_are_found_by_video_category_area_and_crowd() -> None:
    truth = two_objects()
    truth["annotations"].append({**truth["annotations"][0], "id": 3, "category_id": 9})
    truth["annotations"][1] |= {"areas": [400] * 8, "iscrowd": 1}
    api = YTVOS(truth)
    assert api.getAnnIds() == [1, 2, 3]
    assert api.getAnnIds(vidIds=7, catIds=[4]) == [1, 2]
    assert api.getAnnIds(vidIds=[8]) == []
    assert api.getAnnIds(areaRng=[100, 500]) == [2]
    assert api.getAnnIds(iscrowd=False) == [1, 3]
    assert (api.getCatIds(), api.getCatIds(catNms="dog"), api.getCatIds(catIds=4)) == (
        [4, 9],
        [9],
        [4],
    )
    assert (api.getVidIds(), api.getVidIds(catIds=9), api.getVidIds(catIds=5)) == ([7], [7], [])
    assert [a["id"] for a in api.loadAnns([3, 1])] == [3, 1]
    assert api.loadCats(9)[0]["name"] == "dog"
    assert api.loadVids([7])[0] is truth["videos"][0]


def test_masks_of_every_format_are_decoded() -> None:
    truth, _ = random_set(2)
    api = YTVOS(truth)
    for annotation in truth["annotations"]:
        video = api.vids[annotation["video_id"]]
        for t, segmentation in enumerate(annotation["segmentations"]):
            expected = plain.dense(segmentation, (video["height"], video["width"]))
            if expected is not None:
                np.testing.assert_array_equal(api.annToMask(annotation, t), expected)


def test_results_get_numbers_areas_and_boxes(tmp_path: Path) -> None:
    truth, results = two_objects(2), perfect(two_objects(2))
    results[0]["segmentations"][1] = None
    path = tmp_path / "results.json"
    path.write_text(json.dumps(results))
    for source in (results, path, str(path)):
        loaded = YTVOS(truth).loadRes(source)
        assert list(loaded.anns) == [1, 2]
        first = loaded.anns[1]
        assert (first["areas"], first["bboxes"]) == ([100, None], [[5, 5, 10, 10], None])
        assert (first["avg_area"], first["iscrowd"]) == (100, 0)
    assert "areas" not in results[0]
    assert YTVOS(truth).loadRes([]).getAnnIds() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video_id": 8}, "track 2: there is no video 8"),
        ({"video_id": "x7"}, "track 2: there is no video 'x7'"),
        ({"video_id": [7]}, r"track 2: video_id: expected a whole number, got a list of 1"),
        ({"score": 10**400}, r"track 2 \(video 7\): score: expected a finite number"),
        ({"score": None}, r"track 2 \(video 7\): score: expected a number, got null"),
        ({"segmentations": {}}, r"track 2 \(video 7\): segmentations: expected a list"),
        (
            {"segmentations": [[[1, 2, 3, 4, 5, 6]]]},
            r"track 2 \(video 7\): frame 0: .*expected a compressed",
        ),
        ({"segmentations": ["mask"]}, r"track 2 \(video 7\): frame 0: .*expected a compressed"),
        ({"category_id": None}, "category_id"),
    ],
)
def test_a_malformed_result_is_named(change: dict[str, Any], message: str) -> None:
    results = perfect(two_objects())
    results[1] |= change
    with pytest.raises(DatasetError, match=message):
        YTVOS(two_objects()).loadRes(results)


def test_areas_that_are_no_numbers_are_named() -> None:
    truth = two_objects()
    truth["annotations"][0]["areas"] = ["large", None]
    with pytest.raises(
        DatasetError, match=r"annotation 1: areas\[0\]: expected a number, got 'large'"
    ):
        YTVOS(truth)


def test_a_result_without_a_key_is_named() -> None:
    for key in ("video_id", "category_id", "score"):
        results = perfect(two_objects())
        del results[1][key]
        with pytest.raises(DatasetError, match=f"track 2: key '{key}' is missing"):
            YTVOS(two_objects()).loadRes(results)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "expected a JSON object, got a list"),
        ('{"videos": 3}', "videos: expected a list of objects"),
        ('{"videos": [{"height": 3}]}', "expected a number as id, got None"),
        ('{"annotations": [{"id": 1, "video_id": 2}]}', "annotation 1: .* category_id"),
        ("{", "not valid JSON"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        YTVOS(path)


def test_files_that_are_not_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot read the file"):
        YTVOS(two_objects()).loadRes(tmp_path / "none.json")
    for content, message in (({"a": 1}, "expected a JSON list"), ([1], "result 1: expected")):
        with pytest.raises(DatasetError, match=message):
            YTVOS(two_objects()).loadRes(content)  # type: ignore[arg-type]


def test_an_empty_set_has_nothing() -> None:
    api = YTVOS()
    assert (api.getAnnIds(), api.getCatIds(), api.getVidIds()) == ([], [], [])


def test_boxes_that_a_result_brings_stay() -> None:
    results = perfect(two_objects(2))
    results[0] |= {"bboxes": [[1, 2, 3, 4]], "segmentations": [box(3), box(4)]}
    loaded = YTVOS(two_objects(2)).loadRes(results)
    assert loaded.anns[1]["bboxes"] == [[1, 2, 3, 4], [4, 5, 10, 10]]


def test_damaged_annotations_are_named() -> None:
    truth = two_objects()
    truth["annotations"][1]["segmentations"][2] = {"size": [4, 5], "counts": "5"}
    with pytest.raises(DatasetError, match=r"annotation 2 \(video 7\): frame 2: damaged .* 4 x 5"):
        YTVOS(truth)
    for runs in ([3, 4], [30, -10]):
        truth["annotations"][1]["segmentations"][2] = {"size": [4, 5], "counts": runs}
        loaded = YTVOS(truth)
        with pytest.raises(DatasetError, match=r"annotation 2 \(video 7\): frame 2: .* counts"):
            loaded.annToRLEs(loaded.anns[2])
