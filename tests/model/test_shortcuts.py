"""Each exact shortcut of the inference against the plain form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.config import Config, PostprocessConfig, config_from_values
from sipvideo.model import plain
from sipvideo.model.alignment import BoxGrid
from sipvideo.model.assembly import LowResMask, assemble, to_frame
from sipvideo.model.basis import PyramidSum
from sipvideo.model.mask_crops import part_edges
from sipvideo.model.ops import conv_at, deformable_conv
from sipvideo.model.postprocess import Postprocess, _classwise_nms, _fast_nms
from sipvideo.model.sipmask import SipMask
from sipvideo.model.winograd import WinogradConv
from sipvideo.segmenter import FrameSegmenter
from sipvideo.structures import Frame

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def small_config(**head: object) -> Config:
    """The default model's kind of network with few classes; weights are random."""
    values = {
        "name": "small",
        "classes": ("a", "b", "c"),
        "input": {"size": (160, 160), "std": (57.0, 57.0, 57.0)},
        "backbone": {"name": "shufflenet_v2_x1_0"},
        "neck": {"name": "pan", "channels": 32},
        "head": {
            "norm": "none",
            "basis_channels": 16,
            "bases": 8,
            "embedding": 8,
            "box_distances": "relu",
            **head,
        },
        "postprocess": {"score_threshold": 0.02, "max_detections": 20},
    }
    return config_from_values(values, "test")


def lively(config: Config) -> SipMask:
    """Random weights large enough that objects of many sizes appear."""
    torch.manual_seed(3)
    model = SipMask(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("weight"):
            fan_in = max(1, parameter[0].numel())
            torch.nn.init.normal_(parameter, std=1.2 / fan_in**0.5)
    for conv in model.head.class_logits:
        torch.nn.init.constant_(conv.bias, -2.0)
    for conv in model.head.box_distances:
        torch.nn.init.constant_(conv.bias, 1.5)
    return model


def picture(height: int = 120, width: int = 160, seed: int = 0) -> Frame:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    image = np.kron(coarse, np.ones((height // 8 + 1, width // 8 + 1, 1), np.uint8))
    return Frame(np.ascontiguousarray(image[:height, :width]), 0, 0.0)


@pytest.mark.parametrize("groups", [1, 2, 4])
@torch.inference_mode()
def test_row_gathering_equals_the_librarys_deformable_convolution(groups: int) -> None:
    torch.manual_seed(0)
    feature, weight = torch.randn(2, 16, 9, 13), torch.randn(6, 16, 3, 3)
    # Offsets far outside the map, exactly on its border and on cell centres are all met.
    offsets = torch.randn(2, groups * 18, 9, 13) * 6
    offsets[0, ::3] = offsets[0, ::3].round()
    expected = plain.deform_conv2d(feature, offsets, weight, padding=1)
    torch.testing.assert_close(deformable_conv(feature, offsets, weight, groups), expected, **CLOSE)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_at_chosen_cells_equals_the_dense_one(kernel: int) -> None:
    conv = torch.nn.Conv2d(6, 5, kernel, padding=kernel // 2)
    feature = torch.randn(6, 7, 9)
    rows, columns = torch.tensor([0, 6, 3, 0]), torch.tensor([0, 8, 4, 8])
    expected = conv(feature[None])[0][:, rows, columns].t()
    torch.testing.assert_close(conv_at(feature, conv, rows, columns), expected, **CLOSE)


@pytest.mark.parametrize(("height", "width"), [(30, 30), (31, 33), (48, 80)])
@torch.inference_mode()
def test_winograds_convolution_equals_the_direct_one(height: int, width: int) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(256, 256, 3, padding=1)
    assert WinogradConv.suits(conv)
    x = torch.randn(2, 256, height, width).relu()
    expected = conv.double()(x.double()).float()
    ours = WinogradConv(conv.float())(x)
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, rtol=0, atol=5e-5)


def test_winograds_convolution_leaves_training_and_small_maps_to_the_direct_one() -> None:
    conv = torch.nn.Conv2d(256, 256, 3, padding=1)
    fast = WinogradConv(conv)
    x = torch.randn(1, 256, 40, 40)
    torch.testing.assert_close(fast(x), conv(x), rtol=0, atol=0)
    with torch.inference_mode():
        small = x[:, :, :8, :8]
        torch.testing.assert_close(fast(small), conv(small), rtol=0, atol=0)


def test_convolving_before_upsampling_equals_concatenating_first() -> None:
    branch = PyramidSum(6, 5)
    features = [torch.randn(2, 6, 16, 24), torch.randn(2, 6, 8, 12), torch.randn(2, 6, 4, 6)]
    torch.testing.assert_close(branch(features), plain.concatenated(branch, features), **CLOSE)


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


@pytest.mark.parametrize("alignment", ["coefficients", "none"])
def test_coefficients_in_a_row_of_cells_equal_the_maps(alignment: str) -> None:
    head = lively(small_config(alignment=alignment, mask_units=1)).head
    pyramid = [torch.randn(2, 32, size, size + 2) for size in (8, 4, 2)]
    outputs = head(pyramid, [torch.zeros(2, 24, 16, 20)])
    maps = [level.flatten(2).transpose(1, 2) for level in head.coefficient_maps(outputs)]
    at = torch.tensor([103, 0, 79, 80, 81, 111])
    for item in range(2):
        found = head.coefficients_in_row(outputs, item, at)
        torch.testing.assert_close(found, torch.cat(maps, 1)[item, at], **CLOSE)


def test_a_grid_reads_the_basis_under_its_taps() -> None:
    """A basis mask that is a ramp in x gives back the taps' columns."""
    grid = BoxGrid(channels=1, bases=1, coefficients=1, side=3, hidden=4)
    seen = []
    grid.reduce.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    ramp = (torch.arange(40.0) + 0.5).expand(1, 30, 40) * 4
    boxes = torch.tensor([[20.0, 30.0, 80.0, 60.0]])
    grid(torch.zeros(1, 15, 20), 8, ramp, 4, boxes)
    expected = 50 + torch.tensor([-1.0, 0.0, 1.0]) * 60 / 3 * 1.2
    torch.testing.assert_close(seen[0][0, :, 1].view(3, 3), expected.expand(3, 3))
