"""Each exact shortcut of the post-processing against the plain form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.boxes import part_edges
from sipvideo.model import plain
from sipvideo.postprocess import suppression
from sipvideo.postprocess.assembly import LowResMasks, assemble, to_frame
from tests.networks import HEADS, lively, picture, segmenter, small_config

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def test_embeddings_at_cells_equal_the_whole_map() -> None:
    branch = PyramidSum(6, 5)
    features = [torch.randn(6, 16, 24), torch.randn(6, 8, 12), torch.randn(6, 4, 6)]
    rows = torch.arange(16).repeat_interleave(24)
    columns = torch.arange(24).repeat(16)
    whole = plain.concatenated(branch, [f[None] for f in features])[0]
    expected = whole[:, rows, columns].t()
    torch.testing.assert_close(branch.at(features, rows, columns), expected, **CLOSE)


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
    for mask, full in zip(assemble(basis, coefficients, boxes, parts), expected, strict=True):
        ours = torch.zeros(30, 40)
        height, width = mask.probability.shape
        ours[mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width] = mask.probability
        torch.testing.assert_close(ours, full, **CLOSE)


@given(
    low=st.floats(-5, 40, width=32),
    extent=st.floats(0.015625, 45, width=32),
    parts=st.integers(1, 4),
)
def test_parts_of_a_side_follow_the_published_division(
    low: float, extent: float, parts: int
) -> None:
    high = float(np.float32(low) + np.float32(extent))
    edges = part_edges(low, high, 32, parts)
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
    assert part_edges(low, high, 32, 2) == [0, 0, 0]


@pytest.mark.parametrize("size", [(60, 80), (120, 160), (97, 131), (30, 40), (17, 23)])
def test_upsampling_a_crop_equals_upsampling_the_whole_map(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    basis, coefficients = torch.randn(4, 30, 40), torch.randn(3, 16)
    boxes = torch.tensor([[3.2, 4.7, 20.1, 22.0], [0.0, 0.0, 40.0, 30.0], [38.2, 28.2, 39.9, 29.9]])
    expected = plain.pasted(plain.masks_of(basis, coefficients, boxes, 2), size, (100, 140), 0.5)
    ours = to_frame(assemble(basis, coefficients, boxes, 2), (30, 40), size, (100, 140), 0.5)
    for k in range(3):
        assert np.count_nonzero(ours.dense(k) != expected[k].numpy()) <= 1


def test_no_objects_give_no_masks() -> None:
    masks = assemble(torch.randn(4, 6, 8), torch.zeros(0, 16), torch.zeros(0, 4), 2)
    assert masks == []
    assert len(to_frame(masks, (6, 8), (12, 16), (12, 16), 0.5)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_pruned_suppression_equals_the_definition(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(120, 2, generator=generator) * 60
    boxes = torch.cat((corner, corner + torch.rand(120, 2, generator=generator) * 30), 1)
    boxes[:3, 2:] = boxes[:3, :2]  # without area, twice the same
    boxes[1] = boxes[0]
    scores = torch.rand(120, 4, generator=generator) ** 3
    expected = plain.fast_nms(boxes, scores, 0.5, 0.2)
    index, label = _fast_nms(boxes, scores, scores > 0.2, 0.5)
    assert sorted(zip(index.tolist(), label.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("pixel", [0.0, 1.0])
def test_classwise_suppression_equals_the_definition(pixel: float) -> None:
    generator = torch.Generator().manual_seed(7)
    corner = torch.rand(80, 2, generator=generator) * 40
    boxes = torch.cat((corner, corner + 2 + torch.rand(80, 2, generator=generator) * 30), 1)
    scores = torch.rand(80, 3, generator=generator)
    config = PostprocessConfig(nms="classwise", nms_iou=0.5, nms_pixel=pixel)
    index, label = _classwise_nms(boxes, scores, scores > 0.3, config)
    expected = plain.classwise_nms(boxes, scores, 0.5, 0.3, pixel)
    assert sorted(zip(index.tolist(), label.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"alignment": "coefficients", "tower_bias": True},
        {"alignment": "none", "sub_regions": 3},
        {"unit": "separable", "levels_share_towers": False, "tower_bias": True, "embedding": 0}
        | {"alignment": "coefficients", "box_units": 0, "centerness": False}
        | {
            "box_distances": "distribution",
            "basis_source": "pyramid",
            "basis_upsample": 2,
            "mask_units": 1,
        },
        {"unit": "separable", "tower_bias": True, "box_units": 0, "centerness": False}
        | {"basis_source": "pyramid", "basis_upsample": 2, "basis_units": 2, "mask_units": 1}
        | {"mask_pyramid": True, "alignment": "box_grid", "grid_side": 5, "grid_hidden": 16},
    ],
)
def test_the_whole_chain_equals_the_plain_form(head: dict[str, object]) -> None:
    config = small_config(**head)
    model = lively(config)
    frame = picture()
    ours, expected = (
        FrameSegmenter(model, config)(frame),
        plain.PlainSegmenter(model, config)(frame),
    )
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
    plainly = FrameSegmenter(model, config)(picture())
    rated = FrameSegmenter(model, config.with_overrides(["postprocess.mask_quality=true"]))(
        picture()
    )
    assert plainly.mask_scores is None
    assert rated.mask_scores is not None
    np.testing.assert_array_equal(rated.scores, plainly.scores)
    assert [rated.masks.rle(k) for k in range(len(rated))] == [
        plainly.masks.rle(k) for k in range(len(plainly))
    ]
    quality = rated.mask_scores / rated.scores
    empty = rated.masks.areas() == 0
    assert ((quality[~empty] > config.postprocess.mask_threshold) & (quality[~empty] <= 1)).all()


def test_a_mask_of_known_probabilities_has_their_mean_as_quality() -> None:
    config = small_config()
    judge = Postprocess(config.postprocess, lively(config).head)
    half = torch.tensor([[0.9, 0.7], [0.1, 0.2]])
    found = judge._certainty([LowResMask(half, 0, 0), LowResMask(half * 0, 0, 0)])
    torch.testing.assert_close(found, torch.tensor([0.8, 0.0]))
    assert judge._certainty([]).shape == (0,)


def test_a_batch_equals_single_frames() -> None:
    config = small_config()
    segmenter = FrameSegmenter(lively(config), config)
    frames = [picture(seed=1), picture(seed=2)]
    for batched, frame in zip(segmenter.batch(frames), frames, strict=True):
        single = segmenter(frame)
        np.testing.assert_array_equal(batched.labels, single.labels)
        np.testing.assert_allclose(batched.boxes, single.boxes, atol=5e-3)


def test_a_frame_without_objects_gives_empty_detections() -> None:
    config = small_config()
    model = lively(config)
    for conv in model.head.class_logits:
        torch.nn.init.constant_(conv.bias, -50.0)
    found = FrameSegmenter(model, config)(picture(60, 100))
    assert len(found) == 0
    assert found.masks.frame_size == (60, 100)
    assert found.embeddings.shape == (0, 8)


def test_the_post_processing_reads_only_documented_outputs() -> None:
    """The network may run elsewhere: raw outputs are all that is needed."""
    config = small_config()
    segmenter = FrameSegmenter(lively(config), config)
    image, geometry = segmenter.transform(picture())
    with torch.inference_mode():
        outputs = segmenter.network(torch.from_numpy(image)[None])
        again = Postprocess(config.postprocess, segmenter.model.head)(outputs, geometry)
    assert len(again) == len(segmenter(picture()))
