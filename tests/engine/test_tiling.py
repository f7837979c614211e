"""Pictures looked at in tiles: every object once, whole, as the better view shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sipvideo
from sipvideo.engine import Engine, FunctionEngine, SelectingEngine, TilingEngine, parse_tiles
from sipvideo.engine.tiles import Tiles, around, chosen, cost
from sipvideo.errors import ConfigError
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import grey_picture
from tests.media import picture

SIZE = (240, 400)


class ByColour(Engine):
    """Sees one object in each value of red; their classes are in green, scores in blue.

    Args:
        from_pixels: area from which it sees an object, in a whole frame.
        largest_batch: frames at once.
    """

    def __init__(self, from_pixels: int = 1, largest_batch: int = 1) -> None:
        self.from_pixels, self.largest_batch = from_pixels, largest_batch
        self.input_size = (40, 40)
        self.sizes: list[list[tuple[int, int]]] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Larger objects where the frame is the whole one."""
        self.sizes.append([frame.size for frame in frames])
        return [self._seen(frame) for frame in frames]

    def _seen(self, frame: Frame) -> Detections:
        red = frame.image[..., 0]
        least = self.from_pixels if frame.size == SIZE else 1
        values = [v for v in np.unique(red[red > 0]) if np.count_nonzero(red == v) >= least]
        dense = np.array([red == v for v in values], bool).reshape(-1, *frame.size)
        masks = CompactMasks.from_dense(dense)
        firsts = [frame.image[mask][0] for mask in dense]
        found = Detections(
            boxes=masks.windows.astype(np.float32),
            scores=np.array([first[2] / 255 for first in firsts], np.float32),
            labels=np.array([first[1] for first in firsts], np.int64),
            masks=masks,
            embeddings=np.full((len(values), 2), frame.size[0], np.float32),
            mask_scores=np.full(len(values), 0.5, np.float32),
            grey=grey_picture(frame.image),
        )
        return found[np.argsort(-found.scores, kind="stable")]


def scene(*objects: tuple[int, int, int, int], labels: Sequence[int] = ()) -> Frame:
    """Boxes x0, y0, x1, y1 on black; the later, the surer."""
    image = np.zeros((*SIZE, 3), np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(objects):
        image[y0:y1, x0:x1] = (k + 1, labels[k] if labels else 7, 100 + 5 * k)  # scores about 0.4
    return Frame(image, 0, 0.0)


def visible(frame: Frame) -> list[bytes]:
    """The masks that must be found, as bytes, in any order."""
    red = frame.image[..., 0]
    return sorted((red == v).tobytes() for v in np.unique(red[red > 0]))


def seen(found: Detections) -> list[bytes]:
    return sorted(found.masks.dense(k).tobytes() for k in range(len(found)))


boxes = st.tuples(
    st.integers(0, SIZE[1] - 12),
    st.integers(0, SIZE[0] - 12),
    st.integers(10, SIZE[1]),
    st.integers(10, SIZE[0]),
).map(lambda b: (b[0], b[1], min(b[0] + b[2], SIZE[1]), min(b[1] + b[3], SIZE[0])))


@given(boxes, st.integers(1, 4), st.integers(1, 3))
def test_an_object_that_borders_cut_becomes_one(
    box: tuple[int, int, int, int], columns: int, rows: int
) -> None:
    frame = scene(box)
    blind = 10**9 if columns * rows > 1 else 1
    (found,) = TilingEngine(ByColour(blind), Tiles(columns, rows)).detect([frame])
    assert seen(found) == visible(frame)
    assert found.boxes[0].tolist() == list(box)


@given(st.lists(boxes, min_size=1, max_size=6))
def test_no_object_is_there_twice(objects: list[tuple[int, int, int, int]]) -> None:
    frame = scene(*objects)
    (found,) = TilingEngine(ByColour(), Tiles(3, 2)).detect([frame])
    assert seen(found) == visible(frame)
    assert (np.diff(found.scores) <= 0).all()


def test_neighbours_of_one_class_stay_two_on_both_sides_of_a_border() -> None:
    tiles = Tiles(2, 1)
    (_, _, border, _), (begin, _, _, _) = tiles.windows(SIZE)
    frame = scene((begin - 60, 50, border - 9, 150), (border - 9, 50, border + 70, 150))
    (found,) = TilingEngine(ByColour(10**9), tiles).detect([frame])
    assert seen(found) == visible(frame)


def test_a_part_that_is_taken_for_something_else_is_left_out() -> None:
    frame = scene((20, 20, 380, 200))

    def part_is_another(piece: Frame) -> Detections:
        found = ByColour().detect([piece])[0]
        return found if piece.size == SIZE else replace(found, labels=found.labels + 1)

    (found,) = TilingEngine(FunctionEngine(part_is_another), Tiles(3, 2)).detect([frame])
    assert found.labels.tolist() == [7]


def test_the_better_view_gives_looks_and_the_whole_frame_the_grey_picture() -> None:
    tiles = Tiles(2, 2)

    def surer_when_close(piece: Frame) -> Detections:
        found = ByColour().detect([piece])[0]
        return found if piece.size == SIZE else replace(found, scores=found.scores * 2)

    frame = scene((30, 30, 60, 60), (0, 100, 400, 200))
    (found,) = TilingEngine(FunctionEngine(surer_when_close), tiles).detect([frame])
    height = tiles.windows(SIZE)[0][3]
    assert found.embeddings[:, 0].tolist() == [height, SIZE[0]]  # close; only the whole shows all
    assert found.mask_scores is not None
    assert found.grey is not None
    assert np.array_equal(found.grey, grey_picture(frame.image))


def test_tiles_of_many_frames_go_through_the_engine_in_its_batches() -> None:
    engine = ByColour(largest_batch=4)
    frames = [scene((k, k, k + 50, k + 40)) for k in range(3)]
    small = replace(frames[0], image=frames[0].image[:100])
    found = TilingEngine(engine, Tiles(3, 1)).detect([*frames, small])
    assert [len(one) for one in found] == [1, 1, 1, 1]
    assert all(len(set(sizes)) == 1 and len(sizes) <= 4 for sizes in engine.sizes)
    assert len(engine.sizes) == 6  # whole frames: 3 and 1; tiles: 4, 4, 1 and 3


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (70, 70), (240, 400)])
def test_frames_of_all_sizes_without_objects(size: tuple[int, int]) -> None:
    frame = Frame(np.zeros((*size, 3), np.uint8), 0, 0.0)
    for tiles in (Tiles(8, 8), Tiles(1, 1), None):
        (found,) = TilingEngine(ByColour(), tiles).detect([frame])
        assert len(found) == 0
        assert found.masks.frame_size == size
    assert TilingEngine(ByColour(), Tiles(2, 2)).detect([]) == []


