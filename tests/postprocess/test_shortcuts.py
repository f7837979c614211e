"""Each exact shortcut of the post-processing against the plain form."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.boxes import part_edges
from sipvideo.model import plain
from sipvideo.postprocess import DenseOutputs, assembly, suppression
from sipvideo.postprocess.assembly import LARGE, LowResMasks, assemble, to_frame
from sipvideo.runtime.pytorch import object_head
from tests.networks import HEADS, lively, picture, segmenter, small_config


@pytest.mark.parametrize("channels_last", [False, True])
def test_embeddings_at_boxes_equal_the_whole_map(channels_last: bool) -> None:
    config = small_config()
    model = lively(config)
    features = [torch.randn(1, 32, 16, 24), torch.randn(1, 32, 8, 12), torch.randn(1, 32, 4, 6)]
    whole = plain.concatenated(model.head.embedding, features)[0].detach()
    rows = torch.arange(16).repeat_interleave(24)
    columns = torch.arange(24).repeat(16)
    if channels_last:
        features = [f.contiguous(memory_format=torch.channels_last) for f in features]
    outputs = DenseOutputs([], [], [], [], np.zeros(0, np.float32), [f.numpy() for f in features])
    corner = torch.stack((columns, rows), 1) * 8.0
    boxes = torch.cat((corner - 5, corner + 5 + 7), 1).numpy()
    found = object_head(model, config).embeddings(outputs, 0, boxes)
    np.testing.assert_allclose(found, whole[:, rows, columns].t().numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_masks_inside_boxes_equal_full_maps(parts: int) -> None:
    torch.manual_seed(parts)
    basis, coefficients = torch.randn(4, 30, 40), torch.randn(6, parts**2 * 4)
    boxes = torch.tensor(
        [
            [3.2, 4.7, 20.1, 22.0],
            [-5.0, -3.0, 50.0, 35.5],
            [10.0, 10.0, 10.0, 20.0],
            [20.0, 20.0, 5.0, 25.0],
            [0.0, 0.0, 1.5, 1.2],
            [39.5, 29.5, 60.0, 60.0],
        ]
    )
    expected = plain.masks_of(basis, coefficients, boxes, parts)
    masks = assemble(basis.numpy(), coefficients.numpy(), boxes.numpy(), parts)
    for one, (x0, y0, x1, y1), full in zip(masks.split(), masks.windows, expected, strict=True):
        ours = np.zeros((30, 40), np.float32)
        ours[y0:y1, x0:x1] = one
        np.testing.assert_allclose(ours, full.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("extra", [0, 6])
def test_large_masks_are_the_same_whichever_way_the_basis_lies_in_memory(extra: int) -> None:
    rng = np.random.default_rng(extra)
    last = rng.standard_normal((140, 180, 8)).astype(np.float32)
    vectors = rng.standard_normal((3, 4 * (8 + extra))).astype(np.float32)
    boxes = np.array([[3, 5, 170, 130], [20.5, 0, 175, 139], [1, 2, 9, 9]], np.float32)
    near = assemble(last.transpose(2, 0, 1), vectors, boxes, 2)
    far = assemble(np.ascontiguousarray(last.transpose(2, 0, 1)), vectors, boxes, 2)
    assert near.areas.max() > 2 * LARGE > near.areas.min()
    np.testing.assert_allclose(near.flat, far.flat, rtol=1e-5, atol=1e-5)


@given(
    low=st.floats(-5, 40, width=32),
    extent=st.floats(0.015625, 45, width=32),
    parts=st.integers(1, 4),
)
def test_parts_of_a_side_follow_the_published_division(
    low: float, extent: float, parts: int
) -> None:
    high = float(np.float32(low) + np.float32(extent))
    edges = part_edges(np.array([low], np.float32), np.array([high], np.float32), 32, parts)[0]
    step = np.float32((float(np.float32(high) - np.float32(low)) + 0.1) / parts)
    for pixel in range(32):
        inside = low <= pixel < high
        assert inside == (edges[0] <= pixel < edges[-1])
        if inside:
            part = int((np.float32(pixel) - np.float32(low)) / step)
            assert edges[part] <= pixel < edges[part + 1]


@pytest.mark.parametrize(
    ("low", "high"),
    [(5.0, 5.0), (7.0, 3.0), (np.nan, 4.0), (2.0, np.nan), (-np.inf, 3.0), (1.0, np.inf)],
)
def test_sides_without_extent_have_no_pixels(low: float, high: float) -> None:
    sides = np.array([low], np.float32), np.array([high], np.float32)
    np.testing.assert_array_equal(part_edges(*sides, 32, 2), [[0, 0, 0]])


@pytest.mark.parametrize("band", [assembly.BAND, 100, 1])
@pytest.mark.parametrize("size", [(60, 80), (120, 160), (97, 131), (30, 40), (17, 23)])
def test_upsampling_a_crop_equals_upsampling_the_whole_map(
    size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "BAND", band)
    torch.manual_seed(1)
    basis, coefficients = torch.randn(4, 30, 40), torch.randn(3, 16)
    boxes = torch.tensor([[3.2, 4.7, 20.1, 22.0], [0.0, 0.0, 40.0, 30.0], [38.2, 28.2, 39.9, 29.9]])
    expected = plain.pasted(plain.masks_of(basis, coefficients, boxes, 2), size, (100, 140), 0.5)
    low = assemble(basis.numpy(), coefficients.numpy(), boxes.numpy(), 2)
    ours = to_frame(low, size, (100, 140), 0.5)
    for k in range(3):
        assert np.count_nonzero(ours.dense(k) != expected[k].numpy()) <= 1


def test_no_objects_give_no_masks() -> None:
    nothing = np.zeros((0, 16), np.float32)
    masks = assemble(np.ones((4, 6, 8), np.float32), nothing, nothing[:, :4], 2)
    assert masks.split() == []
    assert masks.certainty(0.5).shape == (0,)
    assert len(to_frame(masks, (12, 16), (12, 16), 0.5)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_pruned_suppression_equals_the_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(120, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + torch.rand(120, 2, generator=generator) * 30), 1)
    boxes[:3, 2:] = boxes[:3, :2]  # without area, twice the same
    boxes[1] = boxes[0]
    scores = torch.rand(120, 4, generator=generator) ** 3
    expected = plain.fast_nms(boxes, scores, 0.5, 0.2)
    valid = scores.numpy() > 0.2
    index, label = suppression.survivors(
        boxes.numpy(), scores.numpy(), valid, suppression.fast, (0.5, 10**4)
    )
    assert sorted(zip(index.tolist(), label.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_classwise_suppression_equals_the_definition(pixel: float) -> None:
    generator = torch.Generator().manual_seed(7)
    corner = torch.rand(80, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 2 + torch.rand(80, 2, generator=generator) * 30), 1)
    scores = torch.rand(80, 3, generator=generator)
    closed = boxes.numpy() + np.array([0, 0, pixel, pixel], np.float32)
    index, label = suppression.survivors(
        closed, scores.numpy(), scores.numpy() > 0.3, suppression.classwise, (0.5, 10**4)
    )
    expected = plain.classwise_nms(boxes, scores, 0.5, 0.3, pixel)
    assert sorted(zip(index.tolist(), label.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("head", HEADS)
def test_the_whole_chain_equals_the_plain_form(head: dict[str, object]) -> None:
    config = small_config(**head)
    model = lively(config)
    frame = picture()
    expected = plain.PlainSegmenter(model, config)(frame)
    ours = segmenter(model, config).detect([frame])[0]
    assert len(ours) == len(expected) > 3
    np.testing.assert_array_equal(ours.labels, expected.labels)
    np.testing.assert_allclose(ours.boxes, expected.boxes, atol=5e-3)
    np.testing.assert_allclose(ours.scores, expected.scores, atol=5e-5)
    np.testing.assert_allclose(ours.embeddings, expected.embeddings, rtol=1e-3, atol=1e-3)
    assert expected.masks.areas().max() > 100
    for k in range(len(ours)):
        assert np.count_nonzero(ours.masks.dense(k) != expected.masks.dense(k)) <= 10


def test_mask_quality_is_the_mean_probability_of_the_mask_and_changes_nothing_else() -> None:
    config = small_config()
    model = lively(config)
    plainly = segmenter(model, config).detect([picture()])[0]
    rating = config.with_overrides(["postprocess.mask_quality=true"])
    rated = segmenter(model, rating).detect([picture()])[0]
    assert plainly.mask_scores is None
    assert rated.mask_scores is not None
    np.testing.assert_array_equal(rated.scores, plainly.scores)
    assert [rated.masks.rle(k) for k in range(len(rated))] == [
        plainly.masks.rle(k) for k in range(len(plainly))
    ]
    quality = rated.mask_scores / rated.scores
    empty = rated.masks.areas() == 0
    assert ((quality[~empty] > config.postprocess.mask_threshold) & (quality[~empty] <= 1)).all()


def test_masks_are_ranked_by_score_times_the_overlap_that_the_head_expects() -> None:
    config = small_config(**HEADS[-1])
    model = lively(config)
    found = segmenter(model, config).detect([picture()])[0]
    assert found.mask_scores is not None
    quality = model.head.coefficients.quality
    torch.nn.init.zeros_(quality.weight)
    torch.nn.init.constant_(quality.bias, 1.0)
    rated = segmenter(model, config).detect([picture()])[0]
    np.testing.assert_allclose(rated.mask_scores, rated.scores / (1 + np.exp(-1.0)), rtol=1e-5)
    np.testing.assert_array_equal(rated.scores, found.scores)
    assert len(set((found.mask_scores / found.scores).round(4).tolist())) > 3


def test_a_mask_of_known_probabilities_has_their_mean_as_quality() -> None:
    values = np.array([0.9, 0.7, 0.1, 0.2, 0.1, 0.1, 0.6], np.float32)
    windows = np.array([[0, 0, 2, 2], [3, 3, 3, 3], [1, 0, 2, 2], [0, 1, 1, 2], [4, 4, 4, 4]])
    masks = LowResMasks(windows, values, (5, 5))
    np.testing.assert_allclose(masks.certainty(0.5), [0.8, 0, 0, 0.6, 0])


def test_a_batch_equals_single_frames() -> None:
    config = small_config()
    ready = segmenter(lively(config), config)
    frames = [picture(seed=1), picture(seed=2)]
    for batched, frame in zip(ready.detect(frames), frames, strict=True):
        single = ready.detect([frame])[0]
        np.testing.assert_array_equal(batched.labels, single.labels)
        np.testing.assert_allclose(batched.boxes, single.boxes, atol=5e-3)


def test_a_frame_without_objects_gives_empty_detections() -> None:
    config = small_config()
    model = lively(config)
    for conv in model.head.class_logits:
        torch.nn.init.constant_(conv.bias, -50.0)
    found = segmenter(model, config).detect([picture(60, 100)])[0]
    assert len(found) == 0
    assert found.masks.frame_size == (60, 100)
    assert found.embeddings.shape == (0, 8)


@pytest.mark.parametrize("head", HEADS)
def test_channels_first_memory_gives_the_same_objects(head: dict[str, object]) -> None:
    config = small_config(**head)
    ready = segmenter(lively(config), config)
    images, geometries, _ = ready.inputs([picture()])
    outputs = ready.runtime(images)

    def turned(value: Any) -> Any:
        many = isinstance(value, list)
        return [turned(one) for one in value] if many else np.ascontiguousarray(value)

    last = ready.postprocess(outputs, geometries[0])
    other = DenseOutputs(**{f.name: turned(getattr(outputs, f.name)) for f in fields(outputs)})
    first = ready.postprocess(other, geometries[0])
    assert len(first) == len(last) > 3
    np.testing.assert_array_equal(first.labels, last.labels)
    np.testing.assert_array_equal(first.boxes, last.boxes)
    np.testing.assert_allclose(first.embeddings, last.embeddings, rtol=1e-4, atol=1e-4)
    for k in range(len(first)):
        assert np.count_nonzero(first.masks.dense(k) != last.masks.dense(k)) <= 2


@pytest.mark.parametrize("rule", [suppression.fast, suppression.classwise])
@pytest.mark.parametrize("count", [0, 40, 1200])
def test_suppression_in_pieces_equals_suppression_at_once(
    count: int, rule: suppression.Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(count)
    corner = rng.random((count, 2), np.float32) * 60
    boxes = np.concatenate((corner, corner + 2 + rng.random((count, 2), np.float32) * 30), 1)
    scores = rng.random((count, 3), np.float32)
    monkeypatch.setattr(suppression, "BLOCK", 10**6)
    all_of_them = suppression.survivors(boxes, scores, scores > 0.4, rule, (0.5, 10**6))
    assert bool(len(all_of_them[0])) == bool(count)
    for block, most in ((7, 10**6), (64, 30), (1, 3)):
        monkeypatch.setattr(suppression, "BLOCK", block)
        found = suppression.survivors(boxes, scores, scores > 0.4, rule, (0.5, most))
        for ours, expected in zip(found, all_of_them, strict=True):
            np.testing.assert_array_equal(ours, expected[:most])
