"""``sipvideo data convert``: every format there and back, and what it cannot hold."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.annotations import Json, to_rle
from sipvideo.apps.main import main
from sipvideo.data.check import DatasetCheck
from sipvideo.summary import Summary
from tests.apps.scripted import clip, run

SIZE = (48, 64)
FRAMES = 5


def ring(x: int, y: int) -> NDArray[np.bool_]:
    """A square with a hole, and a part of its own."""
    mask = np.zeros(SIZE, bool)
    mask[y : y + 14, x : x + 14] = True
    mask[y + 4 : y + 9, x + 3 : x + 8] = False
    mask[y + 20 : y + 25, x : x + 6] = True
    return mask


def disc(x: int, y: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < 90)


def rle(mask: NDArray[np.bool_]) -> Json:
    found = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(SIZE), "counts": found["counts"].decode()}


def track(key: int, video: int, category: int, masks: list[Any]) -> Json:
    about = {"id": key, "video_id": video, "category_id": category, "iscrowd": 0}
    return about | {"segmentations": [None if m is None else rle(m) for m in masks]}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films: one object with hole and parts, one that is away for a frame; in the second two that overlap."""
    folder = tmp_path_factory.mktemp("films")
    videos, rng = [], np.random.default_rng(3)
    for number, name in enumerate(("first", "second"), 1):
        names = [f"{name}/{k:05d}.jpg" for k in range(FRAMES)]
        (folder / "images" / name).mkdir(parents=True)
        for one in names:
            cv2.imwrite(str(folder / "images" / one), rng.integers(0, 255, (*SIZE, 3), np.uint8))
        about = {"id": number, "name": name, "width": SIZE[1], "height": SIZE[0]}
        videos.append(about | {"length": FRAMES, "file_names": names})
    steps = range(FRAMES)
    annotations = [
        track(1, 1, 2, [ring(4 + 2 * k, 5) for k in steps]),
        track(2, 1, 1, [None if k == 2 else disc(48, 20 + 2 * k) for k in steps]),
        track(3, 2, 1, [disc(20 + k, 20) for k in steps]),
        track(4, 2, 1, [disc(28 - k, 22) for k in steps]),
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "motor car"}]
    content = {"videos": videos, "categories": categories, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two still pictures, one of which is empty; a polygon and a mask."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "images").mkdir()
    images = []
    for number, name in enumerate(("a.jpg", "b.png"), 1):
        cv2.imwrite(str(folder / "images" / name), np.full((*SIZE, 3), 90, np.uint8))
        images.append({"id": number, "file_name": name, "width": SIZE[1], "height": SIZE[0]})
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[3, 3, 30, 3, 30, 20]]},
        {"id": 2, "image_id": 1, "category_id": 7, "segmentation": rle(ring(40, 4))},
    ]
    categories = [{"id": 7, "name": "dog"}]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder / "instances.json"


def convert(*words: object) -> int:
    return main(["data", "convert", "-q", *map(str, words)])


