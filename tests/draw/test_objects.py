"""The annotated picture: exact where exactness can be defined, readable where people look."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sipvideo.draw import UNTRACKED, Style, Trails, colour_of, draw
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult

NAMES = ("person", "dog", "cat")
FILL = Style(opacity=0.5, outline=False, labels=False)
TAGS = Style(opacity=0.0, outline=False)


def noise(size: tuple[int, int], seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def result_of(
    image: NDArray[np.uint8],
    masks: Sequence[NDArray[np.bool_]],
    *,
    ids: Sequence[int] | None = None,
    labels: Sequence[int] | None = None,
    scores: Sequence[float] | None = None,
) -> FrameResult:
    n = len(masks)
    size = (image.shape[0], image.shape[1])
    compact = CompactMasks.from_dense(np.array(masks, bool).reshape(n, *size))
    detections = Detections(
        boxes=compact.windows.astype(np.float32),
        scores=np.array(scores if scores is not None else [0.9] * n, np.float32),
        labels=np.array(labels if labels is not None else [0] * n, np.int64),
        masks=compact,
        embeddings=np.zeros((n, 0), np.float32),
    )
    track_ids = np.array(ids if ids is not None else range(n), np.int64)
    return FrameResult(Frame(image, 0, 0.0), detections, track_ids, 1.0)


def block(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> NDArray[np.bool_]:
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def extent(changed: NDArray[np.bool_]) -> tuple[int, int]:
    """(height, width) of the changed region."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    return int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)


def changed_by(result: FrameResult, style: Style) -> NDArray[np.bool_]:
    """Pixels bool [H, W] that drawing changed."""
    return np.asarray((draw(result, NAMES, style) != result.frame.image).any(2))


# Exact


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (240, 320)])
def test_a_frame_without_objects_stays_as_it_is(size: tuple[int, int]) -> None:
    result = result_of(noise(size), [])
    picture = draw(result, NAMES, Style(boxes=True))
    assert np.array_equal(picture, result.frame.image)
    assert picture is not result.frame.image


def test_the_frame_is_never_touched() -> None:
    image = noise((120, 160))
    before = image.copy()
    masks = [noise((120, 160), k)[:, :, 0] > 200 for k in range(4)]
    picture = draw(result_of(image, masks, ids=[3, -1, 7, 0]), NAMES, Style(boxes=True))
    assert np.array_equal(image, before)
    assert picture.dtype == np.uint8
    assert picture.shape == image.shape
    assert not np.array_equal(picture, image)


def test_filling_equals_blending_pixel_by_pixel() -> None:
    image = noise((60, 80))
    masks = [noise((60, 80), seed)[:, :, 0] > 60 * seed for seed in (1, 2, 3)]
    result = result_of(image, masks, ids=[5, -1, 8])
    wanted = image.astype(np.float64)
    for k in np.argsort([-mask.sum() for mask in masks]):  # equal scores: the largest at the bottom
        colour = np.array(colour_of((5, -1, 8)[k]))
        wanted[masks[k]] = np.rint(wanted[masks[k]] * 0.5 + colour * 0.5)
    assert np.array_equal(draw(result, NAMES, FILL), wanted)


@pytest.mark.parametrize("opacity", [0.0, 1.0])
def test_opacity_goes_from_nothing_to_the_plain_colour(opacity: float) -> None:
    mask = block((40, 50), 10, 10, 30, 40)
    result = result_of(noise((40, 50)), [mask], ids=[12])
    picture = draw(result, NAMES, Style(opacity=opacity, outline=False, labels=False))
    wanted = result.frame.image.copy()
    if opacity:
        wanted[mask] = colour_of(12)
    assert np.array_equal(picture, wanted)


def test_small_and_certain_objects_lie_on_top() -> None:
    size = (60, 60)
    big, small = block(size, 0, 0, 60, 60), block(size, 20, 20, 40, 40)
    opaque = Style(opacity=1.0, outline=False, labels=False)
    picture = draw(result_of(noise(size), [big, small], ids=[1, 2]), NAMES, opaque)
    assert tuple(picture[30, 30]) == colour_of(2)
    same = draw(result_of(noise(size), [big, big], ids=[1, 2], scores=[0.9, 0.2]), NAMES, opaque)
    assert (same == colour_of(1)).all()


