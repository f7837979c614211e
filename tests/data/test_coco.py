"""Reading COCO instance files, good and bad."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.data.coco import CocoPictures
from sipvideo.errors import DatasetError

HEIGHT, WIDTH = 24, 40

# pycocotools 2.0.11 hands numpy 2.4 arrays in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def disc() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray((y - 12) ** 2 + (x - 25) ** 2 < 60, np.uint8)


def uncompressed(mask: np.ndarray) -> dict[str, Any]:
    counts, value = [0], 0
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": [HEIGHT, WIDTH], "counts": counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}


def content() -> dict[str, Any]:
    rectangle = [4.0, 2.0, 14.0, 2.0, 14.0, 9.0, 4.0, 9.0]

    def annotation(
        key: int, image: int, category: int, mask: Any, crowd: int = 0
    ) -> dict[str, Any]:
        return {
            **{"id": key, "image_id": image, "category_id": category},
            **{"iscrowd": crowd, "segmentation": mask},
        }

    return {
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "images": [
            {"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT, "split": "train"},
            {
                **{"id": 2, "file_name": "b.png", "width": WIDTH, "height": HEIGHT},
                **{"split": "test", "labelled_categories": ["cat", "unicorn"]},
            },
        ],
        "annotations": [
            annotation(10, 1, 3, [rectangle]),
            annotation(11, 1, 7, uncompressed(disc())),
            annotation(12, 1, 7, compressed(disc()), crowd=1),
        ],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[..., 0] = 200  # red in RGB
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / "images" / name), picture[..., ::-1])
    return tmp_path


def write(folder: Path, values: Any) -> Path:
    path = folder / "instances.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_every_kind_of_segmentation_gives_its_mask(folder: Path) -> None:
    pictures = CocoPictures(write(folder, content()))
    sample = pictures[0]
    rectangle = np.zeros((HEIGHT, WIDTH), bool)
    rectangle[2:9, 4:14] = True
    np.testing.assert_array_equal(sample.masks.dense(0), rectangle)
    np.testing.assert_array_equal(sample.masks.dense(1), disc())
    np.testing.assert_array_equal(sample.masks.dense(2), disc())
    np.testing.assert_array_equal(sample.boxes[0], [4, 2, 14, 9])
    assert sample.crowd.tolist() == [False, False, True]
    assert sample.object_ids.tolist() == [10, 11, 12]
    assert pictures.count(0) == 2
    assert sample.image[0, 0].tolist() == [200, 0, 0]


def test_labels_follow_the_file_or_the_given_names(folder: Path) -> None:
    path = write(folder, content())
    assert CocoPictures(path)[0].labels.tolist() == [1, 0, 0]
    named = CocoPictures(path, classes=("cat", "bird"))
    assert named[0].labels.tolist() == [0]
    assert named.classes == ("cat", "bird")
    assert named[0].labelled is None
    assert named[1].labelled == frozenset({0})


def test_a_picture_without_objects_is_a_sample_with_none(folder: Path) -> None:
    sample = CocoPictures(write(folder, content()))[1]
    assert len(sample) == 0
    assert sample.boxes.shape == (0, 4)


def test_a_split_holds_its_pictures_only(folder: Path) -> None:
    path = write(folder, content())
    assert len(CocoPictures(path)) == 2
    test = CocoPictures(path, split="test")
    assert len(test) == 1
    assert test[0].labelled == frozenset({1})
    with pytest.raises(DatasetError, match="no picture of split 'val'; splits: test, train"):
        CocoPictures(path, split="val")


def test_masks_may_be_json_text_inside_the_json(folder: Path) -> None:
    values = content()
    for annotation in values["annotations"]:
        annotation["segmentation"] = json.dumps(annotation["segmentation"])
    np.testing.assert_array_equal(CocoPictures(write(folder, values))[0].masks.dense(1), disc())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object, got list"),
        ("{}", "key 'categories' is missing"),
        ('{"categories": [], "annotations": []}', "key 'images' is missing"),
        ('{"categories": [{"id": 1}], "images": [], "annotations": []}', "key 'name' is missing"),
        ('{"categories": 5, "images": [], "annotations": []}', "categories: expected a list"),
    ],
)
def test_a_malformed_file_is_a_dataset_error(folder: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        CocoPictures(write(folder, text))


def test_missing_files_are_named(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.json: cannot read"):
        CocoPictures(folder / "nowhere.json")
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 2 pictures are missing .* first is b\.png"):
        CocoPictures(write(folder, content()))
    assert len(CocoPictures(write(folder, content()), split="train")) == 1


@pytest.mark.parametrize(("key", "value"), [("image_id", 99), ("category_id", 99)])
def test_annotations_of_unknown_things_are_dataset_errors(
    folder: Path, key: str, value: int
) -> None:
    values = content()
    values["annotations"][1][key] = value
    with pytest.raises(DatasetError, match="annotation 11: there is no"):
        CocoPictures(write(folder, values))


@pytest.mark.parametrize(
    "segmentation",
    [
        [],
        [[1.0, 2.0, 3.0, 4.0]],
        [[1.0] * 7],
        [["a"] * 6],
        [[True] * 6],
        [[None] * 6],
        [{"x": 1, "y": 2}],
        [5],
        5,
        None,
        "no json",
        {"size": [HEIGHT, WIDTH]},
        {"size": [HEIGHT, WIDTH + 1], "counts": [HEIGHT * (WIDTH + 1)]},
        {"size": [HEIGHT, WIDTH], "counts": [5, 5]},
        {"size": [HEIGHT, WIDTH], "counts": 5},
        {"size": 5, "counts": [5]},
    ],
)
def test_a_malformed_mask_is_a_dataset_error(folder: Path, segmentation: Any) -> None:
    values = copy.deepcopy(content())
    values["annotations"][0]["segmentation"] = segmentation
    with pytest.raises(DatasetError, match=r"annotation 10: .*segmentation"):
        CocoPictures(write(folder, values))


def test_damaged_and_wrongly_sized_pictures_are_dataset_errors(folder: Path) -> None:
    pictures = CocoPictures(write(folder, content()))
    (folder / "images" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.png: cannot decode"):
        pictures[0]
    cv2.imwrite(str(folder / "images" / "a.png"), np.zeros((HEIGHT, WIDTH + 1, 3), np.uint8))
    with pytest.raises(DatasetError, match="expected 40 x 24 pixels, got 41 x 24"):
        pictures[0]
