"""Batches depend on seed and step alone, whoever makes them and when."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sipvideo.config import InputConfig
from sipvideo.data import (
    Augmentation,
    Batch,
    ClipStream,
    CocoPictures,
    Sample,
    ScaleRange,
    StreamConfig,
    YouTubeVis,
)
from sipvideo.data.stream import VIS_MULTI_SCALE, VIS_SIZES, fitted
from sipvideo.errors import ConfigError, DatasetError, SipVideoError
from sipvideo.transforms import FrameTransform
from tests.data.sets import content, write_frames, write_json
from tests.media import write_coco

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
CONFIG = StreamConfig(pictures=4, sizes=(64, 96))
TRANSFORM = FrameTransform(InputConfig())


@pytest.fixture
def pictures(tmp_path: Path) -> CocoPictures:
    return CocoPictures(write_coco(tmp_path / "coco"))


@pytest.fixture
def videos(tmp_path: Path) -> YouTubeVis:
    write_frames(tmp_path / "images")
    return YouTubeVis(write_json(tmp_path, content()), classes=("cat", "dog"))


def stream(*sources: Any, config: StreamConfig = CONFIG, **options: Any) -> ClipStream:
    return ClipStream(sources, options.pop("how", Augmentation()), TRANSFORM, config, **options)


def assert_equal(a: Batch, b: Batch) -> None:
    assert torch.equal(a.images, b.images)
    for name in ("boxes", "labels", "masks", "object_ids", "ignored"):
        for one, other in zip(getattr(a, name), getattr(b, name), strict=True):
            assert torch.equal(one, other), name
    assert a.labelled == b.labelled


class Numbers:
    """Pictures whose index is their grey value, to see which were drawn; counts[k] objects each."""

    classes = ("cat",)

    def __init__(self, count: int, first: int = 0, size: tuple[int, int] = (32, 64)) -> None:
        self._count, self._first, self._size = count, first, size

    def __len__(self) -> int:
        return self._count

    def size(self, index: int) -> tuple[int, int]:
        return self._size

    def count(self, index: int) -> int:
        return 1

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        from sipvideo.masks import CompactMasks

        image = np.full((*self._size, 3), self._first + index, np.uint8)
        masks = CompactMasks.from_dense(np.ones((1, *self._size), bool))
        one = np.zeros(1, np.int64)
        sample = Sample(image, masks, one, one.astype(bool), one)
        return sample, sample


PLAIN = Augmentation.published()


def drawn(source: ClipStream, steps: int) -> list[int]:
    """Grey values of the clips of the first steps."""
    grey = []
    for step in range(steps):
        images = source.batch(step).images[::2, 0, 0, 0].numpy()
        grey += np.rint(images * TRANSFORM.std[0] + TRANSFORM.mean[0]).astype(int).tolist()
    return grey


def test_a_batch_depends_on_seed_and_step_alone(pictures: CocoPictures, videos: YouTubeVis) -> None:
    one, other = stream(pictures, videos), stream(pictures, videos)
    for step in (7, 2, 7):
        assert_equal(one.batch(step), other.batch(step))
    changed = stream(pictures, videos, config=replace(CONFIG, seed=1)).batch(2)
    same_shape = changed.images.shape == one.batch(2).images.shape
    assert not same_shape or not torch.equal(changed.images, one.batch(2).images)


def test_batches_made_ahead_by_several_workers_are_those_of_one(pictures: CocoPictures) -> None:
    plain = [stream(pictures).batch(step) for step in range(3, 9)]
    for workers in (1, 3):
        source = stream(pictures, config=replace(CONFIG, workers=workers))
        for expected, batch in zip(plain, source.batches(3, 9), strict=True):
            assert_equal(expected, batch)


def test_the_shares_of_all_ranks_are_the_whole_batch(
    pictures: CocoPictures, videos: YouTubeVis
) -> None:
    source = stream(pictures, videos, config=replace(CONFIG, sizes=((64, 96), (40, 80))))
    for step in range(4):
        whole = source.batch(step)
        shares = [source.batch(step, rank, 2) for rank in range(2)]
        assert torch.equal(whole.images, torch.cat([s.images for s in shares]))
        boxes = [box for share in shares for box in share.boxes]
        for one, other in zip(whole.boxes, boxes, strict=True):
            assert torch.equal(one, other)
    with pytest.raises(ConfigError, match="cannot be shared evenly by 3"):
        source.batch(0, 0, 3)


def test_a_pair_shows_the_same_objects_under_the_same_ids(
    pictures: CocoPictures, videos: YouTubeVis
) -> None:
    source = stream(pictures, videos, how=replace(Augmentation(), copy_paste=1.0))
    common = 0
    for step in range(8):
        batch = source.batch(step)
        assert batch.images.shape[0] == 8
        for k in range(0, 8, 2):
            first = dict(zip(batch.object_ids[k].tolist(), batch.labels[k].tolist(), strict=True))
            second = dict(
                zip(batch.object_ids[k + 1].tolist(), batch.labels[k + 1].tolist(), strict=True)
            )
            assert len(first) == len(batch.object_ids[k])
            assert all(second.get(key, label) == label for key, label in first.items())
            common += len(first.keys() & second.keys())
    assert common > 20


def test_every_clip_comes_once_per_epoch_in_a_new_order() -> None:
    source = stream(Numbers(4), Numbers(6, 4), how=PLAIN, config=replace(CONFIG, pictures=5))
    assert len(source) == 10
    epochs = np.array(drawn(source, 6)).reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(10))
    assert (epochs[0] != epochs[1]).any()


def test_weights_set_how_often_a_set_is_drawn_and_each_is_gone_through_in_turn() -> None:
    config = replace(CONFIG, pictures=50, sizes=((32, 64),))
    sources = Numbers(40), Numbers(7, 100), Numbers(5, 200)
    grey = drawn(stream(*sources, how=PLAIN, config=config, weights=(1, 3, 0)), 30)
    first, second = [g for g in grey if g < 100], [g for g in grey if g >= 100]
    assert len(second) / len(grey) == pytest.approx(0.75, abs=0.04)
    assert max(grey) < 200
    for values, count in ((first, 40), (second, 7)):
        for start in range(0, len(values) - count + 1, count):
            assert len(set(values[start : start + count])) == count
    # The order is the same when only a later part is asked for.
    again = stream(*sources, how=PLAIN, config=config, weights=(1, 3, 0))
    later = again.batch(29).images[::2, 0, 0, 0].numpy() * TRANSFORM.std[0] + TRANSFORM.mean[0]
    assert np.rint(later).astype(int).tolist() == grey[-50:]


def test_the_long_side_of_a_step_is_drawn_in_steps_of_32() -> None:
    source = stream(Numbers(4), how=PLAIN, config=replace(CONFIG, sizes=(64, 128)))
    widths = Counter(source.batch(step).images.shape[3] for step in range(40))
    assert set(widths) == {64, 96, 128}


def test_listed_and_published_sizes_are_drawn_per_pair_and_keep_the_ratio() -> None:
    assert fitted((720, 1280), VIS_SIZES[0]) == (360, 640)
    assert fitted((1280, 720), VIS_SIZES[0]) == (640, 360)
    assert fitted((100, 400), (360, 640)) == (160, 640)
    rng = np.random.default_rng(0)
    drawn_sizes = [StreamConfig(sizes=VIS_MULTI_SCALE).draw(rng) for _ in range(300)]
    short, long = np.array(drawn_sizes).T
    assert (short.min(), long.max()) >= (360, 900)
    assert short.max() <= 480
    assert (long >= 649).all()
    assert (long <= 960).all()
    source = stream(Numbers(4), how=PLAIN, config=replace(CONFIG, sizes=((32, 64), (64, 128))))
    boxes = [source.batch(step).boxes for step in range(5)]
    assert {tuple(b[0, 2:].tolist()) for views in boxes for b in views} == {(64, 32), (128, 64)}


@pytest.mark.parametrize(
    "sizes", [(0, 32), (64, 32), (), ((64, 32),), ((1, 2, 3),), ScaleRange((9, 3), (9, 9))]
)
def test_impossible_sizes_are_config_errors(sizes: Any) -> None:
    with pytest.raises(ConfigError, match="sizes: expected"):
        StreamConfig(sizes=sizes)


@pytest.mark.parametrize("values", [{"pictures": 0}, {"workers": 0}, {"seed": -1}])
def test_numbers_that_are_too_small_are_config_errors(values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(values))}: expected"):
        StreamConfig(**values)  # type: ignore[arg-type]


def test_sets_without_objects_or_with_other_classes_are_refused(
    pictures: CocoPictures, videos: YouTubeVis
) -> None:
    birds = CocoPictures(pictures.path, classes=("bird",))
    with pytest.raises(DatasetError, match="no clip shows an object"):
        stream(birds)
    with pytest.raises(DatasetError, match="different classes"):
        stream(pictures, birds)
    with pytest.raises(ConfigError, match="weights: expected 1 numbers"):
        stream(pictures, weights=(1, 2))
    with pytest.raises(DatasetError, match="no clip"):
        stream(birds, weights=(1,))
    with pytest.raises(ConfigError, match="weights"):
        stream(weights=())
    with pytest.raises(DatasetError, match="no clip"):
        stream()


def workers() -> int:
    return sum(t.name.startswith("batches") for t in threading.enumerate())


def test_stopping_early_ends_the_workers(pictures: CocoPictures) -> None:
    batches = stream(pictures, config=replace(CONFIG, workers=2)).batches(0, 1000)
    next(batches)
    assert workers() > 0
    batches.close()
    assert workers() == 0


def test_a_damaged_picture_reaches_the_consumer_after_the_good_batches(tmp_path: Path) -> None:
    pictures = CocoPictures(write_coco(tmp_path))
    source = stream(pictures, how=PLAIN, config=replace(CONFIG, pictures=1))
    (tmp_path / "images" / "3.png").write_bytes(b"no picture")
    good = []
    with pytest.raises(DatasetError, match=r"3\.png: cannot decode"):
        good.extend(source.batches(0, 5))
    assert len(good) < 5
    for step, batch in enumerate(good):
        assert_equal(batch, source.batch(step))
    assert workers() == 0


def test_other_failures_of_a_worker_are_one_clear_error() -> None:
    class Broken(Numbers):
        def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
            raise MemoryError("no memory left")

    with pytest.raises(SipVideoError, match="step 0 cannot be made: MemoryError: no memory left"):
        next(stream(Broken(3), how=PLAIN).batches(0, 3))


def test_single_views_have_one_picture_each_and_the_objects_pasted_onto_it(
    pictures: CocoPictures,
) -> None:
    config = replace(CONFIG, pairs=False)
    batch = stream(pictures, config=config, how=Augmentation(copy_paste=1, min_pixels=1)).batch(0)
    assert len(batch.images) == CONFIG.pictures
    for boxes, masks, ids in zip(batch.boxes, batch.masks, batch.object_ids, strict=True):
        assert len(set(ids.tolist())) == len(ids)
        for box, mask in zip(boxes.long().tolist(), masks, strict=True):
            ys, xs = mask.nonzero().t()
            assert [int(xs.min()), int(ys.min())] == box[:2]
            assert [int(xs.max()) + 1, int(ys.max()) + 1] == box[2:]
    plain = stream(pictures, config=config, how=Augmentation(copy_paste=0, min_pixels=1)).batch(0)
    assert sum(map(len, batch.boxes)) > sum(map(len, plain.boxes))
