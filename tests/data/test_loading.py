"""Whoever makes batches, they are the same; few input sizes hold all of them."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sipvideo.config import InputConfig
from sipvideo.data import Augmentation, ClipStream, CocoPictures, Sample, StreamConfig, YouTubeVis
from sipvideo.data.buckets import choose_buckets, covering
from sipvideo.data.loading import processes_for
from sipvideo.errors import ConfigError, DatasetError
from sipvideo.masks import CompactMasks
from sipvideo.transforms import FrameTransform
from tests.data.sets import content, write_frames, write_json
from tests.data.test_stream import assert_equal
from tests.media import write_coco

CPU = torch.device("cpu")
TRANSFORM = FrameTransform(InputConfig())


class Shapes:
    """Grey pictures of many shapes, one of which cannot be read."""

    classes = ("cat",)
    shapes = ((48, 64), (64, 48), (30, 80), (64, 64))

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 24

    def size(self, index: int) -> tuple[int, int]:
        return self.shapes[index % len(self.shapes)]

    def count(self, index: int) -> int:
        return 1

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        if index == self.broken:
            raise DatasetError(f"picture {index}: cannot be read")
        height, width = self.size(index)
        mask = np.zeros((1, height, width), bool)
        mask[0, 8:24, 8:24] = True
        one = Sample(
            np.full((height, width, 3), index, np.uint8),
            CompactMasks.from_dense(mask),
            np.zeros(1, np.int64),
            np.zeros(1, bool),
            np.zeros(1, np.int64),
        )
        return one, one


def stream(source: object, **settings: object) -> ClipStream:
    config = replace(StreamConfig(pictures=2, sizes=(64, 96)), **settings)  # type: ignore[arg-type]
    return ClipStream([source], Augmentation.published(), TRANSFORM, config)  # type: ignore[list-item]


def test_data_sets_go_to_other_processes_as_they_are(tmp_path: Path) -> None:
    coco = write_coco(tmp_path / "coco")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        for path in (tmp_path / "coco").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path / "coco"))
    write_frames(tmp_path / "images")
    frames = YouTubeVis(write_json(tmp_path, content()), classes=("cat", "dog"))
    for source in (CocoPictures(coco), CocoPictures(coco, tmp_path / "pictures.zip"), frames):
        here = stream(source)
        before = here.batch(0)
        there: ClipStream = pickle.loads(pickle.dumps(here))
        assert_equal(there.batch(0), before)
        assert_equal(there.batch(5), here.batch(5))


def test_processes_make_the_batches_that_threads_make_and_tell_what_is_wrong() -> None:
    whole = stream(Shapes())
    # Every picture is shown once in the first twelve steps.
    wrong = Shapes(broken=whole._clip(2 * 3)[1])
    with pytest.raises(DatasetError, match="cannot be read") as by_thread:
        list(stream(wrong, workers=2).batches(0, 12))
    made = stream(wrong, processes=2).batches(0, 12)
    for number, packed in enumerate(islice(made, 3)):
        assert_equal(packed.to(CPU), whole.batch(number))
    with pytest.raises(DatasetError) as by_process:
        next(made)
    assert str(by_process.value) == str(by_thread.value)


def test_only_cards_are_worth_processes() -> None:
    assert processes_for(CPU) == 0
    assert 1 <= processes_for(torch.device("cuda")) <= 16
    assert processes_for(torch.device("cuda"), sharers=1000) == 1


def test_packed_batches_are_the_same_in_a_quarter_of_the_bytes() -> None:
    shapes = stream(Shapes())
    packed = shapes.packed(3)
    assert packed.images.dtype == torch.uint8
    assert_equal(packed.to(CPU), shapes.batch(3))
    assert_equal(next(shapes.batches(3, 4, packed=True)).to(CPU), shapes.batch(3))


@pytest.mark.parametrize("sizes", [(64, 128), ((64, 96), (32, 64))])
def test_all_batches_have_one_of_a_few_sizes(sizes: tuple[int, int]) -> None:
    free, few = stream(Shapes(), sizes=sizes), stream(Shapes(), sizes=sizes, buckets=2)
    found = set()
    for step in range(30):
        own, padded = free.batch(step).images, few.batch(step).images
        found.add(tuple(padded.shape[2:]))
        height, width = own.shape[2:]
        assert torch.equal(padded[:, :, :height, :width], own)
        assert not padded[:, :, height:].any()
        assert not padded[:, :, :, width:].any()
    assert found <= set(few.buckets)
    assert 1 < len(found) <= 2
    assert stream(Shapes(), sizes=sizes, buckets=2).buckets == few.buckets


NEEDS = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=20)


@settings(max_examples=25)
@given(NEEDS, st.integers(1, 5))
def test_more_buckets_never_pad_more(needs: list[tuple[int, int]], count: int) -> None:
    def pixels(buckets: list[tuple[int, int]]) -> int:
        sizes = [covering(buckets, need) for need in needs]
        assert all(h >= n[0] and w >= n[1] for (h, w), n in zip(sizes, needs, strict=True))
        return sum(h * w for h, w in sizes)

    few, more = (choose_buckets(needs, (6, 6), n) for n in (count, count + 1))
    assert len(few) <= count
    assert (6, 6) in few
    assert pixels(more) <= pixels(few)


def test_a_size_beyond_all_buckets_stays_as_it_is() -> None:
    assert covering([(32, 32), (64, 64)], (32, 48)) == (64, 64)
    assert covering([(32, 32)], (64, 32)) == (64, 32)
    assert covering([], (5, 7)) == (5, 7)


def test_numbers_that_cannot_be_meant_are_refused() -> None:
    for wrong in ("buckets", "processes"):
        with pytest.raises(ConfigError, match=f"{wrong}: expected 0 or more"):
            stream(Shapes(), **{wrong: -1})
