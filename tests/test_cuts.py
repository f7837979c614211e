"""Cuts: another scene is one, a moved, brightened or noisy picture of the same scene is none."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from sipvideo.cuts import Grey, likeness, scene_changed
from tests.scenes import clock, crowd, film


def scene(seed: int, low: int = 20, high: int = 235) -> Grey:
    """Large patches of different brightness, uint8 [200, 360]: rooms and streets look like that from afar."""
    patches = np.random.default_rng(seed).uniform(low, high, (7, 11)).astype(np.float32)
    return (
        cv2.resize(patches, (360, 200), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize("seed", range(8))
def test_another_scene_is_a_cut(seed: int) -> None:
    assert scene_changed(scene(2 * seed), scene(2 * seed + 1))


@pytest.mark.parametrize("seed", range(8))
def test_the_same_scene_moved_brighter_or_noisy_is_no_cut(seed: int) -> None:
    whole = scene(seed)
    here = whole[:180, :320].copy()
    noise = np.random.default_rng(seed).normal(0, 12, here.shape)
    others = {
        "moved": whole[10:190, 30:350],
        "exposed": np.clip(here * 1.5, 0, 255),
        "darker": here * 0.5,
        "noisy": np.clip(here + noise, 0, 255),
    }
    for name, other in others.items():
        assert not scene_changed(here, np.ascontiguousarray(other, np.uint8)), name


@pytest.mark.parametrize("seed", range(8))
def test_another_scene_that_is_as_bright_is_a_cut(seed: int) -> None:
    assert scene_changed(scene(2 * seed, 70, 150), scene(2 * seed + 1, 70, 150))


def test_after_a_while_more_may_have_changed_within_one_scene() -> None:
    before, after = scene(3), scene(3).copy()
    after[:, :180] = scene(4)[:, :180]
    assert scene_changed(before, after)
    assert not scene_changed(before, after, seconds=0.4)
    assert scene_changed(before, scene(4), seconds=0.7)


def test_objects_that_come_and_go_are_no_cut() -> None:
    greys = [
        cv2.cvtColor(shot.frame.image, cv2.COLOR_RGB2GRAY)
        for shot in film(crowd(6, 6), clock(6, 2))
    ]
    for before, after in itertools.pairwise(greys):
        assert not scene_changed(before, after)


def test_a_picture_is_like_itself_at_any_size() -> None:
    for size in ((1, 1), (2, 3), (17, 5), (180, 320)):
        grey = np.random.default_rng(0).integers(0, 255, size).astype(np.uint8)
        assert not scene_changed(grey, grey)
    assert likeness(scene(0), scene(0)) == pytest.approx(1)
