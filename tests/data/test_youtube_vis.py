"""Reading annotated videos: layouts, archives, video files, clips of two frames."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from sipvideo.annotations import to_rle
from sipvideo.data import CocoPictures, YouTubeVis, open_dataset
from sipvideo.data.instances import SampleCache
from sipvideo.errors import DatasetError
from tests.data.sets import SIZE, content, frame_picture, truth, write_frames, write_json
from tests.media import number_in, picture, write_coco, write_video

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_frames(tmp_path / "JPEGImages")
    return tmp_path


def assert_whole(videos: YouTubeVis) -> None:
    """All frames and masks are those that were written."""
    assert len(videos) == sum(v.length for v in videos.videos)
    index = 0
    for v, video in enumerate(videos.videos):
        for k in range(video.length):
            sample = videos[index]
            np.testing.assert_array_equal(sample.image, frame_picture(v, k))
            expected = [m for m in truth(v, k) if m is not None]
            assert videos.count(index) == len(sample) == len(expected)
            for row, mask in enumerate(expected):
                np.testing.assert_array_equal(sample.masks.dense(row), mask)
            ids = [10 + 2 * v, 11 + 2 * v]
            assert sample.object_ids.tolist() == ids[: len(expected)]
            assert sample.labels.tolist() == [0, 1][: len(expected)]
            index += 1


def test_frames_in_a_folder_keep_masks_identities_and_the_files_ids(folder: Path) -> None:
    videos = YouTubeVis(write_json(folder, content()))
    assert_whole(videos)
    assert [v.id for v in videos.videos] == [5, 8]
    assert videos.classes == ("dog", "cat")
    assert videos.category_ids == (7, 3)
    assert videos.size(0) == SIZE


@pytest.mark.parametrize("prefix", ["", "train/JPEGImages/"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_frames_are_read_from_inside_an_archive(folder: Path, kind: str, prefix: str) -> None:
    archive = folder / f"frames.{kind}"
    files = sorted((folder / "JPEGImages").rglob("*.png"))
    names = [prefix + str(f.relative_to(folder / "JPEGImages")) for f in files]
    if kind == "tar":
        with tarfile.open(archive, "w") as tar:
            for file, name in zip(files, names, strict=True):
                tar.add(file, name)
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            for file, name in zip(files, names, strict=True):
                packed.write(file, name)
    assert_whole(YouTubeVis(write_json(folder, content()), archive))


def test_a_compressed_tar_file_is_refused_with_what_was_expected(folder: Path) -> None:
    archive = folder / "frames.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder / "JPEGImages", "JPEGImages")
    with pytest.raises(DatasetError, match="expected a folder, an uncompressed tar file or a zip"):
        YouTubeVis(write_json(folder, content()), archive)


def movie_content(**fields: Any) -> dict[str, Any]:
    video = {"id": 1, "height": 96, "width": 128, "length": 12, **fields}
    return {"videos": [video], "categories": [{"id": 1, "name": "cat"}]}


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({"file_name": "film.mp4"}, range(12)),
        ({"name": "film"}, range(12)),
        ({"file_name": "film.mp4", "file_names": [0, 5, 10]}, (0, 5, 10)),
        ({"file_names": ["film/00003.jpg", "film/00007.jpg"]}, (3, 7)),
    ],
)
def test_frames_are_read_from_a_video_file(
    tmp_path: Path, fields: dict[str, Any], numbers: Any
) -> None:
    write_video(tmp_path / "film.mp4", [picture(k) for k in range(12)])
    videos = YouTubeVis(write_json(tmp_path, movie_content(**fields, fps=12)), tmp_path)
    frames = list(videos.frames(videos.videos[0]))
    assert [number_in(f.image) for f in frames] == list(numbers)
    assert [f.index for f in frames] == list(range(len(frames)))
    assert [f.timestamp for f in frames] == [k / 12 for k in range(len(frames))]
    # In any order, too.
    for k in reversed(range(len(frames))):
        np.testing.assert_array_equal(videos[k].image, frames[k].image)


@pytest.mark.parametrize(
    ("seconds", "times"),
    [
        ([0.0, 0.1, 0.7], [0.0, 0.1, 0.7]),
        (None, [0.0, 0.25, 0.5]),
        ([0.0], "seconds: expected 3, one per frame, got 1"),
        ([0.0, 0.2, 0.1], "seconds: expected rising times"),
    ],
)
def test_frames_have_the_times_that_the_file_tells(
    tmp_path: Path, seconds: list[float] | None, times: list[float] | str
) -> None:
    write_video(tmp_path / "film.mp4", [picture(k) for k in range(12)])
    fields = {"file_name": "film.mp4", "file_names": [0, 5, 10], "seconds": seconds, "fps": 4}
    path = write_json(tmp_path, movie_content(**fields))
    if isinstance(times, str):
        with pytest.raises(DatasetError, match=times):
            YouTubeVis(path, tmp_path)
        return
    videos = YouTubeVis(path, tmp_path)
    assert [frame.timestamp for frame in videos.frames(videos.videos[0])] == times


def test_a_video_file_that_ends_early_is_a_dataset_error(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", [picture(k) for k in range(5)])
    path = write_json(tmp_path, movie_content(file_name="film.mp4"))
    videos = YouTubeVis(path, tmp_path)
    with pytest.raises(DatasetError, match="there is no frame 5"):
        list(videos.frames(videos.videos[0]))


def test_the_two_frames_of_a_clip_are_of_one_video_within_reach(folder: Path) -> None:
    videos = YouTubeVis(write_json(folder, content((4, 3))), reach=1 / 6)
    seen = set()
    for seed in range(40):
        first, second = videos.pair(1, np.random.default_rng(seed))
        assert first.image[0, 0, 0] == 20
        seen.add(int(second.image[0, 0, 0]) // 20)
    assert seen == {0, 2}
    anywhere = YouTubeVis(folder / "instances.json")
    pairs = [anywhere.pair(5, np.random.default_rng(seed)) for seed in range(40)]
    assert {int(b.image[0, 0, 0]) for _, b in pairs} == {100, 140}


def test_a_frame_without_neighbours_is_its_own_pair(folder: Path) -> None:
    values = content()
    for annotation in values["annotations"][:2]:
        annotation["segmentations"][1:] = [None] * 3
    videos = YouTubeVis(write_json(folder, values))
    first, second = videos.pair(0, np.random.default_rng(0))
    assert first is second


def test_a_file_without_annotations_still_gives_its_frames(folder: Path) -> None:
    values = content()
    del values["annotations"]
    videos = YouTubeVis(write_json(folder, values))
    assert [videos.count(k) for k in range(len(videos))] == [0] * 7
    names = [f.name for f in videos.frames(videos.videos[1])]
    assert names == ["clip1/00000.png", "clip1/00001.png", "clip1/00002.png"]


def test_crowds_unknown_classes_and_occlusion_are_kept(folder: Path) -> None:
    values = content()
    values["annotations"][0]["iscrowd"] = 1
    values["annotations"][1]["category_id"] = None
    words = ["no_occlusion", "slight_occlusion", None, "severe_occlusion"]
    values["annotations"][0]["occlusion"] = words
    values["videos"][0]["labelled_categories"] = ["cat"]
    videos = YouTubeVis(write_json(folder, values))
    assert videos.count(1) == 0
    assert videos[1].crowd.tolist() == [True, True]
    assert videos[1].labels.tolist() == [0, -1]
    assert videos[1].labelled == frozenset({1})
    assert videos.videos[0].tracks[0].occlusion == words
    assert videos.videos[1].tracks[0].occlusion is None


def test_a_split_and_class_names_choose(folder: Path) -> None:
    values = content()
    values["videos"][1]["split"] = "val"
    path = write_json(folder, values)
    chosen = YouTubeVis(path, split="val", classes=("cat", "bird"))
    assert [v.id for v in chosen.videos] == [8]
    assert chosen.category_ids == (3, None)
    assert chosen[1].labels.tolist() == [0]
    with pytest.raises(DatasetError, match="no video of split 'test'; splits: val"):
        YouTubeVis(path, split="test")


def spoil(values: dict[str, Any], where: str) -> None:
    annotation = values["annotations"][1]
    if where == "short":
        annotation["segmentations"].pop()
    elif where == "video":
        annotation["video_id"] = 99
    elif where == "category":
        annotation["category_id"] = 99
    elif where == "key":
        del annotation["segmentations"]
    elif where == "kind":
        values["videos"] = 5
    else:
        values["videos"][1]["file_names"][2] = "clip1/gone.png"


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("short", r"annotation 11 \(video 5\): expected 4 segmentations, one per frame, got 3"),
        ("video", "annotation 11: there is no video 99"),
        ("category", "annotation 11: there is no category 99"),
        ("key", r"annotation 11 \(video 5\): key 'segmentations' is missing"),
        ("kind", "videos: expected a list of objects, got 5"),
        ("file", r"1 of 7 frames are missing in .*JPEGImages, the first is clip1/gone\.png"),
    ],
)
def test_an_inconsistent_file_is_a_dataset_error(folder: Path, where: str, message: str) -> None:
    values = content()
    spoil(values, where)
    with pytest.raises(DatasetError, match=message):
        YouTubeVis(write_json(folder, values))


def test_a_malformed_mask_names_video_frame_and_annotation(folder: Path) -> None:
    values = content()
    values["annotations"][0]["segmentations"][2]["counts"][0] += 1
    with pytest.raises(DatasetError, match=r"annotation 10 \(video 5\), frame 2: malformed"):
        YouTubeVis(write_json(folder, values))


def test_the_kind_of_data_set_is_recognised_by_its_content(folder: Path, tmp_path: Path) -> None:
    assert isinstance(open_dataset(write_json(folder, content())), YouTubeVis)
    assert isinstance(open_dataset(write_coco(tmp_path / "coco")), CocoPictures)


@given(arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_every_compressed_mask_is_accepted_and_no_shortened_one(mask: np.ndarray) -> None:
    counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert to_rle({"size": list(mask.shape), "counts": counts}, mask.shape)["counts"] == counts
    for text in (counts[:-1], counts + "1", "", "é", counts + "\x01"):
        with pytest.raises(ValueError, match=r"RLE|ascii"):
            to_rle({"size": list(mask.shape), "counts": text}, mask.shape)


def test_the_cache_keeps_what_came_first_and_never_more_than_its_limit(folder: Path) -> None:
    videos = YouTubeVis(write_json(folder, content()), cache_bytes=0)
    samples = [videos[k] for k in range(4)]
    cache = SampleCache(2 * max(s.nbytes for s in samples))
    for _ in range(2):
        for k in range(4):
            assert cache.get(k, samples.__getitem__) is samples[k]
    assert cache.used <= cache.limit
    asked: list[int] = []

    def read(k: int) -> Any:
        asked.append(k)
        return samples[k]

    for k in range(4):
        cache.get(k, read)
    assert asked == [2, 3]
    assert videos[0] is not videos[0]
    kept = YouTubeVis(folder / "instances.json")
    assert kept[0] is kept[0]


def test_a_file_may_be_given_as_text_of_json_lists_only_where_it_is_one(tmp_path: Path) -> None:
    for values in ("[]", "{", json.dumps({"a": 1})):
        with pytest.raises(DatasetError):
            open_dataset(write_json(tmp_path, values))
