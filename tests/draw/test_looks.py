"""Objects and backgrounds made to look otherwise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.draw import LOOKS, Background, Drawing, Style, colour_of, parse_background, parse_look
from sipvideo.errors import ConfigError
from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame, FrameResult

SIZE = (120, 160)
NAMES = ("person", "dog")
PERSON, DOG = (slice(20, 100), slice(10, 60)), (slice(40, 80), slice(90, 150))


def made(sides: tuple[int, ...] = (0, 1), ids: tuple[int, ...] = (4, 7)) -> FrameResult:
    """A person and a dog on a picture of noise."""
    dense = np.zeros((2, *SIZE), bool)
    dense[0][PERSON] = True
    dense[1][DOG] = True
    masks = CompactMasks.from_dense(dense)
    image = np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)
    detections = Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.array([0.9, 0.8], np.float32),
        labels=np.array(sides),
        masks=masks,
        embeddings=np.zeros((2, 0), np.float32),
    )
    return FrameResult(Frame(image, 0, 0.0), detections, np.array(ids), 0.0)


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((a != b).any(2))


@pytest.mark.parametrize("look", ["blur", "pixelate", "silhouette"])
def test_a_look_changes_the_pixels_of_its_classes_and_no_others(look: str) -> None:
    result = made()
    before = result.frame.image.copy()
    picture = Drawing(((look, frozenset({0})),))(result, NAMES)
    changed = difference(picture, before)
    assert changed[PERSON].mean() > 0.95
    changed[PERSON] = False
    assert not changed.any()
    assert np.array_equal(result.frame.image, before)


@pytest.mark.parametrize("look", ["blur", "pixelate"])
def test_what_is_blurred_has_few_values_left(look: str) -> None:
    """Noise is gone: neighbours are alike, and no pixel tells its own value."""
    result = made()
    picture = Drawing(((look, None),))(result, NAMES)
    inside, original = picture[PERSON].astype(int), result.frame.image[PERSON].astype(int)
    assert np.abs(np.diff(inside, axis=1)).mean() < np.abs(np.diff(original, axis=1)).mean() / 15
    assert abs(np.corrcoef(inside.ravel(), original.ravel())[0, 1]) < 0.35


def test_a_silhouette_has_the_colour_of_the_identity() -> None:
    picture = Drawing((("silhouette", None),))(made(), NAMES)
    assert (picture[PERSON] == colour_of(4)).all()
    assert (picture[DOG] == colour_of(7)).all()


def test_cutout_and_spotlight_keep_objects_and_take_the_rest() -> None:
    result = made()
    for look in ("cutout", "spotlight"):
        picture = Drawing(((look, None),))(result, NAMES)
        assert np.array_equal(picture[PERSON], result.frame.image[PERSON])
        assert picture[:10].mean() < result.frame.image[:10].mean() / 2
    assert not Drawing((("cutout", None),))(result, NAMES)[:10].any()


def test_each_class_has_its_own_look_and_the_first_one_counts() -> None:
    result = made()
    drawing = Drawing((("silhouette", frozenset({1})), ("none", None)))
    changed = difference(drawing(result, NAMES), result.frame.image)
    assert changed[DOG].all()
    assert changed.sum() == changed[DOG].size


def test_a_transparent_background_leaves_masks_and_what_is_drawn_and_nothing_beneath() -> None:
    result = made()
    union = result.detections.masks.dense(0) | result.detections.masks.dense(1)
    cut = Drawing((("cutout", None),), parse_background("transparent"))(result, NAMES)
    assert cut.shape == (*SIZE, 4)
    assert np.array_equal(cut[..., 3] == 255, union)
    assert set(np.unique(cut[..., 3]).tolist()) == {0, 255}
    assert not cut[~union].any()  # no pixel of the picture under what is transparent
    assert np.array_equal(cut[union][:, :3], result.frame.image[union])
    tagged = Drawing((("masks", None),), parse_background("transparent"))(result, NAMES)
    opaque = tagged[..., 3] == 255
    assert opaque[union].all()
    assert 50 < (opaque & ~union).sum() < union.sum()  # tags and outlines
    assert not tagged[~opaque].any()
    one = Drawing((("cutout", frozenset({1})),), parse_background("transparent"))(result, NAMES)
    assert np.array_equal(one[..., 3] == 255, result.detections.masks.dense(1))


def test_boxes_are_a_look_and_the_style_is_that_of_all() -> None:
    result = made()
    plain = Style(labels=False)
    boxed = Drawing((("boxes", None),))(result, NAMES, plain)
    changed = difference(boxed, result.frame.image)
    assert changed[20, 10:60].all()
    assert not changed[22:98, 12:58].any()
    faint = Drawing()(result, NAMES, Style(opacity=0.1, labels=False, outline=False))
    strong = Drawing()(result, NAMES, Style(opacity=0.9, labels=False, outline=False))
    distance = [np.abs(p[PERSON].astype(int) - colour_of(4)).mean() for p in (faint, strong)]
    assert distance[1] < distance[0] / 3


def test_trails_lie_under_every_look_and_only_of_who_is_drawn() -> None:
    result = made()
    path = {4: np.array([[150, 110], [80, 110], [35, 60]], np.float32)}
    for look in LOOKS:
        with_trail = Drawing(((look, None),))(result, NAMES, trails=path)
        without = Drawing(((look, None),))(result, NAMES)
        assert difference(with_trail, without)[108:112, 80:150].any()
    drawing = Drawing((("silhouette", frozenset({1})),))
    assert drawing.shown(result).track_ids.tolist() == [7]
    assert Drawing().shown(made(ids=(-1, 7))).track_ids.tolist() == [7]


def test_masks_are_drawn_as_ever() -> None:
    from sipvideo.draw import draw

    result = made()
    assert np.array_equal(Drawing()(result, NAMES), draw(result, NAMES))


def test_objects_without_identity_are_part_of_the_background() -> None:
    result = made(ids=(-1, 7))
    picture = Drawing((("none", None),), Background(colour=(1, 2, 3)))(result, NAMES)
    assert (picture[PERSON] == (1, 2, 3)).all()
    assert np.array_equal(picture[DOG], result.frame.image[DOG])


def test_backgrounds(tmp_path: Path) -> None:
    blue = np.zeros((30, 90, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV's order
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    result = made()
    for text, expected in (
        ("#102030", (16, 32, 48)),
        ("white", (255, 255, 255)),
        (str(tmp_path / "blue.png"), (0, 0, 255)),
    ):
        picture = Drawing((("none", None),), parse_background(text))(result, NAMES)
        assert (picture[:10] == expected).all()
        assert np.array_equal(picture[DOG], result.frame.image[DOG])
    smooth = Drawing((("none", None),), parse_background("blur"))(result, NAMES)
    assert smooth[:10].astype(int).std() < result.frame.image[:10].astype(int).std() / 3


@pytest.mark.parametrize("text", ["purple-ish", "#12", "missing.png", "9" * 400, "\0", __file__])
def test_an_unknown_background_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="background"):
        parse_background(text)


def test_looks_are_read_and_mistakes_told() -> None:
    assert parse_look("blur:person,1", NAMES) == ("blur", frozenset({0, 1}))
    assert parse_look("none", NAMES) == ("none", None)
    with pytest.raises(ConfigError, match="did you mean 'person'"):
        parse_look("blur:persn", NAMES)
    with pytest.raises(ConfigError, match="expected one of masks"):
        parse_look("blurry", NAMES)


@pytest.mark.parametrize("look", LOOKS)
def test_every_look_takes_frames_without_objects_and_tiny_ones(look: str) -> None:
    frame = Frame(np.full((1, 3, 3), 9, np.uint8), 0, 0.0)
    empty = FrameResult(frame, Detections.empty((1, 3)), np.zeros(0, np.int64), 0.0)
    assert Drawing(((look, None),))(empty, NAMES).shape == (1, 3, 3)
    dense = np.ones((1, 1, 3), bool)
    masks = CompactMasks.from_dense(dense)
    one = Detections(
        masks.windows.astype(np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        masks,
        np.zeros((1, 0), np.float32),
    )
    assert Drawing(((look, None),))(
        FrameResult(frame, one, np.zeros(1, np.int64), 0.0), NAMES
    ).shape == (1, 3, 3)
