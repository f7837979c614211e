"""What annotation files say is read as it can only be meant, or refused by the name of the field."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from sipvideo.annotations import read_content, read_json
from sipvideo.errors import DatasetError

SIZE = {"width": 48, "height": 36}
TRIANGLE = [1, 1, 30, 1, 30, 20]


def stills(**changes: Any) -> dict[str, Any]:
    """One picture with one object, some of whose fields are changed."""
    annotation = {"id": 1, "image_id": 5, "category_id": 2, "iscrowd": 0, "area": 290}
    annotation |= {"bbox": [1, 1, 29, 19], "segmentation": [TRIANGLE]}
    return {
        "images": [{"id": 5, "file_name": "a.png", **SIZE}],
        "categories": [{"id": 2, "name": "cat"}],
        "annotations": [annotation | changes],
    }


def read(content: dict[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """The content as it is meant; what was wrong; what was written otherwise."""
    wrong: list[str] = []
    otherwise: list[str] = []
    found = read_content(
        content,
        lambda _, where, what: wrong.append(f"{where}: {what}"),
        lambda _, where, what: otherwise.append(f"{where}: {what}"),
    )
    return found, wrong, otherwise


def test_what_is_written_as_published_is_not_even_copied() -> None:
    content = stills()
    before = copy.deepcopy(content)
    found, wrong, otherwise = read(content)
    assert found is content
    assert (found, wrong, otherwise) == (before, [], [])


@pytest.mark.parametrize(
    ("field", "written", "meant"),
    [
        *[("iscrowd", text, 0) for text in ("0", "false", "False", " no ", False, 0.0)],
        *[("iscrowd", text, 1) for text in ("1", "true", "TRUE", "yes", True, 1.0)],
        *[("category_id", text, 2) for text in ("2", " 2", "2.0", "+2", 2.0, "2e0")],
        ("image_id", "5", 5),
        ("id", 12.0, 12),
        ("area", "290.5", 290.5),
        ("bbox", ["1", 1, "29.5", 19], [1, 1, 29.5, 19]),
        ("bbox", (1, 1, 29, 19), [1, 1, 29, 19]),
    ],
)
def test_another_type_that_can_mean_one_thing_is_read_so_and_told(
    field: str, written: Any, meant: Any
) -> None:
    found, wrong, otherwise = read(stills(**{field: written}))
    value = found["annotations"][0][field]
    assert value == meant
    assert type(value) is type(meant)
    assert wrong == []
    assert len(otherwise) == 1
    assert field in otherwise[0]


@pytest.mark.parametrize("field", ["iscrowd", "area", "bbox", "segmentation"])
def test_null_says_nothing_where_something_may_be_missing(field: str) -> None:
    found, wrong, _ = read(stills(**{field: None}))
    assert field not in found["annotations"][0]
    assert wrong == []


def test_a_category_of_null_is_an_object_of_unknown_class() -> None:
    assert read(stills(category_id=None))[0]["annotations"][0]["category_id"] is None


NO_NUMBERS = (True, "", "x", "1_0", "٣", "0x10", "nan", [1], {"a": 1}, 1e999, float("nan"), 10**400)


@pytest.mark.parametrize("field", ["id", "image_id", "category_id", "area"])
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_refused_by_the_name_of_its_field(field: str, value: Any) -> None:
    found, wrong, _ = read(stills(**{field: value}))
    assert field not in found["annotations"][0]
    assert len(wrong) == 1
    where = "annotations[0]" if field == "id" and not isinstance(value, str | int) else "annotation"
    assert wrong[0].startswith(where)
    assert f": {field}: expected a " in wrong[0]
    assert len(wrong[0]) < 150


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("iscrowd", "maybe", "expected 0 or 1, got 'maybe'"),
        ("iscrowd", 2, "expected 0 or 1, got 2"),
        ("iscrowd", [], "expected 0 or 1, got a list of 0"),
        ("id", 1.5, "expected a whole number, got 1.5"),
        ("id", 2**70, "expected a whole number below"),
        ("area", -1, "expected a number of pixels, got -1"),
        ("area", 1e9, "1e+09 is more than the picture has, 48 x 36"),
        ("bbox", [1, 2, 3], "expected x, y, width, height, got a list of 3"),
        ("bbox", {"x": 1}, "expected x, y, width, height, got an object"),
        ("bbox", [1, 2, 3, float("inf")], "expected a finite number, got inf"),
        ("bbox", [1, float("nan"), 3, 4], "expected a finite number, got nan"),
        ("bbox", [1, 2, None, 4], "expected a number, got null"),
        ("bbox", [1, 2, 1e9, 4], "1, 2, 1e+09, 4 is far outside of the picture, 48 x 36"),
        ("bbox", [-900, 2, 3, 4], "-900, 2, 3, 4 is far outside of the picture, 48 x 36"),
        ("segmentation", {"size": [36], "counts": []}, "size: expected height, width"),
        ("segmentation", {"size": [36, 1e300], "counts": []}, "expected a whole number from 1"),
        (
            "segmentation",
            {"size": [36, 10**400], "counts": []},
            "size: no picture has 36 x a number of",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(field: str, value: Any, what: str) -> None:
    _, wrong, _ = read(stills(**{field: value}))
    assert len(wrong) == 1
    assert wrong[0].startswith(("annotation 1: ", "annotations[0]: ", f"annotation {value}: "))
    assert field in wrong[0]
    assert what in wrong[0]


@pytest.mark.parametrize(
    ("field", "value", "what"),
    [
        ("width", "48", None),
        ("width", 48.0, None),
        ("width", 0, "expected a whole number from 1"),
        ("width", "wide", "expected a whole number, got 'wide'"),
        ("width", 1e300, "expected a whole number"),
        ("width", 10**30, "expected a whole number"),
        ("width", 130_000, None),
        ("height", -36, "expected a whole number from 1"),
        ("file_name", 5, "expected a text, got 5"),
        ("file_name", ["a.png"], "expected a text, got a list of 1"),
        ("file_name", "", "expected a text, got ''"),
        ("labelled_categories", "cat", "expected a list, got 'cat'"),
        ("labelled_categories", [2], "labelled_categories[0]: expected a text, got 2"),
        ("labelled_categories", None, None),
        ("split", 3, None),
        ("fps", "25", None),
        ("fps", -1, "expected frames per second above 0"),
        ("length", 10**9, "expected a whole number from 1"),
        ("file_names", "a.png", "expected a list, got 'a.png'"),
        ("file_names", [], "expected file names, got an empty list"),
        ("file_names", ["a.png", None], "file_names[1]: expected a text, got null"),
        ("seconds", [0, 0.1, 0.1], "expected rising times"),
        ("seconds", [0, float("nan")], "seconds[1]: expected a finite number, got nan"),
    ],
)
def test_fields_of_pictures_and_videos_are_read_alike(field: str, value: Any, what: str) -> None:
    for name in ("images", "videos"):
        content = {name: [{"id": 5, "file_name": "a.png", **SIZE, field: value}]}
        _, wrong, _ = read(content)
        assert len(wrong) == (what is not None)
        assert all(one.startswith(("picture 5: ", "video 5: ")) and what in one for one in wrong)


def test_a_picture_of_more_pixels_than_masks_can_count_is_refused() -> None:
    _, wrong, _ = read({"images": [{"id": 5, "width": 100_000, "height": 100_000}]})
    assert wrong == ["picture 5: width, height: no picture has 100000 x 100000 pixels"]


@pytest.mark.parametrize("name", ["images", "videos", "annotations", "categories"])
def test_lists_that_are_none_are_refused(name: str) -> None:
    for value in (5, "x", {"1": "cat"}, True):
        found, wrong, _ = read({name: value})
        assert found[name] == []
        assert wrong[0].startswith(f"{name}: expected a list of objects, got ")
    for value in (5, "x", [], None):
        found, wrong, _ = read({name: [value]})
        assert found[name] == []
        assert wrong[0].startswith(f"{name}[0]: expected an object, got ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_every_encoding_that_unicode_has(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps({"name": "Zoë"}, ensure_ascii=False).encode(encoding))
    assert read_json(path) == {"name": "Zoë"}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b'{"a": 1, "a": 2}', "key 'a' is there twice in one object"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[1" + b"0" * 5000 + b"]", "digits"),
        (b"\xff\xfe\xff", "not valid JSON"),
        (b"caf\xe9", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"PK\x03\x04", "not valid JSON"),
    ],
)
def test_what_is_no_json_is_one_line(tmp_path: Path, text: bytes, what: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=what) as caught:
        read_json(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_key_that_says_the_same_twice_is_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": [1, {}], "a": [1, {}]}')
    assert read_json(path) == {"a": [1, {}]}
