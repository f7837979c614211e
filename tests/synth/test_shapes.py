"""Films of shapes: exact, repeatable, as hard as asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sipvideo.errors import ConfigError
from sipvideo.synth import DIFFICULTIES, SHAPES, Recipe, ShapesFilm, Shot
from sipvideo.synth.courses import Course
from sipvideo.synth.film import FPS
from sipvideo.synth.shapes import SPRITE, _draw, _sprite

SIZE = (45, 80)


def _shots(seed: int = 0, **changes: object) -> list[Shot]:
    return list(ShapesFilm(Recipe(**{"size": SIZE, "frames": 12, **changes}), (seed,)).shots())  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(5))
def test_a_film_comes_out_the_same_every_time(seed: int) -> None:
    for a, b in zip(_shots(seed), _shots(seed), strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.owners, b.owners)


def test_another_seed_gives_another_film() -> None:
    assert (_shots(0)[0].image != _shots(1)[0].image).any()


def test_the_nearer_object_owns_the_pixels_that_both_cover() -> None:
    rng = np.random.default_rng(0)
    sprites = [_sprite(rng, k, len(SHAPES)) for k in range(3)]
    places = np.array([(30, 20, 25, 10), (38, 22, 20, 80), (2, 40, 30, 0)], float)
    image = np.zeros((*SIZE, 3), np.uint8)
    owners = np.full(SIZE, -1, np.int16)
    expected = owners.copy()
    for k in range(3):
        alone = np.full(SIZE, -1, np.int16)
        count = _draw(image.copy(), alone, k, sprites[k], places[k])
        assert count == (alone == k).sum()
        expected[alone == k] = k
        assert _draw(image, owners, k, sprites[k], places[k]) == count
    np.testing.assert_array_equal(owners, expected)


def test_an_object_changes_only_its_own_pixels_and_its_edge() -> None:
    sprite = np.full((SPRITE, SPRITE, 4), 255, np.uint8)
    image, owners = np.zeros((40, 60, 3), np.uint8), np.full((40, 60), -1, np.int16)
    _draw(image, owners, 0, sprite, np.array((30.0, 20.0, 20.0, 0.0)))
    assert (owners == 0).sum() == pytest.approx(400, abs=42)
    np.testing.assert_array_equal(image[..., 0] >= 128, owners == 0)


@given(st.floats(-200, 200), st.floats(-200, 200), st.floats(0.5, 150), st.floats(-360, 360))
@settings(max_examples=60)
def test_an_object_may_be_anywhere(x: float, y: float, size: float, angle: float) -> None:
    sprite = _sprite(np.random.default_rng(1), 2, len(SHAPES))
    image, owners = np.zeros((*SIZE, 3), np.uint8), np.full(SIZE, -1, np.int16)
    count = _draw(image, owners, 4, sprite, np.array((x, y, size, angle)))
    assert count == (owners == 4).sum()
    assert set(np.unique(owners)) <= {-1, 4}


def test_hidden_is_what_others_cover() -> None:
    shots = _shots(3, objects=12, occlusion=1.0)
    assert all(((shot.hidden >= 0) & (shot.hidden <= 1)).all() for shot in shots)
    assert all(shot.hidden[-1] == 0 for shot in shots), "nothing is nearer than the last object"
    assert max(float(shot.hidden.max()) for shot in shots) > 0.5


def test_objects_leave_and_come_back_as_themselves() -> None:
    returned = 0
    for seed in range(8):
        shots = _shots(seed, frames=120, objects=6)
        seen = np.array([[(shot.owners == k).any() for k in range(6)] for shot in shots])
        changes = np.diff(seen.astype(int), axis=0)
        returned += int(((changes == -1).sum(0) * (changes == 1).sum(0) > 0).sum())
    assert returned >= 10


def test_occlusion_speed_and_light_do_what_they_say() -> None:
    def hidden(occlusion: float) -> float:
        runs = [_shots(s, occlusion=occlusion, objects=6) for s in range(6)]
        return float(np.mean([shot.hidden.mean() for shots in runs for shot in shots]))

    def moved(speed: float) -> float:
        return float(
            np.mean(
                [
                    (a.owners != b.owners).mean()
                    for s in range(4)
                    for a, b in zip(
                        _shots(s, speed=speed), _shots(s, speed=speed)[1:], strict=False
                    )
                ]
            )
        )

    def flicker(light: float) -> float:
        return float(
            np.std([shot.image.mean() for shot in _shots(0, light=light, objects=0, speed=0)])
        )

    assert hidden(0.0) < hidden(0.5) < hidden(1.0)
    assert moved(0.1) < moved(1.0) < moved(3.0)
    assert flicker(0.0) < 0.1 < flicker(1.0)


def test_dropped_frames_are_gaps_in_time() -> None:
    steady = np.diff([shot.second for shot in _shots(drop=0.0, frames=50)]) * FPS
    gappy = np.diff([shot.second for shot in _shots(drop=0.3, frames=50)]) * FPS
    np.testing.assert_allclose(steady, 1)
    assert set(gappy.round().astype(int)) > {1, 2}


def test_a_film_without_objects_is_all_background() -> None:
    shots = _shots(objects=0)
    assert len(shots) == 12
    assert all((shot.owners == -1).all() and shot.hidden.shape == (0,) for shot in shots)


def test_classes_are_drawn_from_the_given_names() -> None:
    names = tuple(f"class {k}" for k in range(40))
    film = ShapesFilm(Recipe(objects=60, size=SIZE, frames=1), (0,), names)
    assert len(set(film.class_names)) > 20
    assert set(film.class_names) <= set(names)


@pytest.mark.parametrize("style", ["stay", "roam", "cross", "return"])
def test_ways_are_continuous(style: str) -> None:
    course = Course(style, (3.0, 5.0), 10.0, 2.0, 0.3, 0.4, 1.0)
    seconds = np.linspace(0, 60, 20_001)
    steps = np.linalg.norm(np.diff(course(seconds), axis=0), axis=1)
    assert steps.max() <= (0 if style == "stay" else 2.5 * 2.0 * 60 / 20_000)
    assert np.isfinite(course.heading(seconds)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"occlusion": 1.5},
        {"drop": -0.1},
        {"light": float("nan")},
        {"speed": -1},
        {"objects": -1},
        {"frames": 0},
        {"size": (8, 100)},
        {"size": (100, 10_000)},
    ],
)
def test_a_recipe_out_of_range_says_so(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(change))}: expected"):
        Recipe(**change)  # type: ignore[arg-type]


def test_difficulties_become_harder() -> None:
    easy, medium, hard = (DIFFICULTIES[name] for name in ("easy", "medium", "hard"))
    for name in ("objects", "occlusion", "speed", "drop", "light"):
        assert getattr(easy, name) < getattr(medium, name) < getattr(hard, name)
