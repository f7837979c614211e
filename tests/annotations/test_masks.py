"""Nothing reaches native code that it could choke on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.annotations import read_segmentation, to_rle

# pycocotools 2.0.11 hands numpy 2.4 arrays in the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (36, 48)
TRIANGLE = [1.0, 1.0, 30.0, 1.0, 30.0, 20.0]
PIXELS = SIZE[0] * SIZE[1]


def area(segmentation: Any) -> int:
    return int(coco_mask.area(to_rle(segmentation, SIZE)))


@pytest.mark.parametrize(
    "written",
    [
        TRIANGLE,
        tuple(TRIANGLE),
        [tuple(TRIANGLE)],
        [[1, 1], [30, 1], [30, 20]],
        [[[1, 1], [30, 1], [30, 20]]],
        [[TRIANGLE]],
        [[str(value) for value in TRIANGLE]],
        json.dumps([TRIANGLE]),
        json.dumps(TRIANGLE),
    ],
)
def test_a_polygon_is_read_however_its_lists_are_nested(written: Any) -> None:
    assert area(written) == area([TRIANGLE]) > 200


def test_a_mask_as_published_is_not_even_copied() -> None:
    for mask in ([TRIANGLE], {"size": list(SIZE), "counts": [5, PIXELS - 5]}):
        assert read_segmentation(mask, SIZE) is mask
    rle = to_rle([TRIANGLE], SIZE)
    text = {"size": list(SIZE), "counts": rle["counts"].decode()}
    assert read_segmentation(text, SIZE) is text
    assert area(text) == area(rle) == area([TRIANGLE])


@pytest.mark.parametrize(
    "counts", [["5", PIXELS - 5], [5.0, PIXELS - 5], (5, PIXELS - 5), [5, f"{PIXELS - 5}"]]
)
def test_run_lengths_are_read_whatever_their_type(counts: Any) -> None:
    for size in ([36, 48], (36, 48), ["36", 48.0]):
        assert area({"size": size, "counts": counts}) == PIXELS - 5


BAD = (float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 1e300, 10**400, 200, None, True, "x")


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize("value", BAD)
def test_no_polygon_with_a_wild_coordinate_gets_through(place: int, value: Any) -> None:
    polygon: list[Any] = list(TRIANGLE)
    polygon[place] = value
    for written in ([polygon], polygon, [TRIANGLE, polygon]):
        with pytest.raises(ValueError, match=r"expected|far outside"):
            to_rle(written, SIZE)


def test_a_polygon_may_reach_out_of_its_picture() -> None:
    assert area([[-20, -20, 90, -20, 90, 70, -20, 70]]) == PIXELS


def test_an_outline_that_would_fill_the_memory_is_refused() -> None:
    size = (8000, 9000)
    zigzag = [value for k in range(1000) for value in (0, k, 8999, k)]
    with pytest.raises(ValueError, match="outline is 1"):
        to_rle([zigzag], size)
    dense = [float(v) for k in range(60_000) for v in (k % 9000, 7)]
    assert read_segmentation([dense], size) == [dense]


@pytest.mark.parametrize(
    "written",
    [
        [],
        [[]],
        [[], TRIANGLE],
        [TRIANGLE, 5],
        [5],
        [TRIANGLE[:5]],
        [TRIANGLE[:4]],
        [[1.0] * 7],
        [[[1, 2], [3, 4]]],
        [[[[[TRIANGLE]]]]],
        [{"x": 1, "y": 2}],
        {},
        {"counts": [PIXELS]},
        {"size": list(SIZE)},
        {"size": 5, "counts": [5]},
        {"size": [48, 36], "counts": [PIXELS]},
        {"size": list(SIZE), "counts": [5, 5]},
        {"size": list(SIZE), "counts": [PIXELS + 5, -5]},
        {"size": list(SIZE), "counts": [float("nan")]},
        {"size": list(SIZE), "counts": [2**40, PIXELS - 2**40]},
        {"size": list(SIZE), "counts": [[5]]},
        {"size": list(SIZE), "counts": {"0": 5}},
        {"size": list(SIZE), "counts": []},
        {"size": list(SIZE), "counts": ""},
        {"size": list(SIZE), "counts": "?" * 9},
        {"size": list(SIZE), "counts": "é"},
        {"size": list(SIZE), "counts": "o" * 99},
        {"size": list(SIZE), "counts": None},
        {"size": [float("nan"), 48], "counts": [PIXELS]},
        "no json",
        "[" * 100_000,
        "5",
        5,
        None,
    ],
)
def test_what_is_no_mask_is_a_value_error(written: Any) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        to_rle(written, SIZE)
    assert len(str(caught.value)) < 200


def test_a_picture_that_is_too_large_for_masks_has_none() -> None:
    with pytest.raises(ValueError, match="too large for masks"):
        to_rle({"size": [1 << 16, 1 << 16], "counts": [1 << 32]}, (1 << 16, 1 << 16))


def test_random_text_never_decodes_to_other_pixels_than_its_frame_has() -> None:
    rng = np.random.default_rng(0)
    for _ in range(3000):
        text = "".join(map(chr, rng.integers(48, 112, rng.integers(1, 12))))
        try:
            rle = to_rle({"size": [6, 7], "counts": text}, (6, 7))
        except ValueError:
            continue
        assert coco_mask.decode({"size": [6, 7], "counts": rle["counts"].encode()}).max() <= 1
