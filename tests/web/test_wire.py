from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sipvideo.errors import SourceError
from sipvideo.structures import FrameResult
from sipvideo.web.wire import (
    LENGTH,
    VISITOR_SIDE,
    decode_picture,
    encode_objects,
    encode_picture,
    mask_runs,
    pack,
    runs_mask,
    unpack,
)
from tests.apps.scripted import CLASSES, shots
from tests.web.serving import jpeg


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40)))
def test_run_lengths_give_the_mask_back(mask: np.ndarray) -> None:
    size = (mask.shape[0], mask.shape[1])
    assert np.array_equal(runs_mask(mask_runs(mask), size), mask)


def test_the_example_of_the_documentation_holds() -> None:
    mask = np.array([[0, 1, 1, 0], [1, 1, 1, 1]], bool)
    assert mask_runs(mask) == bytes.fromhex("01 02 01 04")


@pytest.mark.parametrize("value", [False, True])
def test_long_runs_take_few_bytes(value: bool) -> None:
    mask = np.full((2000, 3000), value)
    runs = mask_runs(mask)
    assert len(runs) <= 5
    assert np.array_equal(runs_mask(runs, (2000, 3000)), mask)


@given(st.dictionaries(st.text(), st.integers() | st.text()), st.binary())
def test_a_message_gives_header_and_rest_back(header: dict[str, object], rest: bytes) -> None:
    assert unpack(pack(header, rest)) == (header, rest)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x01\x00",
        LENGTH.pack(10) + b"{}",
        LENGTH.pack(2**32 - 1) + b"{}",
        LENGTH.pack(2) + b"[]",
        LENGTH.pack(1) + b"\xff",
        LENGTH.pack(60_000) + b"[" * 60_000,
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="message"):
        unpack(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(message: bytes) -> None:
    try:
        header, rest = unpack(message)
    except ValueError:
        return
    assert len(message) >= LENGTH.size + len(rest)
    assert isinstance(header, dict)


def test_objects_carry_masks_that_the_page_can_cut_apart() -> None:
    shot = shots(0.04)[0]
    result = FrameResult(shot.frame, shot.detections, np.arange(len(shot.detections)), 1.0)
    objects, runs = encode_objects(result, CLASSES, {0: 1.5})
    assert json.loads(json.dumps(objects)) == objects
    place = 0
    for k, told in enumerate(objects):
        x0, y0, x1, y1 = told["window"]
        mask = runs_mask(runs[place : place + told["bytes"]], (y1 - y0, x1 - x0))
        assert np.array_equal(mask, result.detections.masks.crop(k))
        place += told["bytes"]
    assert place == len(runs)
    assert [told["seen"] for told in objects if told["id"] == 0] == [1.5]


def test_a_frame_without_objects_is_an_empty_list() -> None:
    shot = shots(0.04)[0]
    nothing = FrameResult(shot.frame, shot.detections[[]], np.zeros(0, np.int64), 1.0)
    assert encode_objects(nothing, CLASSES, {}) == ([], b"")


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_visitors_pictures_are_read(kind: str) -> None:
    assert decode_picture(jpeg((96, 128), kind)).shape == (96, 128, 3)


def test_sent_pictures_are_not_larger_than_a_page_shows() -> None:
    large = np.zeros((1080, 1920, 3), np.uint8)
    assert decode_picture(encode_picture(large, 960)).shape == (540, 960, 3)
    assert decode_picture(encode_picture(large[:90, :160], 960)).shape == (90, 160, 3)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(50), jpeg(kind="PNG"), jpeg()[:300]])
def test_other_data_than_pictures_is_one_line(data: bytes) -> None:
    with pytest.raises(SourceError, match="not a JPEG or WebP picture"):
        decode_picture(data)


def test_a_picture_beyond_the_limit_is_not_decoded() -> None:
    with pytest.raises(SourceError, match=f"{VISITOR_SIDE} pixels"):
        decode_picture(jpeg((8, VISITOR_SIDE + 1)))
