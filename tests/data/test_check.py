"""A check finds what was done to a good data set, says where, and nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sipvideo.data import open_dataset
from sipvideo.data.check import DatasetCheck
from sipvideo.data.findings import RULES, Findings
from sipvideo.errors import DatasetError
from tests.data.sets import SIZE, content, write_frames, write_json
from tests.media import picture, write_coco, write_video

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ALWAYS = {"ids not in order", "categories not in order", "rare category", "small set"}
"""True of the small set of videos as it is."""
Spoil = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_frames(tmp_path / "images")
    return tmp_path


def keys(check: DatasetCheck) -> set[str]:
    return {key for key, _ in check.findings}


def examples(check: DatasetCheck, key: str) -> list[str]:
    return next(finding.examples for found, finding in check.findings if found == key)


def annotation(values: dict[str, Any], k: int = 0) -> Any:
    return values["annotations"][k]


def test_a_good_set_has_no_errors_and_is_summed_up(folder: Path) -> None:
    check = DatasetCheck(write_json(folder, content()))
    assert check.usable
    assert keys(check) == ALWAYS
    assert check.source is not None
    summary = check.summary
    assert (summary.entries, summary.frames, summary.lengths) == (2, 7, [4, 3])
    assert summary.objects == {"dog": 2, "cat": 2}
    assert summary.masks == {"dog": 7, "cat": 5}
    assert summary.sizes == [4, 0, 0]
    assert summary.shapes == {SIZE: 2}


SPOILS: list[tuple[str, str, Spoil]] = [
    ("no iscrowd", "annotation 10", lambda v: annotation(v).pop("iscrowd")),
    ("no area", "annotation 10", lambda v: annotation(v).pop("areas")),
    ("zero area", "video 5), frame 2", lambda v: annotation(v)["areas"].__setitem__(2, 0)),
    ("area differs", "frame 1: 9", lambda v: annotation(v)["areas"].__setitem__(1, 9)),
    ("null disagrees", "frame 1", lambda v: annotation(v)["areas"].__setitem__(1, None)),
    ("annotation id 0", "annotation 0", lambda v: annotation(v).update(id=0)),
    ("annotation id twice", "annotation 11", lambda v: annotation(v).update(id=11)),
    ("annotation malformed", "annotations[0]: id", lambda v: annotation(v).pop("id")),
    ("annotation malformed", "segmentations", lambda v: annotation(v).pop("segmentations")),
    ("annotation malformed", "an object, got 5", lambda v: v["annotations"].append(5)),
    ("annotation malformed", "bbox", lambda v: annotation(v)["bboxes"].__setitem__(0, [1, 2])),
    ("unknown entry", "video 99", lambda v: annotation(v).update(video_id=99)),
    ("unknown category", "category 99", lambda v: annotation(v).update(category_id=99)),
    ("unknown class", "annotation 10", lambda v: annotation(v).update(category_id=None)),
    ("length differs", "segmentations 3", lambda v: annotation(v)["segmentations"].pop()),
    ("length differs", "areas 3, file_names 4", lambda v: annotation(v)["areas"].pop()),
    (
        "never visible",
        "annotation 10",
        lambda v: annotation(v).update(
            segmentations=[None] * 4, areas=[None] * 4, bboxes=[None] * 4
        ),
    ),
    (
        "mask malformed",
        "frame 3: expected a mask of [48, 64], got [64, 48]",
        lambda v: annotation(v)["segmentations"][3].update(size=[64, 48]),
    ),
    ("mask malformed", "counts", lambda v: annotation(v)["segmentations"][3].pop("counts")),
    (
        "mask empty",
        "frame 0",
        lambda v: annotation(v)["segmentations"][0].update(counts=[SIZE[0] * SIZE[1]]),
    ),
    ("box outside", "60, 0, 9, 9", lambda v: annotation(v)["bboxes"].__setitem__(0, [60, 0, 9, 9])),
    ("box differs", "0, 0, 5, 5", lambda v: annotation(v)["bboxes"].__setitem__(0, [0, 0, 5, 5])),
    ("wrong length", "video 5: 9", lambda v: v["videos"][0].update(length=9)),
    ("entry malformed", "video 5: height", lambda v: v["videos"][0].update(height=0)),
    ("entry malformed", "video 5: file_names", lambda v: v["videos"][0].update(file_names=[])),
    (
        "entry malformed",
        "video 5: file_names",
        lambda v: v["videos"][0]["file_names"].__setitem__(1, None),
    ),
    ("entry twice", "video 5", lambda v: v["videos"][1].update(id=5)),
    ("no categories", "missing", lambda v: v.pop("categories")),
    ("category twice", "7 cow", lambda v: v["categories"].append({"id": 7, "name": "cow"})),
    ("category malformed", "cow", lambda v: v["categories"].append({"name": "cow"})),
    ("empty category", "cow", lambda v: v["categories"].append({"id": 9, "name": "cow"})),
    (
        "unknown labelled category",
        "video 5: unicorn",
        lambda v: v["videos"][0].update(labelled_categories=["dog", "unicorn"]),
    ),
    ("no annotations", "missing", lambda v: v.pop("annotations")),
    ("nothing annotated", "video 8", lambda v: v.update(annotations=v["annotations"][:2])),
    (
        "picture missing",
        "gone.png",
        lambda v: v["videos"][0]["file_names"].__setitem__(1, "clip0/gone.png"),
    ),
    (
        "file twice",
        "clip0/00001.png (2 times)",
        lambda v: v["videos"][0]["file_names"].__setitem__(2, "clip0/00001.png"),
    ),
    ("no entries", "empty", lambda v: v.update(videos=[], annotations=[])),
]


@pytest.mark.parametrize(("key", "where", "spoil"), SPOILS)
def test_what_was_done_to_a_set_is_found_and_shown(
    folder: Path, key: str, where: str, spoil: Spoil
) -> None:
    values = copy.deepcopy(content())
    spoil(values)
    check = DatasetCheck(write_json(folder, values))
    assert key in check.findings
    assert any(where in example for example in examples(check, key)), examples(check, key)
    assert check.usable == all(f.rule.level != "error" for _, f in check.findings)
    # What the reader refuses, the check must have found; what the check lets pass, the reader opens.
    assert (check.source is not None) or not check.usable
    assert "refused" not in check.findings
    if RULES[key].level == "error":
        assert not check.usable


def test_damaged_and_wrongly_sized_frames_are_found(folder: Path) -> None:
    (folder / "images" / "clip0" / "00001.png").write_bytes(b"no picture")
    cv2.imwrite(str(folder / "images" / "clip1" / "00000.png"), np.zeros((9, 9, 3), np.uint8))
    path = write_json(folder, content())
    check = DatasetCheck(path)
    assert "00001.png" in examples(check, "picture damaged")[0]
    assert examples(check, "picture size") == ["clip1/00000.png: expected 64 x 48, got 9 x 9"]
    assert keys(DatasetCheck(path, decode=0)) == ALWAYS
    assert DatasetCheck(path, decode=1).usable  # the first frame only


def test_frames_of_video_files_are_checked_by_opening_them(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", [picture(k) for k in range(3)])
    video = {"id": 1, "file_name": "film.mp4", "length": 3, "height": 96, "width": 128}
    values = {"videos": [video], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    path = write_json(tmp_path, values)
    check = DatasetCheck(path, tmp_path)
    assert check.usable
    assert keys(check) == {"no annotations"}
    assert check.summary.lengths == [3]
    video["height"] = 95
    check = DatasetCheck(write_json(tmp_path, values), tmp_path)
    assert not check.usable
    assert "expected 128 x 95 pixels" in examples(check, "refused")[0]


def test_still_pictures_are_checked_by_the_same_rules(tmp_path: Path) -> None:
    path = write_coco(tmp_path)
    check = DatasetCheck(path)
    assert check.usable
    assert {"no area", "no iscrowd", "small set", "rare category"} == keys(check)
    values = json.loads(path.read_text())
    values["annotations"][0]["segmentation"] = [[1.0, 2.0]]
    values["images"][1].update(width=1)
    path.write_text(json.dumps(values))
    check = DatasetCheck(path)
    assert {"mask malformed", "picture size"} <= keys(check)
    assert check.summary.splits == {}


def test_a_split_is_checked_alone(folder: Path) -> None:
    values = content()
    values["videos"][0]["split"], values["videos"][1]["split"] = "train", "val"
    annotation(values)["areas"][0] = 0
    path = write_json(folder, values)
    assert not DatasetCheck(path, split="train").usable
    check = DatasetCheck(path, split="val")
    assert check.usable
    assert check.summary.entries == 1
    assert check.summary.splits == {"train": 1, "val": 1}
    with pytest.raises(DatasetError, match="no video of split 'test'"):
        DatasetCheck(path, split="test")


def test_entries_that_are_no_objects_are_a_finding_with_a_split_too(folder: Path) -> None:
    values = content()
    values["videos"][0]["split"] = "train"
    values["videos"].append(5)
    check = DatasetCheck(write_json(folder, values), split="train")
    assert "videos[2]: expected an object, got 5" in examples(check, "entry malformed")


@pytest.mark.parametrize("values", ["{}", '{"images": 5}', "[]", "{"])
def test_what_is_no_annotation_file_is_a_dataset_error(folder: Path, values: str) -> None:
    with pytest.raises(DatasetError):
        DatasetCheck(write_json(folder, values))


def test_findings_count_all_keep_few_and_put_errors_first() -> None:
    findings = Findings()
    findings.add("small set", "x")
    for k in range(100):
        findings.add("zero area", f"{k}")
    assert [key for key, _ in findings] == ["zero area", "small set"]
    assert examples_of(findings)[0] == (100, ["0", "1", "2", "3", "4"])
    assert findings.count("error") == 1


def examples_of(findings: Findings) -> list[tuple[int, list[str]]]:
    return [(finding.count, finding.examples) for _, finding in findings]


WEIRD: tuple[Any, ...] = (
    None,
    -1,
    0,
    1e999,
    3.5,
    True,
    "",
    "x",
    [],
    [[]],
    {},
    [None],
    {"a": 1},
    10**30,
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((*path, key))
        if isinstance(inner, (dict, list)):
            found += spots(inner, (*path, key))
    return found


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), still=st.booleans())
def test_whatever_stands_in_a_file_nothing_but_dataset_errors_comes_out(
    folder: Path, data: st.DataObject, still: bool
) -> None:
    values = content((2,))
    if still:
        values = {
            "images": values["videos"],
            "annotations": values["annotations"],
            "categories": values["categories"],
        }
        values["images"][0].update(file_name="clip0/00000.png")
        for one in values["annotations"]:
            one.update(
                image_id=5, segmentation=one["segmentations"][1], bbox=one["bboxes"][1], area=9
            )
    for _ in range(data.draw(st.integers(1, 2))):
        *path, last = data.draw(st.sampled_from(spots(values)))
        owner: Any = values
        for key in path:
            owner = owner[key]
        owner[last] = data.draw(st.sampled_from(WEIRD))
    path = write_json(folder, values)
    check, refused = outcome(lambda: DatasetCheck(path))
    assert "\n" not in refused
    _, refused = outcome(lambda: read_all(path))
    assert "\n" not in refused
    # What is refused was found.
    assert not refused or check is None or not check.usable, refused


T = TypeVar("T")


def outcome(action: Callable[[], T]) -> tuple[T | None, str]:
    """What an action gives, or the message of its DatasetError."""
    try:
        return action(), ""
    except DatasetError as error:
        return None, str(error)


def read_all(path: Path) -> None:
    source = open_dataset(path, cache_bytes=0)
    for k in range(len(source)):
        source[k]
