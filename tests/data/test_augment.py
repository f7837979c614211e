"""Views of pictures: masks, boxes and identities stay right whatever is done to the picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipvideo.config import InputConfig
from sipvideo.data import appearance
from sipvideo.data.augment import Augmentation
from sipvideo.data.batch import collate
from sipvideo.data.geometry import warp
from sipvideo.data.paste import paste
from sipvideo.data.sample import Sample
from sipvideo.masks import CompactMasks
from sipvideo.structures import Frame
from sipvideo.transforms import FrameTransform

GEOMETRY_ONLY = Augmentation(
    brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0, fill=(0, 0, 0), motion_blur=0
)
STILL = replace(Augmentation.published(), flip=0)


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
    view = warp(sample, np.eye(3), (90, 120))
    np.testing.assert_array_equal(view.image, sample.image)
    np.testing.assert_array_equal(view.masks.windows, sample.masks.windows)
    for k in range(4):
        np.testing.assert_array_equal(view.masks.dense(k), sample.masks.dense(k))


def test_a_flip_is_numpys_flip() -> None:
    sample = ellipses(2, 4)
    flip = np.array([[-1, 0, 120], [0, 1, 0], [0, 0, 1]], float)
    view = warp(sample, flip, (90, 120))
    np.testing.assert_array_equal(view.image, sample.image[:, ::-1])
    for k in range(4):
        np.testing.assert_array_equal(view.masks.dense(k), sample.masks.dense(k)[:, ::-1])


def test_a_crop_is_a_slice() -> None:
    sample = ellipses(3, 5)
    crop = np.array([[1, 0, -60], [0, 1, -10], [0, 0, 1]], float)
    view = warp(sample, crop, (50, 40))
    np.testing.assert_array_equal(view.image, sample.image[10:60, 60:100])
    dense = [sample.masks.dense(k)[10:60, 60:100] for k in range(5)]
    assert 0 < sum(mask.any() for mask in dense) < 5
    for k in range(5):
        np.testing.assert_array_equal(view.masks.dense(k), dense[k])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), pixels=st.integers(1, 300), share=st.floats(0, 1))
def test_only_objects_that_are_hardly_visible_are_left_out(
    seed: int, pixels: int, share: float
) -> None:
    sample = ellipses(seed % 7, 5)
    wide = replace(GEOMETRY_ONLY, zoom=(2, 2), aspect=1.0)
    everything = replace(wide, min_pixels=1, min_visible=0.0)
    limited = replace(wide, min_pixels=pixels, min_visible=share)
    views = [a.view(sample, (90, 120), np.random.default_rng(seed)) for a in (everything, limited)]
    np.testing.assert_array_equal(views[0].image, views[1].image)
    whole = dict(zip(sample.object_ids.tolist(), 4 * sample.masks.areas(), strict=True))
    areas = dict(zip(views[0].object_ids.tolist(), views[0].masks.areas(), strict=True))
    expected = [k for k, area in areas.items() if area >= max(pixels, share * whole[k] - 1e-6)]
    assert views[1].object_ids.tolist() == expected


def test_a_picture_that_fills_the_view_fills_it_to_the_rim() -> None:
    sample = replace(ellipses(4, 0), image=np.full((90, 120, 3), 200, np.uint8))
    for factor in (0.5, 1.5, 3.0):
        size = round(90 * factor), round(120 * factor)
        assert (warp(sample, np.diag([factor, factor, 1]), size).image == 200).all()
    smaller = warp(sample, np.diag([0.5, 0.5, 1]), (90, 120), fill=(1, 2, 3))
    assert (smaller.image[46:] == (1, 2, 3)).all()


def test_zooming_keeps_areas_in_proportion() -> None:
    sample = ellipses(4, 4)
    view = warp(sample, np.diag([3.0, 2.0, 1.0]), (180, 360))
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
        key, reference = GEOMETRY_ONLY.clip((sample, sample), (96, 128), rng)
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


def test_the_published_recipe_flips_both_views_or_none_and_changes_nothing_else() -> None:
    sample = ellipses(8, 4)
    flipped = 0
    for seed in range(12):
        views = Augmentation.published().clip(
            (sample, sample), (90, 120), np.random.default_rng(seed)
        )
        flipped += (views[0].image != sample.image).any()
        for view in views:
            expected = (
                sample.image[:, ::-1] if (views[0].image != sample.image).any() else sample.image
            )
            np.testing.assert_array_equal(view.image, expected)
            np.testing.assert_array_equal(view.object_ids, sample.object_ids)
    assert 0 < flipped < 12


def test_pasting_is_painting_one_picture_over_another() -> None:
    below, above = ellipses(1, 4), ellipses(2, 3)
    above = replace(above, object_ids=above.object_ids + 100)
    result = paste(below, above)
    masks = np.stack([above.masks.dense(k) for k in range(3)])
    covered = masks.any(0)
    image = np.where(covered[..., None], above.image, below.image)
    np.testing.assert_array_equal(result.image, image)
    assert result.object_ids.tolist() == [100, 101, 102, 103, 200, 201, 202]
    assert result.labels.tolist() == [0, 1, 2, 0, 0, 1, 2]
    for k in range(4):
        np.testing.assert_array_equal(result.masks.dense(k), below.masks.dense(k) & ~covered)
    for k in range(3):
        np.testing.assert_array_equal(result.masks.dense(4 + k), masks[k])
    tight = CompactMasks.from_dense(np.stack([result.masks.dense(k) for k in range(7)]))
    shown = result.masks.areas() > 0
    np.testing.assert_array_equal(result.masks.windows[shown], tight.windows[shown])


def test_a_soft_edge_changes_pixels_near_the_edge_only_and_no_mask() -> None:
    below, above = ellipses(1, 2), ellipses(2, 2)
    hard, soft = paste(below, above), paste(below, above, edge=1.0)
    np.testing.assert_array_equal(hard.masks.areas(), soft.masks.areas())
    covered = (above.masks.dense(0) | above.masks.dense(1)).view(np.uint8)
    kernel = np.ones((11, 11), np.uint8)
    far = (cv2.erode(covered, kernel) | (1 - cv2.dilate(covered, kernel))).astype(bool)
    assert (hard.image != soft.image).any()
    np.testing.assert_array_equal(hard.image[far], soft.image[far])


def test_pasting_nothing_or_onto_nothing_works() -> None:
    some, none = ellipses(1, 2), ellipses(1, 0)
    assert paste(some, none) is some
    assert len(paste(none, some, 1.0)) == 2


def test_pasted_objects_keep_one_new_id_in_both_views() -> None:
    host, donor = ellipses(3, 3), ellipses(4, 3)
    donor = replace(donor, image=np.where(donor.image > 0, 255, donor.image).astype(np.uint8))
    plain = replace(GEOMETRY_ONLY, paste_edge=0.0, min_visible=0.0)
    both = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        views = plain.clip((host, host), (96, 128), rng, (donor, donor))
        for view in views:
            assert len(np.unique(view.object_ids)) == len(view)
            for k in np.flatnonzero(view.object_ids > 102).tolist():
                inside = cv2.erode(view.masks.dense(k).view(np.uint8), np.ones((5, 5), np.uint8))
                assert (view.image[inside.astype(bool)] > 200).all()
        pasted = [{k for k in v.object_ids.tolist() if k > 102} for v in views]
        both += len(pasted[0] & pasted[1])
        for key in pasted[0] & pasted[1]:
            labels = [v.labels[v.object_ids == key].item() for v in views]
            assert labels[0] == labels[1]
    assert both > 10


def test_pasted_objects_are_no_crowds_and_never_more_than_asked_for() -> None:
    host, donor = ellipses(3, 1), ellipses(4, 5)
    donor = replace(donor, crowd=np.array([True, False, True, False, False]))
    augmentation = replace(STILL, paste_objects=2, paste_zoom=(1, 1))
    for seed in range(10):
        view, _ = augmentation.clip(
            (host, host), (90, 120), np.random.default_rng(seed), (donor, donor)
        )
        pasted = view.object_ids[view.object_ids > 100]
        assert 1 <= len(pasted) <= 2
        assert not view.crowd.any()
        assert set(view.labels[view.object_ids > 100].tolist()) <= {0, 1}


@settings(max_examples=20, deadline=None)
@given(length=st.floats(0.5, 30), angle=st.floats(0, 3.2))
def test_a_streak_is_centred_and_has_its_length(length: float, angle: float) -> None:
    kernel = appearance.streak(length, angle)
    grid = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    mean = kernel.sum(0) @ grid, kernel.sum(1) @ grid
    np.testing.assert_allclose(mean, 0, atol=1e-5)
    # An even distribution over a length has the variance length^2 / 12; sharing between pixels adds less than 1/2.
    variance = float(kernel.sum(0) @ grid**2 + kernel.sum(1) @ grid**2)
    assert length**2 / 12 - 1e-3 <= variance <= length**2 / 12 * 1.4 + 0.6


def test_motion_blur_changes_pixels_and_no_mask() -> None:
    sample = ellipses(5, 3)
    blurred = replace(STILL, motion_blur=1.0, blur_length=(8, 8))
    for seed in range(6):
        view = blurred.view(sample, (90, 120), np.random.default_rng(seed))
        assert (view.image != sample.image).any()
        for k in range(3):
            np.testing.assert_array_equal(view.masks.dense(k), sample.masks.dense(k))


def test_a_moving_object_leaves_the_rest_of_the_picture_alone() -> None:
    sample = ellipses(5, 2)
    image = appearance.blur_object(sample, 1, appearance.streak(9, 0.7))
    near = cv2.dilate(sample.masks.dense(1).view(np.uint8), np.ones((13, 13), np.uint8))
    assert (image != sample.image).any()
    np.testing.assert_array_equal(image[near == 0], sample.image[near == 0])
    flat = replace(sample, image=np.full_like(sample.image, 77))
    assert (appearance.blur_object(flat, 0, appearance.streak(9, 0.7)) == 77).all()


def test_own_colours_are_the_same_in_both_views_and_stay_inside_the_object() -> None:
    sample = ellipses(3, 3)
    dyed = replace(STILL, own_colours=1.0)
    views = dyed.clip((sample, sample), (90, 120), np.random.default_rng(0))
    np.testing.assert_array_equal(views[0].image, views[1].image)
    inside = np.any([sample.masks.dense(k) for k in range(3)], axis=0)
    changed = (views[0].image != sample.image).any(2)
    assert not changed[~inside].any()
    assert changed[inside].mean() > 0.9
    for k in range(3):
        np.testing.assert_array_equal(views[0].masks.dense(k), sample.masks.dense(k))


def test_noise_and_compression_are_as_strong_as_asked_for() -> None:
    grey = replace(ellipses(0, 1), image=np.full((90, 120, 3), 128, np.uint8))
    rng = np.random.default_rng(0)
    noisy = appearance.add_noise(grey.image, 10.0, rng)
    assert noisy.std() == pytest.approx(10, rel=0.05)
    sharp, soft = (appearance.compress(noisy, quality) for quality in (95, 10))
    errors = [np.abs(p.astype(int) - noisy).mean() for p in (sharp, soft)]
    assert errors[0] < errors[1]
    view = replace(STILL, noise=5.0, compression=1.0).view(grey, (90, 120), rng)
    assert (view.image != 128).any()


def test_colours_change_but_grey_stays_grey() -> None:
    image = np.full((32, 32, 3), 128, np.uint8)
    empty = CompactMasks.empty((32, 32))
    none = np.zeros(0, np.int64)
    sample = Sample(image, empty, none, none.astype(bool), none)
    augmentation = Augmentation(zoom=(2, 2), rotation=0, brightness=0, fill=(128, 128, 128))
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


def test_a_batch_says_what_is_neither_object_nor_background() -> None:
    sample = ellipses(0, 3)
    overlapping = np.stack([sample.masks.dense(k) for k in range(3)])
    overlapping[1, 20:70, 20:100] = True
    crowd = np.array([False, True, False])
    crowded = replace(sample, masks=CompactMasks.from_dense(overlapping), crowd=crowd)
    crowded = replace(crowded, labelled=frozenset({2}))
    batch = collate([crowded, sample], FrameTransform(InputConfig()))
    expected = overlapping[1] & ~overlapping[0] & ~overlapping[2]
    np.testing.assert_array_equal(batch.ignored[0][:90, :120], expected)
    assert not batch.ignored[0][90:].any()
    assert not batch.ignored[1].any()
    assert batch.labelled == [frozenset({2}), None]