def test_the_outline_follows_the_mask_and_leaves_its_inside_alone() -> None:
    size = (90, 120)
    rows, columns = np.mgrid[:90, :120]
    mask = np.hypot(rows - 45, columns - 60) < 30
    changed = changed_by(result_of(noise(size), [mask]), Style(opacity=0, labels=False))
    distance = np.hypot(rows - 45, columns - 60) - 30
    assert not changed[np.abs(distance) > 4].any()
    assert changed[np.abs(distance + 0.5) < 0.5].mean() > 0.9


def test_boxes_are_drawn_inside_their_exclusive_edges() -> None:
    size = (50, 70)
    result = result_of(noise(size), [block(size, 10, 20, 30, 60)])
    changed = changed_by(result, Style(opacity=0, outline=False, labels=False, boxes=True))
    wanted = block(size, 10, 20, 30, 60) & ~block(size, 11, 21, 29, 59)
    assert np.array_equal(changed, wanted)


def test_objects_without_a_pixel_are_no_trouble() -> None:
    size = (40, 60)
    result = result_of(noise(size), [np.zeros(size, bool), block(size, 5, 5, 20, 20)])
    assert draw(result, NAMES, Style(boxes=True)).shape == (*size, 3)


# Colours


def lab(colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """CIE L*a*b* by its definition; a distance of 2 is just visible."""
    value = np.array(colour) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(matrix) @ linear / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_neighbouring_identities_have_clearly_different_colours() -> None:
    colours = [lab(colour_of(k)) for k in range(200)]
    for k, colour in enumerate(colours):
        for step in range(1, 8):
            if k + step < len(colours):
                assert np.linalg.norm(colour - colours[k + step]) > 20


def test_a_dozen_identities_are_told_apart_at_a_glance() -> None:
    colours = [lab(colour_of(k)) for k in range(-1, 12)]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 15


def test_colours_depend_on_the_identity_alone() -> None:
    size = (40, 40)
    mask = block(size, 5, 5, 30, 30)
    opaque = Style(opacity=1.0, outline=False, labels=False)
    for other in ([], [block(size, 35, 35, 38, 38)]):
        result = result_of(noise(size), [mask, *other], ids=[77, 78][: 1 + len(other)])
        assert tuple(draw(result, NAMES, opaque)[10, 10]) == colour_of(77)
    assert colour_of(-1) == UNTRACKED


# Tags


@given(
    st.integers(0, 1270),
    st.integers(0, 710),
    st.sampled_from([(180, 320), (360, 640), (720, 1280)]),
)
def test_a_tag_stays_whole_inside_the_picture(x: int, y: int, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    x, y = min(x, size[1] - 8), min(y, size[0] - 8)
    anywhere = result_of(image, [block(size, y, x, y + 8, x + 8)])
    middle = result_of(
        image, [block(size, size[0] // 2, size[1] // 2, size[0] // 2 + 8, size[1] // 2 + 8)]
    )
    assert extent(changed_by(anywhere, TAGS)) == extent(changed_by(middle, TAGS))


def test_tags_of_crowded_objects_do_not_cover_each_other() -> None:
    size = (360, 640)
    image = np.zeros((*size, 3), np.uint8)
    masks = [block(size, 150 + k, 250 + 2 * k, 250 + k, 350 + 2 * k) for k in range(6)]
    together = changed_by(result_of(image, masks), TAGS).sum()
    alone = [changed_by(result_of(image, [m], ids=[k]), TAGS).sum() for k, m in enumerate(masks)]
    assert together == sum(alone)


@pytest.mark.parametrize("size", [(180, 320), (720, 1280), (2160, 3840)])
def test_tags_are_readable_at_every_size(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    centre = block(size, size[0] // 2, size[1] // 3, size[0] // 2 + 9, size[1] // 3 + 9)
    height, width = extent(changed_by(result_of(image, [centre]), TAGS))
    assert height >= 11
    assert 0.015 < height / size[0] < 0.1
    assert width < size[1] / 3
    bigger = extent(changed_by(result_of(image, [centre]), Style(0.0, False, text_scale=2)))
    assert bigger[0] > 1.6 * height


@pytest.mark.parametrize("track_id", [*range(40), -1])
def test_ink_contrasts_with_its_tag(track_id: int) -> None:
    def luminance(colour: NDArray[np.float64]) -> float:
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    size = (720, 1280)
    mask = block(size, 300, 300, 400, 400)
    result = result_of(np.zeros((*size, 3), np.uint8), [mask], ids=[track_id])
    picture = draw(result, NAMES, TAGS)
    tag = picture[changed_by(result, TAGS)] / 255
    background = luminance(np.array(colour_of(track_id)) / 255)
    contrasts = [
        (max(ink, background) + 0.05) / (min(ink, background) + 0.05)
        for ink in (luminance(tag[tag.sum(1).argmin()]), luminance(tag[tag.sum(1).argmax()]))
    ]
    assert max(contrasts) >= 4.5


def test_what_the_tag_says_follows_the_style() -> None:
    size = (200, 400)
    mask = block(size, 100, 150, 160, 250)
    image = np.zeros((*size, 3), np.uint8)

    def width(style: Style, track_id: int = 3, label: int = 0) -> int:
        return extent(changed_by(result_of(image, [mask], ids=[track_id], labels=[label]), style))[
            1
        ]

    no_score = Style(0.0, False, tags=("class", "id"))
    assert width(TAGS) > width(no_score)
    assert width(no_score) > width(no_score, track_id=-1)
    assert width(no_score, track_id=1234) > width(no_score)
    assert not changed_by(result_of(image, [mask]), Style(0.0, False, labels=False)).any()
    assert width(no_score, label=17) > 0  # a label without a name
    only_id = Style(0.0, False, tags=("id",))
    assert width(only_id) < width(no_score)
    assert not changed_by(result_of(image, [mask], ids=[-1]), only_id).any()


def test_the_tag_says_how_long_somebody_was_away(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "sipvideo.draw.objects.draw_tags", lambda _, texts, *rest: said.extend(texts)
    )
    masks = [block((200, 400), 20, 40, x, x + 20) for x in (20, 80, 140)]
    result = result_of(np.zeros((200, 400, 3), np.uint8), masks, ids=[1, 2, 3], labels=[0, 0, 0])
    away = np.array([0.0, 0.42, 8.4], np.float32)
    draw(replace(result, returned=away), ["cat"], Style(tags=("id",)))
    assert sorted(said) == ["1", "2 back after 0.4 s", "3 back after 8 s"]


def test_names_beyond_ascii_become_question_marks() -> None:
    size = (200, 300)
    result = result_of(noise(size), [block(size, 90, 90, 150, 200)])
    strange = draw(result, ["caf\u00e9 \u732b \U0001f431"], TAGS)
    assert np.array_equal(strange, draw(result, ["caf? ? ?"], TAGS))


def test_underscores_of_class_names_are_shown_as_spaces() -> None:
    size = (200, 300)
    result = result_of(noise(size), [block(size, 90, 90, 150, 200)])
    assert np.array_equal(draw(result, ["tennis_racket"]), draw(result, ["tennis racket"]))


# Cost and errors


def test_a_hundred_objects_on_a_4k_frame_cost_no_full_frames() -> None:
    size = (2160, 3840)
    image = np.zeros((*size, 3), np.uint8)
    rng = np.random.default_rng(0)
    crops = [np.ones((120, 160), bool) for _ in range(100)]
    corners = [(int(rng.integers(0, 3600)), int(rng.integers(0, 2000))) for _ in crops]
    masks = CompactMasks.from_crops(crops, corners, size)
    detections = Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.full(100, 0.5, np.float32),
        labels=np.zeros(100, np.int64),
        masks=masks,
        embeddings=np.zeros((100, 0), np.float32),
    )
    result = FrameResult(Frame(image, 0, 0.0), detections, np.arange(100), 1.0)
    tracemalloc.start()
    try:
        draw(result, NAMES)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * image.nbytes


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"opacity": 1.5}, r"Style\.opacity: expected 0\.\.1, got 1\.5"),
        ({"opacity": -0.1}, r"Style\.opacity: expected 0\.\.1"),
        ({"tags": ("name",)}, r"Style\.tags: expected some of"),
        ({"text_scale": 0}, r"Style\.text_scale: expected above 0, got 0"),
    ],
)
def test_impossible_styles_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Style(**values)


# Live pictures


def test_carried_objects_have_broken_outlines_in_the_same_place() -> None:
    size = (200, 240)
    rows, columns = np.mgrid[:200, :240]
    result = result_of(noise(size), [np.hypot(rows - 100, columns - 120) < 60])
    outline = Style(opacity=0, labels=False)
    whole, broken = (changed_by(one, outline) for one in (result, replace(result, carried=True)))
    near = cv2.dilate(whole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert not (broken & ~near).any()
    assert 0.25 < broken.sum() / whole.sum() < 0.75


def test_objects_that_were_filled_in_have_broken_outlines_and_others_of_the_frame_have_not() -> (
    None
):
    size = (200, 240)
    masks = [block(size, 20, 20, 80, 100), block(size, 110, 120, 180, 220)]
    result = result_of(noise(size), masks)
    outline = Style(opacity=0, labels=False)
    whole = changed_by(result, outline)
    broken = changed_by(replace(result, filled=np.array([False, True])), outline)
    assert np.array_equal(whole[:100], broken[:100])
    assert broken[100:].sum() < 0.75 * whole[100:].sum()


def test_the_tag_of_who_came_back_says_after_how_long() -> None:
    size = (200, 300)
    masks = [block(size, 60, 10, 90, 60), block(size, 150, 10, 190, 60)]
    result = result_of(noise(size), masks)
    tags = Style(opacity=0, outline=False)
    plain = changed_by(result, tags)
    told = changed_by(replace(result, returned=np.array([0, 12.4], np.float32)), tags)
    assert np.array_equal(plain[:110], told[:110])
    assert told[110:].sum() > 1.4 * plain[110:].sum()


def test_objects_of_a_pixel_or_without_one_can_be_carried() -> None:
    size = (40, 60)
    masks = [np.zeros(size, bool), block(size, 5, 5, 6, 6), block(size, 9, 9, 10, 30)]
    result = replace(result_of(noise(size), masks), carried=True)
    assert draw(result, NAMES).shape == (*size, 3)


def moving(second: float, *ids: int, size: tuple[int, int] = (100, 200)) -> FrameResult:
    """Objects that go right by 20 pixels per second."""
    image = np.zeros((*size, 3), np.uint8)
    x = 10 + round(20 * second)
    masks = [block(size, 20 + 30 * k, x, 30 + 30 * k, x + 10) for k in range(len(ids))]
    result = result_of(image, masks, ids=ids)
    return replace(result, frame=replace(result.frame, timestamp=second))


def test_a_trail_goes_where_the_object_was_for_as_long_as_it_is_remembered() -> None:
    trails = Trails(seconds=2.0)
    for k in range(41):
        trails.add(moving(k / 10, 7, -1))
    paths = trails.paths()
    assert set(paths) == {7}
    assert paths[7][0] == pytest.approx([55, 25])  # two seconds ago
    assert paths[7][-1] == pytest.approx([95, 25])
    picture = draw(moving(4.0, 7), NAMES, FILL, paths)
    seen = picture.any(2)
    assert seen[25, 60:90].all()
    assert not seen[:, :50].any()


def test_trails_of_lost_objects_end_and_those_of_another_video_do_not_begin() -> None:
    trails = Trails(seconds=1.0)
    trails.add(moving(0.0, 0, 1))
    trails.add(moving(0.5, 1))
    assert set(trails.paths()) == {0, 1}
    trails.add(moving(1.2, 1))
    assert set(trails.paths()) == {1}
    trails.add(moving(0.1, 4))  # the clock went back
    assert set(trails.paths()) == {4}
    trails.add(moving(0.2, 5, size=(120, 240)))
    assert set(trails.paths()) == {5}
    trails.add(moving(0.3))
    trails.add(moving(9.0))
    assert trails.paths() == {}


def test_one_place_is_a_trail_too() -> None:
    trails = Trails()
    trails.add(moving(0.0, 3))
    assert draw(moving(0.0, 3), NAMES, FILL, trails.paths()).shape == (100, 200, 3)
