"""Frames to model inputs, and the geometry of the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.config import InputConfig
from sipvideo.structures import Frame
from sipvideo.transforms import FrameTransform

sides = st.integers(1, 900)


def published_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing in 11-bit fixed point, as the published pipelines' picture library does it."""
    height, width = size
    if image.shape[0] == 2 * height and image.shape[1] == 2 * width:
        wide = image.astype(np.int64)
        return (wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) >> 2

    def axis(n: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        source = np.float32((np.arange(wanted) + 0.5) * n / wanted - 0.5)
        low = np.floor(source).astype(int)
        share = source - low
        share = np.where((low < 0) | (low >= n - 1), 0, share)
        low = low.clip(0, n - 1)
        return low, (low + 1).clip(max=n - 1), share.astype(np.float32)

    x0, x1, fx = axis(image.shape[1], width)
    y0, y1, fy = axis(image.shape[0], height)
    weights = [np.rint((1 - fx) * 2048), np.rint(fx * 2048)]
    left, right = (w.astype(np.int64)[None, :, None] for w in weights)
    rows = image[:, x0].astype(np.int64) * left + image[:, x1].astype(np.int64) * right
    low_weight, high_weight = (
        np.rint(w * 2048).astype(np.int64)[:, None, None] for w in (1 - fy, fy)
    )
    mixed = ((low_weight * (rows[y0] >> 4)) >> 16) + ((high_weight * (rows[y1] >> 4)) >> 16)
    return ((mixed + 2) >> 2).clip(0, 255)


@pytest.mark.parametrize("size", [(180, 320), (720, 1280), (333, 500), (351, 190)])
def test_published_preprocessing_is_bit_exact(size: tuple[int, int]) -> None:
    config = InputConfig(size=(256, 144))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    result, geometry = FrameTransform(config)(Frame(image, 0, 0.0))
    height, width = geometry.resized_size
    bgr = published_resize(image, (height, width))[..., ::-1].astype(np.float32)
    expected = bgr - np.array(config.mean, np.float32)
    np.testing.assert_array_equal(result[:, :height, :width], expected.transpose(2, 0, 1))
    assert not result[:, height:].any()
    assert not result[:, :, width:].any()


@given(sides, sides)
def test_keep_ratio_fits_inside_and_pads_to_the_multiple(height: int, width: int) -> None:
    geometry = FrameTransform(InputConfig(size=(256, 144))).geometry((height, width))
    assert max(geometry.resized_size) <= 257
    assert min(geometry.resized_size) <= 145
    for resized, padded in zip(geometry.resized_size, geometry.padded_size, strict=True):
        assert padded % 32 == 0
        assert 0 <= padded - resized < 32


@given(sides, sides)
def test_stretched_frames_fill_the_input_exactly(height: int, width: int) -> None:
    config = InputConfig(resize="stretch", size=(544, 480), pad_multiple=1)
    geometry = FrameTransform(config).geometry((height, width))
    assert geometry.padded_size == geometry.resized_size == (480, 544)
    assert geometry.scale == pytest.approx((544 / width, 480 / height), rel=1e-6)


@pytest.mark.parametrize(
    ("frame_size", "expected"),
    [
        ((480, 640), (800, 1066)),
        ((640, 480), (1066, 800)),
        ((400, 1200), (444, 1332)),
        ((800, 900), (800, 900)),
    ],
)
def test_shortest_edge_rule_of_the_fcos_tree(
    frame_size: tuple[int, int], expected: tuple[int, int]
) -> None:
    config = InputConfig(resize="shortest_edge", size=(1333, 800))
    assert FrameTransform(config).geometry(frame_size).resized_size == expected


def test_single_precision_decides_the_last_mask_row_of_stretched_frames() -> None:
    """144 * (2 / float32(0.6)) is just below 480: the published mask lacks the last row."""
    config = InputConfig(resize="stretch", size=(384, 288), pad_multiple=1)
    geometry = FrameTransform(config).geometry((480, 640))
    assert geometry.upsampled_size((144, 192), 2) == (479, 639)
    keeping = FrameTransform(InputConfig(size=(384, 288))).geometry((480, 640))
    assert keeping.upsampled_size((144, 192), 2) == (480, 640)


@pytest.mark.parametrize(("width", "columns"), [(1280, 1280), (854, 853), (960, 960), (1920, 1920)])
def test_some_widths_lose_a_mask_column_as_published(width: int, columns: int) -> None:
    transform = FrameTransform(InputConfig(size=(640, 360)))
    geometry = transform.geometry((width * 9 // 16, width))
    basis = (geometry.padded_size[0] // 2, geometry.padded_size[1] // 2)
    assert geometry.upsampled_size(basis, 2)[1] == columns


def test_boxes_return_to_the_frame() -> None:
    geometry = FrameTransform(InputConfig(size=(256, 144))).geometry((720, 1280))
    box = np.array([10, 20, 500, 600], np.float32)
    np.testing.assert_allclose(box * geometry.box_scale() / geometry.box_scale(), box, rtol=1e-6)


def test_rgb_order_keeps_the_channels_and_std_divides() -> None:
    config = InputConfig(channel_order="rgb", mean=(10, 20, 30), std=(2, 4, 5), size=(32, 32))
    image = np.full((32, 32, 3), (30, 60, 80), np.uint8)
    result, _ = FrameTransform(config)(Frame(image, 0, 0.0))
    np.testing.assert_allclose(result[:, 5, 5], [10, 10, 10])
