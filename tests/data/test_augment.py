"""Views of pictures: masks, boxes and identities stay right whatever is done to the picture."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipvideo.config import InputConfig
from sipvideo.data.augment import Augmentation, warp
from sipvideo.data.batch import collate
from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks
from sipvideo.structures import Frame
from sipvideo.transforms import FrameTransform

PLAIN = Augmentation(min_pixels=1, min_visible=0.0)
GEOMETRY_ONLY = Augmentation(
    brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0, fill=(0, 0, 0)
)


def ellipses(seed: int, count: int, size: tuple[int, int] = (90, 120)) -> Sample:
    """A black picture where object k is an ellipse filled with the colour 40 * (k + 1)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    image = np.zeros((*size, 3), np.uint8)
    masks = np.zeros((count, *size), bool)
    for k in range(count):
        cy, cx = rng.uniform(0.2, 0.8, 2) * size
        a, b = rng.uniform(8, 20, 2)
        masks[k] = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
        masks[:k] &= ~masks[k]
        image[masks[k]] = 40 * (k + 1)
    return Sample(
        image,
        CompactMasks.from_dense(masks),
        np.arange(count) % 3,
        np.zeros(count, bool),
        100 + np.arange(count),
    )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_masks_and_boxes_move_with_the_picture(seed: int) -> None:
    sample = ellipses(seed % 7, 4)
    view = GEOMETRY_ONLY.view(sample, (96, 128), np.random.default_rng(seed))
    assert view.image.shape == (96, 128, 3)
    for k, object_id in enumerate(view.object_ids.tolist()):
        colour = 40 * (object_id - 100 + 1)
        mask = view.masks.dense(k)
        # Pixels inside an object have its colour; only its edge is blended with others.
        inside = cv2.erode(mask.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        off = np.abs(view.image[..., 0][inside].astype(int) - colour) > 1
        assert np.count_nonzero(off) <= 0.1 * len(off)
        outside = ~cv2.dilate(mask.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        assert (np.abs(view.image[..., 0][outside].astype(int) - colour) > 1).mean() > 0.95
        rows, columns = np.nonzero(mask)
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_array_equal(view.boxes[k], tight)


def test_the_identity_changes_nothing() -> None:
    sample = ellipses(1, 4)
    view = warp(sample, np.eye(3), (90, 120), PLAIN)
    np.testing.assert_array_equal(view.image, sample.image)
    np.testing.assert_array_equal(view.masks.windows, sample.masks.windows)
    for k in range(4):
        np.testing.assert_array_equal(view.masks.dense(k), sample.masks.dense(k))


def test_a_flip_is_numpys_flip() -> None:
    sample = ellipses(2, 4)
    flip = np.array([[-1, 0, 120], [0, 1, 0], [0, 0, 1]], float)
    view = warp(sample, flip, (90, 120), PLAIN)
    np.testing.assert_array_equal(view.image, sample.image[:, ::-1])
    for k in range(4):
        np.testing.assert_array_equal(view.masks.dense(k), sample.masks.dense(k)[:, ::-1])


def test_a_crop_is_a_slice_and_drops_what_it_does_not_show() -> None:
    sample = ellipses(3, 5)
    crop = np.array([[1, 0, -60], [0, 1, -10], [0, 0, 1]], float)
    view = warp(sample, crop, (50, 40), PLAIN)
    np.testing.assert_array_equal(view.image, sample.image[10:60, 60:100])
    dense = [sample.masks.dense(k)[10:60, 60:100] for k in range(5)]
    shown = [k for k in range(5) if dense[k].any()]
    assert 0 < len(shown) < 5
    assert view.object_ids.tolist() == [100 + k for k in shown]
    assert view.labels.tolist() == [k % 3 for k in shown]
    for row, k in enumerate(shown):
        np.testing.assert_array_equal(view.masks.dense(row), dense[k])


def test_objects_that_are_hardly_visible_are_left_out() -> None:
    sample = ellipses(3, 1)
    x0, _, x1, _ = sample.masks.windows[0].tolist()
    for shown, limits, kept in [
        (x1 - x0, Augmentation(min_visible=0.5), 1),
        ((x1 - x0) // 4, Augmentation(min_visible=0.5), 0),
        ((x1 - x0) // 4, Augmentation(min_visible=0.0), 1),
        ((x1 - x0) // 4, Augmentation(min_visible=0.0, min_pixels=9999), 0),
    ]:
        shift = np.array([[1, 0, -(x1 - shown)], [0, 1, 0], [0, 0, 1]], float)
        assert len(warp(sample, shift, (90, 60), limits)) == kept


def test_zooming_keeps_areas_in_proportion() -> None:
    sample = ellipses(4, 4)
    view = warp(sample, np.diag([3.0, 2.0, 1.0]), (180, 360), PLAIN)
    np.testing.assert_allclose(view.masks.areas(), 6 * sample.masks.areas(), rtol=0.03)


def test_views_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    sample = ellipses(5, 3)
    views = [Augmentation().view(sample, (64, 64), np.random.default_rng(s)) for s in (1, 1, 2)]
    np.testing.assert_array_equal(views[0].image, views[1].image)
    assert (views[0].image != views[2].image).any()


def test_pairs_share_identities_and_keep_the_flip() -> None:
    rng = np.random.default_rng(6)
    both_seen = 0
    for seed in range(20):
        sample = ellipses(seed, 4)
        key, reference = GEOMETRY_ONLY.pair(sample, (96, 128), rng)
        for view in (key, reference):
            expected = sample.labels[view.object_ids - 100]
            np.testing.assert_array_equal(view.labels, expected)
        common = np.intersect1d(key.object_ids, reference.object_ids)
        both_seen += len(common)
        if len(common) < 2:
            continue
        order = [
            np.argsort([v.boxes[v.object_ids == c, 0].item() for c in common])
            for v in (key, reference)
        ]
        if (
            np.diff(np.sort([key.boxes[key.object_ids == c, 0].item() for c in common])) > 30
        ).all():
            np.testing.assert_array_equal(order[0], order[1])
    assert both_seen > 40


def test_colours_change_but_grey_stays_grey() -> None:
    image = np.full((32, 32, 3), 128, np.uint8)
    empty = CompactMasks.empty((32, 32))
    none = np.zeros(0, np.int64)
    sample = Sample(image, empty, none, none.astype(bool), none)
    augmentation = Augmentation(zoom=(2, 2), rotation=0, brightness=0)
    for seed in range(5):
        view = augmentation.view(sample, (32, 32), np.random.default_rng(seed))
        np.testing.assert_allclose(view.image, 128, atol=1)
        assert len(view) == 0
    coloured = Sample(image * np.array([1, 0, 1], np.uint8), empty, none, none.astype(bool), none)
    views = [augmentation.view(coloured, (32, 32), np.random.default_rng(s)) for s in range(3)]
    assert len({tuple(v.image[16, 16].tolist()) for v in views}) == 3


def test_a_sample_with_fields_of_other_lengths_is_refused() -> None:
    sample = ellipses(0, 2)
    with pytest.raises(ValueError, match=r"labels: expected \[2\]"):
        Sample(sample.image, sample.masks, sample.labels[:1], sample.crowd, sample.object_ids)
    with pytest.raises(ValueError, match=r"masks: expected a frame of \(80, 120\)"):
        Sample(sample.image[:80], sample.masks, sample.labels, sample.crowd, sample.object_ids)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_batch_holds_what_the_transform_of_single_frames_gives(
    order: Literal["bgr", "rgb"],
) -> None:
    config = InputConfig(
        resize="stretch", size=(120, 90), channel_order=order, mean=(1, 2, 3), std=(4, 5, 6)
    )
    transform = FrameTransform(config)
    samples = [ellipses(0, 3), ellipses(1, 2, (50, 70))]
    batch = collate(samples, transform)
    assert batch.images.shape == (2, 3, 96, 128)
    single, _ = transform(Frame(samples[0].image, 0, 0.0))
    np.testing.assert_allclose(batch.images[0], single, atol=1e-6)
    assert not batch.images[1, :, 50:].any()
    assert not batch.images[1, :, :, 70:].any()
    for k in range(3):
        np.testing.assert_array_equal(batch.masks[0][k, :90, :120], samples[0].masks.dense(k))
    assert not batch.masks[0][:, 90:].any()
    np.testing.assert_array_equal(batch.boxes[1], samples[1].boxes)
    assert batch.labels[1].tolist() == [0, 1]


def test_a_batch_leaves_crowds_out() -> None:
    sample = ellipses(0, 3)
    crowd = np.array([False, True, False])
    crowded = Sample(sample.image, sample.masks, sample.labels, crowd, sample.object_ids)
    batch = collate([crowded], FrameTransform(InputConfig()))
    assert batch.object_ids[0].tolist() == [100, 102]
    assert len(batch.masks[0]) == len(batch.boxes[0]) == len(batch.labels[0]) == 2
