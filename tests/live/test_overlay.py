"""What lies over live pictures: inside the picture at every size, and never to be taken for something else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo.live import overlay
from sipvideo.live.overlay import Caption

SIZES = [(120, 160), (240, 320), (480, 640), (720, 1280), (1080, 1920), (2160, 3840)]
FIGURES = ("24.8 fps", "age 62 ms", "input 416, 43 of 50 ms", "12 dropped")


def noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


def captioned(size: tuple[int, int], about: Caption) -> NDArray[np.uint8]:
    picture = noise(size)
    overlay.caption(picture, about)
    return picture


def changed(size: tuple[int, int], about: Caption) -> NDArray[np.bool_]:
    """Pixels bool [H, W] that the caption changed."""
    return np.asarray((captioned(size, about) != noise(size)).any(2))


@pytest.mark.parametrize("size", SIZES)
def test_the_bar_leaves_the_picture_alone(size: tuple[int, int]) -> None:
    rows = np.flatnonzero(changed(size, Caption("door", FIGURES, recording=3725.0)).any(1))
    assert rows[0] == 0
    assert 14 <= rows[-1] + 1 <= max(size[0] // 10, 24)


@pytest.mark.parametrize("size", SIZES[1:])
def test_a_long_title_leaves_room_for_the_first_figure(size: tuple[int, int]) -> None:
    title = "rtsp://camera.example.com:8554/" + "a/" * 40
    alone, with_figure = (captioned(size, Caption(title, f)) for f in ((), FIGURES[:1]))
    assert not np.array_equal(alone, with_figure)


def test_figures_without_room_are_left_out() -> None:
    size = (240, 320)
    some, more = (captioned(size, Caption("door", FIGURES * n)) for n in (1, 8))
    assert np.array_equal(some, more)
    assert not np.array_equal(some, captioned(size, Caption("door")))


def test_a_banner_is_large_and_in_the_middle() -> None:
    size = (720, 1280)
    banner = "reconnecting in 1.2 s\nConnection refused\nlast picture 4 s ago"
    rows = np.flatnonzero(changed(size, Caption("door", banner=banner))[40:].any(1)) + 40
    assert rows[0] < 360 < rows[-1]
    assert rows[-1] - rows[0] > 80


@given(st.text(max_size=300), st.sampled_from(SIZES[:4]))
def test_any_text_is_shown_without_trouble(text: str, size: tuple[int, int]) -> None:
    changed(size, Caption(text, [text], banner=text, note=text))
    overlay.panel(noise(size), text, [(text, text)] * 3)


def test_a_greyed_picture_has_no_colours_and_is_darker() -> None:
    picture = noise((60, 80))
    grey = overlay.greyed(picture)
    assert grey.shape == picture.shape
    assert (grey == grey[..., :1]).all()
    assert grey.mean() < 0.7 * picture.mean()


@given(st.integers(1, 30), st.sampled_from(SIZES))
def test_the_cells_of_a_grid_fill_the_canvas_and_do_not_meet(
    count: int, size: tuple[int, int]
) -> None:
    cells = overlay.grid(count, size)
    taken = np.zeros((size[0] // 10, size[1] // 10), int)
    for x0, y0, x1, y1 in cells:
        assert 0 <= x0 < x1 <= size[1]
        assert 0 <= y0 < y1 <= size[0]
        taken[-(-y0 // 10) : y1 // 10, -(-x0 // 10) : x1 // 10] += 1
    assert len(cells) == count
    assert taken.max() == 1
    if count in (1, 4, 9):
        assert max(y1 for *_, y1 in cells) == size[0]
        assert max(x1 for _, _, x1, _ in cells) == size[1]


@given(
    st.tuples(st.integers(1, 400), st.integers(1, 400)),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
)
def test_a_fitted_picture_is_whole_and_as_large_as_it_goes(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    white = np.full((*shape, 3), 255, np.uint8)
    canvas = overlay.fitted(white, size)
    assert canvas.shape == (*size, 3)
    inside = (canvas == 255).all(2)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert len(rows) == size[0] or len(columns) == size[1]
    assert inside.sum() == len(rows) * len(columns)
    assert canvas is not white
