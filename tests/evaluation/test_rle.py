"""Damaged run lengths are found before native code draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipvideo.annotations import run_lengths
from sipvideo.errors import DatasetError
from sipvideo.evaluation.rle import check_masks


def encoded(runs: list[int]) -> str:
    """Any runs, negative ones too, as COCO's text."""
    text = ""
    for k, run in enumerate(runs):
        value = run - (runs[k - 2] if k > 2 else 0)
        more = True
        while more:
            digit, value = value & 31, value >> 5
            more = value != (-1 if digit & 16 else 0)
            text += chr(48 + digit + 32 * more)
    return text


def refused(counts: str, size: tuple[int, int] = (4, 5)) -> bool:
    try:
        check_masks([{"size": list(size), "counts": counts}], str)
    except DatasetError:
        return True
    return False


@given(st.lists(st.integers(-3, 20), min_size=1, max_size=9))
def test_masks_pass_if_their_runs_fill_the_frame_and_none_is_negative(runs: list[int]) -> None:
    good = sum(runs) == 20 and min(runs) >= 0
    assert refused(encoded(runs)) != good
    try:
        assert run_lengths(encoded(runs)) == sum(runs)
        assert min(runs) >= 0
    except ValueError:
        assert min(runs) < 0


def test_negative_runs_are_no_way_to_the_right_sum() -> None:
    assert not refused(encoded([5, 15]))
    assert refused(encoded([25, -5]))
    assert refused(encoded([-5, 25]))
    assert refused(encoded([5, 2**29, 5, 10 - 2**29]))


def test_many_masks_at_once_are_each_judged_alone() -> None:
    rng = np.random.default_rng(0)
    masks: list[Any] = []
    for _ in range(300):
        cuts = np.sort(rng.integers(0, 20, rng.integers(0, 6)))
        runs = np.diff([0, *cuts, 20]).tolist()
        masks.append({"size": [4, 5], "counts": encoded(runs)})
    check_masks(masks, str)
    masks[177] = {"size": [4, 5], "counts": encoded([3, 19, -4, 2])}
    with pytest.raises(DatasetError, match=r"^177: malformed mask"):
        check_masks(masks, str)


@pytest.mark.parametrize("size", [[4.0, 5], ["4", 5], [4, None], 5, None, [4, 5, 6], [True, 20]])
def test_a_size_that_is_none_is_malformed(size: Any) -> None:
    with pytest.raises(DatasetError, match=r"^0: malformed mask: expected size"):
        check_masks([{"size": size, "counts": encoded([20])}], str)
