"""What a veil covers reaches nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

import sipvideo
from sipvideo.config import TrackerConfig, VeilConfig
from sipvideo.errors import ConfigError
from sipvideo.live.governor import GovernedSegmenter
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import Tracker
from sipvideo.veil import Veil

SIZE = (90, 134)
PERSON = frozenset({0})


def at(x: int, y: int, *, label: int = 0, score: float = 0.9) -> Detections:
    """One object of 20 x 40 pixels, not a rectangle."""
    yy, xx = np.mgrid[: SIZE[0], : SIZE[1]]
    dense = ((yy - y) / 20.0) ** 2 + ((xx - x) / 10.0) ** 2 < 1
    masks = CompactMasks.from_dense(dense[None])
    return Detections(
        masks.windows.astype(np.float32),
        np.array([score], np.float32),
        np.array([label]),
        masks,
        np.ones((1, 4), np.float32),
    )


def frame(second: float = 0.0) -> Frame:
    noise = np.random.default_rng(round(second * 100)).integers(0, 256, (*SIZE, 3), np.uint8)
    return Frame(noise, round(second * 10), second)


def left_over(covered: Frame, original: Frame) -> NDArray[np.bool_]:
    """Pixels that are as they were."""
    return np.asarray((covered.image == original.image).all(2))


@pytest.mark.parametrize("place", [(60, 45), (3, 5), (131, 88), (0, 0)])
@pytest.mark.parametrize("how", ["blur", "fill"])
def test_every_pixel_of_a_mask_is_covered_and_far_ones_are_not(
    place: tuple[int, int], how: str
) -> None:
    veil = Veil(VeilConfig(how=how), PERSON, 0.3)  # type: ignore[arg-type]
    before, found = frame(), at(*place)
    covered, _ = veil(before, found)
    same = left_over(covered, before)
    assert same[found.masks.dense(0)].mean() < 0.01  # a mean may by chance be the value itself
    assert same[:, 100:].all() or place[0] > 70
    assert np.array_equal(before.image, frame().image)


def test_other_classes_are_not_covered_and_doubtful_objects_are_covered_but_not_told() -> None:
    veil = Veil(VeilConfig(), PERSON, 0.3)
    before = frame()
    covered, shown = veil(before, at(60, 45, label=1))
    assert left_over(covered, before).all()
    assert len(shown) == 1
    covered, shown = veil(before, at(60, 45, score=0.12))
    assert not left_over(covered, before)[45, 60]
    assert len(shown) == 0


def test_a_place_stays_covered_for_a_while_and_not_for_ever() -> None:
    veil = Veil(VeilConfig(seconds=0.5), PERSON, 0.3)
    veil(frame(0.0), at(60, 45))
    nobody = Detections.empty(SIZE, 4)
    soon, later = frame(0.4), frame(0.7)
    assert not left_over(veil(soon, nobody)[0], soon)[45, 60]
    assert left_over(veil(later, nobody)[0], later).all()


def test_a_new_video_and_a_new_size_begin_without_memory() -> None:
    veil = Veil(VeilConfig(), PERSON, 0.3)
    veil(frame(5.0), at(60, 45))
    veil.reset()
    first = frame(5.1)
    assert left_over(veil(first, Detections.empty(SIZE, 4))[0], first).all()
    veil(frame(5.2), at(60, 45))
    small = Frame(np.zeros((20, 30, 3), np.uint8), 9, 5.3)
    assert left_over(veil(small, Detections.empty((20, 30), 4))[0], small).all()


def test_everything_is_everything() -> None:
    veil = Veil(VeilConfig(everything=True), frozenset(), 0.3)
    before = frame()
    assert left_over(veil(before, Detections.empty(SIZE, 4))[0], before).mean() < 0.01


def test_only_shown_classes_are_told_though_others_are_covered() -> None:
    veil = Veil(VeilConfig(), PERSON, 0.3, shown=frozenset({1}))
    before = frame()
    covered, told = veil(before, at(60, 45))
    assert len(told) == 0
    assert not left_over(covered, before)[45, 60]


def scripted(veil: Veil) -> VideoSegmenter:
    return VideoSegmenter(lambda f: at(60, 45), Tracker(TrackerConfig()), ("person",), veil)


def frames(count: int) -> Sequence[Frame]:
    return [frame(k / 10) for k in range(count)]


def test_no_way_through_the_pipeline_shows_what_is_covered() -> None:
    veil = Veil(VeilConfig(), PERSON, 0.3)
    inside = at(60, 45).masks.dense(0)
    for results in (
        scripted(veil).run(frames(4)),
        scripted(veil).run(frames(4), ahead=2),
        scripted(veil).for_files().run(frames(4)),
        scripted(veil).another().run(frames(4)),
        GovernedSegmenter(scripted(veil), 1000.0).run(frames(4)),
    ):
        for before, result in zip(frames(4), results, strict=True):
            assert left_over(result.frame, before)[inside].mean() < 0.01
            assert len(result.detections) == 1


def test_carried_frames_are_covered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    governed = GovernedSegmenter(scripted(Veil(VeilConfig(), PERSON, 0.3)), 1000.0)
    choice = replace(governed.governor.choice, interval=3)
    monkeypatch.setattr(type(governed.governor), "choice", property(lambda _: choice))
    still = [replace(frame(0.0), index=k, timestamp=k / 25) for k in range(6)]
    results = list(governed.run(still))
    assert any(result.carried for result in results)
    inside = at(60, 45).masks.dense(0)
    for before, result in zip(still, results, strict=True):
        assert left_over(result.frame, before)[inside].mean() < 0.01


def test_privacy_of_the_default_model_finds_doubtful_people_and_tells_certain_ones() -> None:
    pytest.importorskip("openvino")
    plain = sipvideo.load()
    private = sipvideo.load(privacy=("person",), classes=("dog",))
    assert private.veil is not None
    assert private.veil.labels == {0}
    assert private.veil.shown == {16}
    assert private.veil.report == pytest.approx(0.3)
    assert plain.veil is None
    assert sipvideo.load(blur_all=True).veil is not None


def test_privacy_with_an_area_or_an_unknown_class_is_refused() -> None:
    with pytest.raises(ConfigError, match="whole picture"):
        sipvideo.load(privacy=("person",), area=(0, 0, 0.5, 0.5))
    with pytest.raises(ConfigError, match="did you mean 'person'"):
        sipvideo.load(privacy=("persn",))
