"""COCO figures of still pictures."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.errors import DatasetError
from sipvideo.evaluation.pictures import PictureScores, evaluate_pictures, operating_point

HEIGHT, WIDTH = 80, 120


def _rle(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + h, x : x + w] = 1
    rle = coco_mask.encode(mask)
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}


def _polygon(x: int, y: int, w: int, h: int) -> list[list[int]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


BOXES = {(1, 1): (5, 5, 20, 20), (1, 2): (60, 30, 40, 40), (2, 1): (50, 2, 30, 10)}
"""(picture, category) -> the box of its one object."""


def _truth() -> dict[str, Any]:
    return {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in (1, 2, 7)],
        "categories": [{"id": c, "name": n} for c, n in ((1, "cat"), (2, "dog"), (5, "yak"))],
        "annotations": [
            {
                "id": n,
                "image_id": i,
                "category_id": c,
                "bbox": list(b),
                "segmentation": _polygon(*b),
            }
            for n, ((i, c), b) in enumerate(BOXES.items())
        ],
    }


def _perfect() -> list[dict[str, Any]]:
    return [
        {"image_id": i, "category_id": c, "score": 0.5, "bbox": list(b), "segmentation": _rle(*b)}
        for (i, c), b in BOXES.items()
    ]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_truth_itself_scores_one_although_its_ids_begin_at_zero(kind: Any) -> None:
    scores = evaluate_pictures(_truth(), _perfect(), kind)
    assert scores.ap == pytest.approx(1)
    assert (scores.ap_large, scores.ar_large) == (-1, -1)
    assert [(c.name, round(c.ap, 6), round(c.ap50, 6)) for c in scores.classes] == [
        ("cat", 1, 1),
        ("dog", 1, 1),
        ("yak", -1, -1),
    ]


def test_boxes_and_masks_are_told_apart() -> None:
    results = _perfect()
    for result in results:
        result["segmentation"] = _rle(100, 60, 5, 5)
    assert evaluate_pictures(_truth(), results, "bbox").ap == pytest.approx(1)
    assert evaluate_pictures(_truth(), results, "segm").ap == 0


def test_sizes_of_masks_come_from_masks() -> None:
    """A small mask in a large box is small: as a false positive it must not count against medium masks."""
    wrong = {"image_id": 2, "category_id": 1, "score": 0.9, "segmentation": _rle(0, 0, 2, 2)}
    results = [*_perfect(), {**wrong, "bbox": [0, 0, 70, 70]}]
    assert evaluate_pictures(_truth(), results, "segm").ap_medium == pytest.approx(1)


def test_masks_are_ranked_by_their_own_score_and_boxes_by_that_of_the_object() -> None:
    """A wrong result above the right one costs; each kind asks another key which is above."""
    right, wrong = _perfect()[0], {**_perfect()[0], "bbox": [90, 50, 9, 9]}
    wrong["segmentation"] = _rle(90, 50, 9, 9)
    results = [
        {**right, "score": 0.9, "mask_score": 0.1},
        {**wrong, "score": 0.5, "mask_score": 0.4},
    ]
    boxes, masks = (
        evaluate_pictures(_truth(), results, kind, image_ids=[1], category_ids=[1])
        for kind in ("bbox", "segm")
    )
    assert boxes.ap50 == pytest.approx(1)
    assert masks.ap50 == pytest.approx(0.5)


def test_boxes_of_annotations_come_from_masks_where_there_are_none() -> None:
    truth = _truth()
    for annotation in truth["annotations"]:
        del annotation["bbox"]
    assert evaluate_pictures(truth, _perfect(), "bbox").ap == pytest.approx(1)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_no_results_score_zero_and_no_truth_scores_minus_one(kind: Any) -> None:
    assert evaluate_pictures(_truth(), [], kind).ap == 0
    assert evaluate_pictures({**_truth(), "annotations": []}, _perfect(), kind).ap == -1


def test_pictures_and_categories_can_be_chosen() -> None:
    results = [r for r in _perfect() if r["image_id"] == 1]
    assert evaluate_pictures(_truth(), results, "bbox").classes[0].ap50 == pytest.approx(51 / 101)
    assert evaluate_pictures(_truth(), results, "bbox", image_ids=[1]).ap == pytest.approx(1)
    dogs = evaluate_pictures(_truth(), results, "bbox", category_ids=[2])
    assert [c.name for c in dogs.classes] == ["dog"]


def test_scoring_is_silent_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    truth, results = _truth(), _perfect()
    before = copy.deepcopy((truth, results))
    scores = evaluate_pictures(truth, results, "segm")
    assert capsys.readouterr() == ("", "")
    assert (truth, results) == before
    assert PictureScores(**{**scores.to_json(), "classes": scores.classes}) == scores


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "result 2: there is no picture 9"),
        ({"category_id": 9}, r"result 2 \(picture 1\): there is no category 9"),
        ({"score": float("nan")}, "finite number as score, got nan"),
        ({"segmentation": {"size": [1, 2], "counts": "0"}}, r"expected a mask of \[80, 120\]"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": [9600]}}, "compressed RLE"),
        ({"segmentation": None}, "result 2"),
        ({"segmentation": [[0, 0, 9, 0, 9, 9]]}, "expected a compressed RLE"),
        ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": "zz"}}, "no compressed RLE"),
        ({"image_id": [1]}, "result 2: image_id: expected a whole number, got a list of 1"),
        ({"image_id": "x1"}, "result 2: there is no picture 'x1'"),
        ({"score": 10**400}, "score: expected a finite number, got a number of 401 digits"),
        ({"mask_score": None}, "mask_score: expected a number, got null"),
    ],
)
def test_a_wrong_result_is_named(change: dict[str, Any], message: str) -> None:
    results = _perfect()
    results[1].update(change)
    with pytest.raises(DatasetError, match=message):
        evaluate_pictures(_truth(), results, "segm")


def test_a_wrong_annotation_is_named() -> None:
    truth = _truth()
    truth["annotations"][1]["image_id"] = 99
    with pytest.raises(DatasetError, match="annotation 1: there is no picture 99"):
        evaluate_pictures(truth, [], "bbox")
    for change in (
        {"segmentation": [[1, 2]]},
        {"segmentation": []},
        {"area": "x"},
        {"iscrowd": "x"},
    ):
        truth = _truth()
        truth["annotations"][1].update(change)
        with pytest.raises(DatasetError, match=r"^truth\.json: annotation 1: "):
            evaluate_pictures(truth, [], "segm", names=("truth.json", "results.json"))
    with pytest.raises(DatasetError, match="key 'categories' is missing"):
        evaluate_pictures({"images": [], "annotations": []}, [], "bbox")


def test_precision_and_recall_are_those_of_counting_by_hand() -> None:
    rng = np.random.default_rng(4)
    results = []
    for (image, category), (x, y, w, h) in BOXES.items():
        for shift in (0, 1, 40):
            score = round(float(rng.random()), 3)
            box = [x + shift, y, w, h]
            results.append(
                {"image_id": image, "category_id": category, "score": score, "bbox": box}
            )
    results.append({"image_id": 7, "category_id": 5, "score": 0.99, "bbox": [1, 1, 9, 9]})
    for threshold in (0.0, 0.3, 0.6, 0.995):
        kept = sorted(
            (r for r in results if r["score"] >= threshold), key=lambda r: -float(r["score"])
        )
        taken = set()
        for one in kept:
            place = one["image_id"], one["category_id"]
            # A shift of 40 pixels misses; the first of those that hit is right.
            if place in BOXES and one["bbox"][0] - BOXES[place][0] < 2:
                taken.add(place)
        point = operating_point(_truth(), results, threshold)
        assert point.precision == pytest.approx(len(taken) / max(1, len(kept)))
        assert point.recall == pytest.approx(len(taken) / 3)
        assert point.per_picture == pytest.approx(len(kept) / 3)


def test_detections_on_crowds_are_neither_right_nor_wrong() -> None:
    truth = _truth()
    truth["annotations"][0]["iscrowd"] = 1
    point = operating_point(truth, _perfect(), 0.1)
    assert point.precision == 1
    assert point.recall == 1
    assert operating_point(truth, [], 0.1).precision == 0
