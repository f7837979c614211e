"""The masks of 3D scenes are exactly the visible pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.synth import CAMERAS, ModelLibrary, Recipe, ScenesFilm, SyntheticDataset
from sipvideo.synth.stage import RENDERERS, Stage, renderer
from sipvideo.synth.wavefront import Surface, read_model
from tests.synth import catalogue

pytest.importorskip("panda3d.core", reason="panda3d, which renders scenes, is not installed")

SIZE = (72, 128)


def _box(
    colour: tuple[float, float, float], texture: NDArray[np.uint8] | None = None
) -> list[Surface]:
    """A cube of 2 metres around the origin."""
    both = read_model(catalogue.members().get, "scopia/bus/box.obj")
    vertices = [s.vertices[:, [0, 2, 1, 3, 5, 4, 6, 7]] for s in both]
    return [
        Surface(v, s.triangles, np.array(colour, np.float32), texture)
        for v, s in zip(vertices, both, strict=True)
    ]


def _stage(boxes: int) -> Stage:
    """Boxes one behind the other, number 0 nearest."""
    stage = Stage(SIZE)
    for k in range(boxes):
        stage.add_actor(_box((1.0, 0.2 + 0.2 * k, 0.5)))
        stage.place(k, (0.8 * k, 6 + 3 * k, 0.3 * k), 20 * k)
    stage.light((0.3, 0.5, -1), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    stage.aim((0, 0, 2), (0.5, 8, 0.8))
    return stage


def test_films_are_rendered_without_an_x_server() -> None:
    """One that happens to run, and ends, would end the process."""
    _, pipe = renderer()
    assert str(pipe.get_type()) in [name for name, _ in RENDERERS]


def test_everything_that_is_not_background_belongs_to_an_actor() -> None:
    stage = _stage(3)
    owners, picture = stage.owners(), stage.picture()
    stage.close()
    assert set(np.unique(owners)) == {-1, 0, 1, 2}
    np.testing.assert_array_equal(owners >= 0, picture.any(2))


def test_an_actor_owns_what_it_covers_alone_minus_what_nearer_ones_cover() -> None:
    stage = _stage(4)
    owners = stage.owners()
    nearer = np.zeros(SIZE, bool)
    for k in range(4):
        alone = stage.alone(k)
        np.testing.assert_array_equal(owners == k, alone & ~nearer)
        nearer |= alone
    np.testing.assert_array_equal(stage.owners(), owners)
    stage.close()


def test_a_picture_without_an_actor_differs_only_in_its_mask() -> None:
    stage = _stage(3)
    owners, picture = stage.owners(), stage.picture()
    for k in range(3):
        stage.place(k, (0, -50, 0))
        changed = (stage.picture() != picture).any(2)
        np.testing.assert_array_equal(changed, owners == k)
        stage.place(k, (0.8 * k, 6 + 3 * k, 0.3 * k), 20 * k)
    stage.close()


def test_scenery_hides_but_owns_nothing() -> None:
    stage = _stage(2)
    before = stage.owners()
    node = stage.add_scenery(_box((0, 1, 0)))
    stage.place(node, (-0.7, 4, 0.2))
    after, picture = stage.owners(), stage.picture()
    stage.close()
    green = (picture[..., 1] > 0) & (picture[..., 0] == 0)
    assert green.any()
    np.testing.assert_array_equal(after, np.where(green, -1, before))


def test_holes_in_a_texture_are_seen_through() -> None:
    texture = np.full((64, 64, 4), 255, np.uint8)
    texture[:, 24:40, 3] = 0
    stage = Stage(SIZE)
    stage.add_actor(_box((1, 1, 1), texture))
    stage.add_actor(_box((1, 1, 1)))
    stage.place(0, (0, 5, 0))
    stage.place(1, (0, 9, 0))
    stage.light((0, 1, -1), (0, 0, 0), (1, 1, 1))
    stage.aim((0, 0, 1), (0, 5, 1))
    owners, alone, picture = stage.owners(), stage.alone(0), stage.picture()
    stage.close()
    assert owners[36, 64] == 1
    assert not alone[36, 64]
    np.testing.assert_array_equal(owners >= 0, picture.any(2))


def test_numbers_of_many_actors_are_read_back() -> None:
    stage = Stage(SIZE)
    surfaces = _box((1, 1, 1))
    count = 300
    for k in range(count):
        stage.add_actor(surfaces)
        stage.place(k, ((k % 20 - 9.5) * 3, 100, (k // 20 - 7) * 3))
    stage.aim((0, 0, 1), (0, 100, 1))
    owners = stage.owners()
    stage.close()
    assert set(np.unique(owners)) == set(range(-1, count))


def test_a_stage_with_nobody_is_empty() -> None:
    stage = Stage(SIZE)
    stage.aim((0, 0, 1), (0, 5, 1))
    assert (stage.owners() == -1).all()
    assert not stage.picture().any()
    assert not stage.shadows().any()
    stage.close()


def _film(folder: Path, seed: int = 0, **changes: Any) -> ScenesFilm:
    library = ModelLibrary(catalogue.boxes(folder))
    return ScenesFilm(Recipe(**{"frames": 4, "size": SIZE, **changes}), (seed,), library)


@pytest.mark.parametrize("seed", range(6))
def test_a_film_comes_out_the_same_every_time(seed: int, tmp_path: Path) -> None:
    first, second = (list(_film(tmp_path, seed).shots()) for _ in range(2))
    assert len(first) == 4
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.owners, b.owners)
        np.testing.assert_array_equal(a.hidden, b.hidden)
    assert any((shot.owners >= 0).any() for shot in first)


def test_hidden_is_the_share_that_is_missing(tmp_path: Path) -> None:
    film = _film(tmp_path, 1, objects=5, occlusion=1.0)
    shots = list(film.shots())
    assert all(((shot.hidden >= 0) & (shot.hidden <= 1)).all() for shot in shots)
    assert max(float(shot.hidden.max()) for shot in shots) > 0.05


def test_objects_never_walk_through_each_other(tmp_path: Path) -> None:
    for seed in range(4):
        film = _film(tmp_path, seed, objects=8, frames=24)
        scene = film.takes[0].scene
        discs = [actor.discs(scene.seconds) for actor in scene.actors]
        for k, (a, a_radius) in enumerate(discs):
            for b, b_radius in discs[:k]:
                apart = np.linalg.norm(a[:, :, None] - b[:, None], axis=3)
                assert apart.min() >= a_radius + b_radius


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_planned_boxes_hold_what_is_seen(camera: str, tmp_path: Path) -> None:
    for seed in range(2):
        film = _film(tmp_path, seed, objects=4, size=(144, 256), camera=camera)
        (take,) = film.takes
        planned = [
            take.camera.boxes(actor.corners(take.seconds), take.seconds)
            for actor in take.scene.actors
        ]
        for t, shot in enumerate(film.shots()):
            for k, boxes in enumerate(planned):
                rows, columns = np.nonzero(shot.owners == k)
                if not len(rows):
                    continue
                x0, y0, x1, y1 = boxes[t]
                assert x0 - 2 <= columns.min()
                assert columns.max() <= x1 + 2
                assert y0 - 2 <= rows.min()
                assert rows.max() <= y1 + 2


def test_films_of_earlier_seeds_are_planned_as_ever(tmp_path: Path) -> None:
    scene = _film(tmp_path, 0).takes[0].scene
    told = [(a.model.split("/")[1], a.course.style, a.course.home) for a in scene.actors]  # type: ignore[union-attr]
    assert [(model, style) for model, style, _ in told] == [
        ("female01", "cross"),
        ("female01", "roam"),
        ("female01", "roam"),
        ("dog", "stay"),
        ("female01", "return"),
    ]
    homes = [(0.6884, 4.6784), (-1.4264, 6.8), (-0.1954, 6.0429), (-0.6998, 3.3319)]
    np.testing.assert_allclose([home for *_, home in told[:4]], homes, atol=1e-4)
    assert scene.lights[0] == pytest.approx(0.365010, abs=1e-6)
    assert not {"fps", "camera", "returns", "lookalikes", "cuts"} & Recipe().settings().keys()


def test_another_camera_films_the_same_scene(tmp_path: Path) -> None:
    plans = [_film(tmp_path, 3, camera=camera).takes[0] for camera in CAMERAS]
    assert all(plan.scene.actors == plans[0].scene.actors for plan in plans)
    seconds = np.linspace(0, 5, 50)
    ways = {
        camera: np.ptp(np.column_stack((*plan.camera.at(seconds), plan.camera.zoom(seconds))), 0)
        for camera, plan in zip(CAMERAS, plans, strict=True)
    }
    assert not ways["still"].any()
    assert ways["move"][0] > 0.5
    assert ways["pan"][0] == 0
    assert ways["pan"][3] > 0.5
    assert not ways["zoom"][:6].any()
    assert ways["zoom"][6] > 0.2


def test_zoom_makes_things_larger() -> None:
    stage = Stage(SIZE)
    stage.add_actor(_box((1, 1, 1)))
    stage.place(0, (0, 20, 0))
    wide = []
    for zoom in (1.0, 2.0, 1.0):
        stage.aim((0, 0, 1), (0, 20, 1), zoom)
        wide.append(int(stage.owners().max(0).clip(-1, 0).sum() + SIZE[1]))
    stage.close()
    assert wide[1] == pytest.approx(2 * wide[0], abs=2)
    assert wide[2] == wide[0]


def test_motion_is_the_same_at_any_frame_rate(tmp_path: Path) -> None:
    slow = list(_film(tmp_path, 2, frames=5, fps=6.0, drop=0.0).shots())
    fast = list(_film(tmp_path, 2, frames=40, fps=48.0, drop=0.0).shots())
    for k, shot in enumerate(slow):
        assert fast[8 * k].second == shot.second == k / 6
        np.testing.assert_array_equal(fast[8 * k].owners, shot.owners)


def test_who_leaves_is_away_for_seconds_and_comes_back(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"frames": 90, "fps": 2.0, "drop": 0.0, "objects": 3, "returns": 1.0}
    film = _film(tmp_path, 1, size=(36, 64), **changes)
    dataset = SyntheticDataset(
        tmp_path / "set", {}, ("person", "bus", "dog", "cup", "laptop"), (36, 64)
    )
    dataset.add("film", film)
    content = dataset.finish(["film"])
    absences = [a for track in content["annotations"] for a in track["absences"]]
    assert len(absences) >= 3
    for gone, back in absences:
        assert 3 <= back - gone <= 30
    (video,) = content["videos"]
    for track in content["annotations"]:
        for gone, back in track["absences"]:
            seen = dict(zip(video["seconds"], track["segmentations"], strict=True))
            assert seen[gone]
            assert seen[back]
            assert not any(mask for second, mask in seen.items() if gone < second < back)


def test_lookalikes_are_of_one_model(tmp_path: Path) -> None:
    for seed in range(3):
        alike = _film(tmp_path, seed, objects=6, lookalikes=1.0).takes[0].scene.actors
        assert len({actor.model for actor in alike}) == 1
        assert len(alike) > 1


def test_objects_keep_their_numbers_through_cuts(tmp_path: Path) -> None:
    film = _film(tmp_path, 1, frames=10, cuts=4, drop=0.0)
    first, other_camera, other_scene, its_camera, back = film.takes
    assert first.scene is other_camera.scene is back.scene
    assert other_scene.scene is its_camera.scene
    assert other_scene.first == len(first.scene.actors)
    shots = list(film.shots())
    assert sum(shot.cut for shot in shots) == 4
    assert not shots[0].cut
    assert [shot.second for shot in shots] == sorted(shot.second for shot in shots)
    parts = [owners[owners >= 0] for owners in (shots[0].owners, shots[5].owners, shots[-1].owners)]
    assert all(part.size for part in parts)
    assert parts[0].max() < other_scene.first <= parts[1].min()
    assert parts[2].max() < other_scene.first
    assert (
        len(shots[0].hidden)
        == len(film.class_names)
        == film.takes[2].first + len(other_scene.scene.actors)
    )


def test_every_frame_of_a_short_film_may_be_a_cut(tmp_path: Path) -> None:
    film = _film(tmp_path, 1, frames=3, cuts=2)
    assert [len(take.seconds) for take in film.takes] == [1, 1, 1]


def test_models_that_nobody_knows_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "own.sh3f"
    path.write_bytes(catalogue.packed(catalogue.members({"me/statue": (50, 50, 100)})))
    with pytest.raises(DatasetError, match="none of the models is of a known class"):
        ScenesFilm(Recipe(), (0,), ModelLibrary(path))


def test_a_film_without_objects_shows_the_place(tmp_path: Path) -> None:
    (shot,) = _film(tmp_path, objects=0, frames=1).shots()
    assert (shot.owners == -1).all()
    assert shot.hidden.shape == (0,)
    assert shot.image.std() > 1