def test_automatic_tiles_look_only_where_something_small_may_be() -> None:
    engine = ByColour()
    few = [(10, 10, 30, 30), (40, 12, 50, 25), (300, 200, 310, 210), (315, 205, 330, 220)]
    frame = scene(*few, (100, 60, 290, 200))
    tiling = TilingEngine(engine)
    (found,) = tiling.detect([frame])
    assert seen(found) == visible(frame)
    parts = sum(len(sizes) for sizes in engine.sizes) - 1
    assert parts == 2 < len(chosen(SIZE, engine.input_size).windows(SIZE))
    engine.sizes.clear()
    tiling.detect([scene((100, 30, 300, 200)), scene(few[0])])
    assert engine.sizes == [[SIZE], [SIZE]]  # nothing small, or hardly anything: one look is enough
    (note,) = tiling.notes
    assert "pictures of 400 x 240" in note
    assert "times as long" in note


def test_automatic_tiles_follow_the_sizes_of_picture_and_input() -> None:
    assert chosen((360, 640), (512, 512)) == Tiles(1, 1)
    assert chosen((2160, 3840), (512, 512)).columns > chosen((1080, 1920), (512, 512)).columns
    assert chosen((3840, 2160), (640, 360)) == Tiles(*reversed(_counts((2160, 3840), (640, 360))))
    assert chosen((2160, 3840), None) == Tiles(1, 1)
    assert cost((1000, 1000), Tiles(2, 2), (500, 500)) == pytest.approx(5)
    assert cost((1000, 1000), Tiles(1, 1), (500, 500)) == 1


def _counts(size: tuple[int, int], input_size: tuple[int, int]) -> tuple[int, int]:
    tiles = chosen(size, input_size)
    return tiles.columns, tiles.rows


@given(st.lists(boxes, max_size=12), st.integers(40, 240), st.integers(40, 400))
def test_windows_show_every_box_that_fits(
    objects: list[tuple[int, int, int, int]], height: int, width: int
) -> None:
    array = np.array(objects, np.float32).reshape(-1, 4)
    windows = around(array, np.ones(len(array), np.float32), (height, width), SIZE, 0.5)
    for x0, y0, x1, y1 in windows:
        assert (x1 - x0, y1 - y0) == (width, height)
        assert x0 >= 0 <= y0
        assert x1 <= SIZE[1]
        assert y1 <= SIZE[0]
    for a, b, c, d in objects:
        if (c - a) * 1.6 <= width and (d - b) * 1.6 <= height:
            assert any(x0 <= a and y0 <= b and c <= x1 and d <= y1 for x0, y0, x1, y1 in windows)


@pytest.mark.parametrize("text", ["", "2", "0x2", "9x1", "2x2x2", "axb", "-1x2", "AUTO", "x" * 500])
def test_a_wrong_number_of_tiles_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="tiles: expected auto, or tiles across and down") as told:
        sipvideo.load(tiles=text)
    assert len(str(told.value)) < 200
    assert parse_tiles("3x2") == Tiles(3, 2)
    assert parse_tiles("auto") is None


def test_the_default_model_finds_what_it_finds_and_more() -> None:
    plain = sipvideo.load(device="cpu")
    tiled = sipvideo.load(device="cpu", tiles="2x1", classes=["person"], max_objects=5)
    assert isinstance(tiled.engine, SelectingEngine)
    frame = Frame(picture(0, (480, 640)), 0, 0.0)
    (found,) = tiled.engine.detect([frame])
    assert len(found) <= 5
    assert set(found.labels.tolist()) <= {0}
    assert tiled.engine.resized((256, 256)).input_size == (256, 256)
    assert tiled.engine.threshold == plain.engine.threshold
    doubting = plain.engine.doubting(0.05)
    assert len(doubting.detect([frame])[0]) >= len(plain.engine.detect([frame])[0])
    assert doubting.doubting(0.2) is doubting