def masks_of(path: Path) -> dict[tuple[str, str], list[list[Any]]]:
    """Dense masks per frame of all tracks, by film and class."""
    content = json.loads(path.read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    films = {v["id"]: v for v in content["videos"]}
    found: dict[tuple[str, str], list[list[Any]]] = {}
    for one in content["annotations"]:
        film = films[one["video_id"]]
        key = film["name"], names[one["category_id"]]
        dense = [m and coco_mask.decode(to_rle(m, SIZE)) for m in one["segmentations"]]
        found.setdefault(key, []).append(dense)
    return found


def same(one: Any, other: Any) -> bool:
    return (one is None and other is None) or (
        one is not None and other is not None and bool((one == other).all())
    )


@pytest.mark.parametrize("kind", ["coco", "cvat", "labelme", "fiftyone"])
def test_films_come_back_pixel_for_pixel_with_their_identities(
    kind: str, films: Path, tmp_path: Path
) -> None:
    images = ["--images", films.parent / "images"]
    assert convert(films, "--to", kind, "-o", tmp_path / "there", "--tolerance", 0) == 0
    more = images if kind == "cvat" else []
    assert convert(tmp_path / "there", "--to", "ytvis", "-o", tmp_path / "back", *more) == 0
    before, after = masks_of(films), masks_of(tmp_path / "back" / "instances.json")
    assert before.keys() == after.keys()
    for key, tracks in before.items():
        assert len(after[key]) == len(tracks)
        for one, other in zip(tracks, after[key], strict=True):
            assert all(same(a, b) for a, b in zip(one, other, strict=True)), key


def test_what_was_converted_is_a_usable_data_set(films: Path, tmp_path: Path) -> None:
    images = films.parent / "images"
    assert convert(films, "--to", "cvat", "-o", tmp_path / "cvat") == 0
    words = (tmp_path / "cvat", "--images", images, "--to", "ytvis", "-o", tmp_path / "back")
    assert convert(*words) == 0
    check = DatasetCheck(tmp_path / "back" / "instances.json", images)
    assert check.usable
    assert not check.findings.count("error")


def test_davis_has_all_but_classes_and_what_lies_beneath(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(films, "--to", "davis", "-o", tmp_path / "davis") == 0
    told = capsys.readouterr().err
    assert "note: classes: DAVIS knows none" in told
    assert " lie on two objects, and are given to one" in told
    place = tmp_path / "davis"
    assert len(list((place / "JPEGImages" / "480p" / "first").glob("*.jpg"))) == FRAMES
    assert (place / "ImageSets" / "2017" / "val.txt").read_text() == "first\nsecond\n"
    assert convert(place, "--to", "ytvis", "-o", tmp_path / "back") == 0
    before, after = masks_of(films), masks_of(tmp_path / "back" / "instances.json")
    first = [before["first", "motor car"][0], before["first", "person"][0]]
    for one, other in zip(first, after["first", "object"], strict=True):
        assert all(same(a, b) for a, b in zip(one, other, strict=True))
    union = [a | b for a, b in zip(*before["second", "person"], strict=True)]
    again = [a | b for a, b in zip(*after["second", "object"], strict=True)]
    assert all(same(a, b) for a, b in zip(union, again, strict=True))


def test_mots_has_classes_by_the_file_of_labels(films: Path, tmp_path: Path) -> None:
    assert convert(films, "--to", "mots", "-o", tmp_path / "mots") == 0
    words = (tmp_path / "mots", "--images", films.parent / "images", "--to", "ytvis")
    assert convert(*words, "-o", tmp_path / "back") == 0
    before, after = masks_of(films), masks_of(tmp_path / "back" / "instances.json")
    assert before.keys() == after.keys()
    for key in (("first", "person"), ("first", "motor car")):
        assert all(same(a, b) for a, b in zip(before[key][0], after[key][0], strict=True))


def test_the_film_itself_is_enough_beside_other_pictures(films: Path, tmp_path: Path) -> None:
    assert convert(films, "--to", "fiftyone", "-o", tmp_path / "media") == 0
    assert convert(films, "--to", "cvat", "-o", tmp_path / "cvat") == 0
    images = tmp_path / "media" / "data"
    cv2.imwrite(str(images / "other.jpg"), np.zeros((*SIZE, 3), np.uint8))
    single = tmp_path / "cvat" / "first.xml"
    words = (single, "--to", "ytvis", "--images", images, "-o", tmp_path / "back")
    assert convert(*words) == 0
    assert DatasetCheck(tmp_path / "back" / "instances.json", images).usable


def test_fiftyone_has_a_video_for_each_film(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "fiftyone"
    assert convert(films, "--to", "fiftyone", "-o", place) == 0
    assert "2 films were made of pictures, as H.264" in capsys.readouterr().err
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["index"][0] == {"data": "data/first.mp4", "labels": "labels/first.json"}
    with av.open(str(place / "data" / "second.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == FRAMES
    labels = json.loads((place / "labels" / "second.json").read_text())
    found = labels["frames"]["1"]["objects"]["objects"]
    assert [one["label"] for one in found] == ["person", "person"]
    box, mask = found[0]["bounding_box"], disc(20, 20)
    rows = np.flatnonzero(mask.any(1))
    assert box["top_left"]["y"] * SIZE[0] == rows[0]
    assert box["bottom_right"]["y"] * SIZE[0] == rows[-1] + 1
    stored = np.load(io.BytesIO(zlib.decompress(base64.b64decode(found[0]["mask"]))))
    assert (stored == mask[mask.any(1)][:, mask.any(0)]).all()


def test_fiftyone_gets_still_pictures_by_coco(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(pictures, "--to", "fiftyone", "-o", tmp_path / "fiftyone") == 2
    assert "--to coco" in capsys.readouterr().err


def test_yolo_has_polygons_without_identities(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(films, "--to", "yolo", "-o", tmp_path / "yolo") == 0
    told = capsys.readouterr().err
    assert "identities of 2 films: YOLO's labels have none" in told
    assert "masks became polygons within 1 pixels: IoU 0." in told
    assert "5 masks of several parts became one polygon" in told
    assert convert(tmp_path / "yolo", "--to", "coco", "-o", tmp_path / "back") == 0
    content = json.loads((tmp_path / "back" / "instances.json").read_text())
    assert [c["name"] for c in content["categories"]] == ["person", "motor car"]
    assert len(content["images"]) == 2 * FRAMES
    assert len(content["annotations"]) == 4 * FRAMES - 1
    check = DatasetCheck(tmp_path / "back" / "instances.json", tmp_path / "yolo")
    assert check.usable


@pytest.mark.parametrize("kind", ["cvat", "labelme", "coco", "yolo"])
def test_pictures_keep_their_polygons_and_masks(kind: str, pictures: Path, tmp_path: Path) -> None:
    assert convert(pictures, "--to", kind, "-o", tmp_path / "there", "--tolerance", 0) == 0
    assert convert(tmp_path / "there", "--to", "coco", "-o", tmp_path / "back") == 0
    content = json.loads((tmp_path / "back" / "instances.json").read_text())
    assert len(content["images"]) == 2
    assert "track_id" not in content["annotations"][0]
    first, second = (a["segmentation"] for a in content["annotations"])
    assert np.allclose(first, [[3, 3, 30, 3, 30, 20]], atol=1e-4)
    assert (coco_mask.decode(to_rle(second, SIZE)) == ring(40, 4)).all()


def test_results_of_a_run_become_tracks_to_correct(tmp_path: Path) -> None:
    path = clip(tmp_path / "walk.mp4", seconds=0.6)
    assert run(path, "-o", tmp_path / "out", "--save", "json,csv", "-q") == 0
    folder = tmp_path / "out" / "walk"
    assert convert(folder, "--to", "cvat", "-o", tmp_path / "cvat") == 0
    root = ElementTree.parse(tmp_path / "cvat" / "walk.xml").getroot()
    rows = (folder / "objects.csv").read_text().splitlines()[1:]
    shown = [p for p in root.iterfind("track/polygon") if p.attrib["outside"] == "0"]
    assert len(shown) == len(rows) > 0
    assert convert(folder, "--to", "labelme", "-o", tmp_path / "labelme") == 0
    frames = sorted((tmp_path / "labelme" / "walk").glob("*.jpg"))
    assert len(frames) == int(root.findtext("meta/task/size") or 0)


def test_covered_people_are_not_uncovered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = clip(tmp_path / "walk.mp4", seconds=0.4)
    assert run(path, "-o", tmp_path / "out", "--save", "json,csv", "-q") == 0
    folder = tmp_path / "out" / "walk"
    summary = Summary.read(folder)
    assert summary is not None
    summary.covered = True
    summary.write(folder)
    assert convert(folder, "--to", "labelme", "-o", tmp_path / "labelme") == 0
    assert "none are taken from its source" in capsys.readouterr().err
    assert not list((tmp_path / "labelme").rglob("*.jpg"))


MINIMAL = """<annotations><version>1.1</version><meta><task><size>3</size>
<original_size><width>64</width><height>48</height></original_size></task></meta>{}</annotations>"""


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.xml", "<a/>", "expected CVAT's <annotations>, got <a>"),
        ("a.xml", "<annotations", "cannot be read"),
        (
            "a.xml",
            MINIMAL.format('<track label="x"><polygon frame="9" points="1,1;2,2;3,1"/></track>'),
            "frame 9 of 3",
        ),
        (
            "a.xml",
            MINIMAL.format('<track label="x"><polygon frame="0" points="1,1;2,nan;3,1"/></track>'),
            "frame 0",
        ),
        (
            "a.xml",
            MINIMAL.format(
                '<image name="p" width="9" height="9"><mask label="x" rle="3" '
                'left="8" top="0" width="3" height="1"/></image>'
            ),
            "outside of its picture",
        ),
        ("a.txt", "1 1001 1 48\n", "expected frame id class height width rle"),
        ("a.txt", "1,1,2,3,4,5,1,1,1\n", "has boxes; masks are needed"),
        ("data.yaml", "names: 3\n", "expected the classes' names"),
        ("data.yaml", "names: {99999999999: x}\ntrain: images\n", "names: expected"),
        ("data.yaml", "names: [x]\ntrain: nowhere\n", "there are no pictures"),
        ("a.json", '{"shapes": 3}', "of what format?"),
        ("manifest.json", '{"index": [{"data": "../a.mp4", "labels": "b"}]}', "of this folder"),
        ("a.json", '{"videos": [{"id": 1}], "categories": []}', "is missing"),
    ],
)
def test_bad_input_is_one_line(
    name: str, content: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(content)
    assert convert(tmp_path / name, "--to", "coco", "-o", tmp_path / "out") == 2
    lines = capsys.readouterr().err.splitlines()
    (line,) = lines
    assert told in line
    assert str(tmp_path / name) in line
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_nothing_is_overwritten(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(films, "--to", "coco", "-o", films.parent) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
