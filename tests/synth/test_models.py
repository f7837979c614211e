"""Models are read as their catalogue says, and nothing outside an archive is ever opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sipvideo.classes import COCO
from sipvideo.errors import DatasetError
from sipvideo.synth.cast import MODELS, PACE, PLACES, RESTING
from sipvideo.synth.models import DEBIAN, ModelLibrary
from sipvideo.synth.wavefront import TEXTURE_SIZE, read_model
from tests.synth import catalogue


def _from(files: dict[str, bytes]) -> Callable[[str], bytes | None]:
    return files.get


def _model(text: str, materials: str = "") -> dict[str, bytes]:
    return {"a/m.obj": text.encode(), "a/m.mtl": materials.encode()}


TRIANGLE = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl x\nf 1 2 3\n"


def test_the_corners_of_every_face_are_those_of_the_file() -> None:
    surfaces = read_model(_from(catalogue.members()), "scopia/bus/box.obj")
    corners = np.concatenate([s.vertices[s.triangles][..., :3] for s in surfaces])
    assert len(corners) == 12
    # A box' triangles: on each of six sides two, which make up the side's area.
    edges = corners[:, 1:] - corners[:, :1]
    areas = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1) / 2
    normals = np.concatenate([s.vertices[s.triangles][..., 3:6] for s in surfaces])
    assert areas.sum() == pytest.approx(24)
    # Creases stay creases: every corner has its face's normal, up to the sign.
    flat = np.cross(edges[:, 0], edges[:, 1]) / 4
    np.testing.assert_allclose(np.abs(normals), np.repeat(np.abs(flat)[:, None], 3, 1), atol=1e-6)


def test_faces_with_many_corners_become_triangles_of_the_same_area() -> None:
    text = "v 0 0 0\nv 2 0 0\nv 3 1 0\nv 2 2 0\nv 0 2 0\nvn 0 0 1\nf 1//1 2//1 3//1 4//1 5//1\n"
    (surface,) = read_model(_from(_model(text)), "a/m.obj")
    corners = surface.vertices[surface.triangles][..., :3]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert np.linalg.norm(cross, axis=1).sum() / 2 == pytest.approx(5)
    assert (surface.vertices[:, 3:6] == (0, 0, 1)).all()


def test_a_material_gives_colour_and_texture() -> None:
    files = catalogue.members()
    paint, front = read_model(_from(files), "scopia/dog/box.obj")
    assert paint.texture is None
    assert paint.colour.tolist() == pytest.approx([0.9, 0.1, 0.1])
    assert front.texture is not None
    assert front.texture.shape == (TEXTURE_SIZE, TEXTURE_SIZE, 4)
    assert (front.texture[..., 3] == 255).all()


def test_invisible_materials_are_left_out() -> None:
    assert read_model(_from(_model(TRIANGLE, "newmtl x\nd 0.01")), "a/m.obj") == []
    assert len(read_model(_from(_model(TRIANGLE, "newmtl x\nd 0.4")), "a/m.obj")) == 1


@pytest.mark.parametrize(
    "reference",
    ["../../../secret.png", "/secret.png", "C:\\Users\\me\\secret.png", "a/../secret.png"],
)
def test_a_texture_outside_the_models_folder_is_never_asked_for(reference: str) -> None:
    files = {**catalogue.members(reference=reference), "secret.png": catalogue.texture()}
    asked = []

    def read(name: str) -> bytes | None:
        asked.append(name)
        return files.get(name)

    _, front = read_model(read, "scopia/bus/box.obj")
    assert front.texture is None
    assert all(name.startswith("scopia/bus/") and ".." not in name for name in asked)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "no faces"),
        ("v 0 0 0\nf 1 2 3\n", "out of bounds"),
        ("v 0 0 0\nv 0 0 1\nv 0 1 1\nf -1 -2 -3\n", "relative"),
        ("v 0 0 0\nv 0 0 1\nv 0 1 1\nf 0 1 2\n", "without a position"),
        ("v 0 0 nan\nv 0 0 1\nv 0 1 1\nf 1 2 3\n", "not finite"),
        ("v 0 zero 0\nf 1 1 1\n", "zero"),
        ("v 0 0 0\nf 1/1 1 1\n", "reshape"),
        ("v 0 0\n" * 3 + "f 1 2 3\n", "expected 3 numbers"),
    ],
)
def test_a_damaged_model_says_what_is_wrong(text: str, told: str) -> None:
    with pytest.raises(DatasetError, match=f"a/m.obj: .*{told}"):
        read_model(_from(_model(text)), "a/m.obj")


def test_models_stand_on_the_ground_in_their_catalogues_size(tmp_path: Path) -> None:
    library = ModelLibrary(catalogue.boxes(tmp_path))
    assert library.names == tuple(sorted(catalogue.BOXES))
    for name, (width, depth, height) in catalogue.BOXES.items():
        points = np.concatenate([s.vertices[:, :3] for s in library.surfaces(name)])
        assert points.min(0) == pytest.approx([-width / 200, -depth / 200, 0], abs=1e-6)
        assert points.max(0) == pytest.approx([width / 200, depth / 200, height / 100], abs=1e-6)
        assert library.size(name) == pytest.approx((width / 100, depth / 100, height / 100))


def test_a_catalogue_is_found_in_a_folder_and_in_a_debian_package(tmp_path: Path) -> None:
    deep = tmp_path / "folder" / "usr" / "share"
    deep.mkdir(parents=True)
    catalogue.boxes(deep)
    package = tmp_path / "furniture.deb"
    catalogue.debian(package, catalogue.packed(catalogue.members()))
    names = ModelLibrary(tmp_path / "folder").names
    assert ModelLibrary(package).names == names == tuple(sorted(catalogue.BOXES))
    assert len(ModelLibrary(package).surfaces("scopia/bus")) == 2


def test_a_place_without_models_says_what_to_install(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DatasetError, match="apt-get install sweethome3d-furniture"):
            ModelLibrary(place)


@pytest.mark.parametrize("name", ["a.sh3f", "a.deb", "a.jar", "a.txt"])
def test_a_damaged_archive_is_one_line(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind" * 10)
    with pytest.raises(DatasetError, match=name):
        ModelLibrary(tmp_path / name)


def test_a_member_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sipvideo.synth.models.LARGEST_MEMBER", 2000)
    files = catalogue.members()
    files["scopia/bus/box.obj"] = b"# nothing\n" * 1000
    (tmp_path / "a.sh3f").write_bytes(catalogue.packed(files))
    with pytest.raises(DatasetError, match=r"a\.sh3f: scopia/bus/box.obj: larger than"):
        ModelLibrary(tmp_path / "a.sh3f").surfaces("scopia/bus")


def test_the_cast_plays_cocos_classes() -> None:
    assert set(MODELS) <= set(COCO)
    assert set(PACE) <= set(MODELS)
    models = [model for names in MODELS.values() for model in names.split()]
    assert len(models) == len(set(models))
    assert set(models) >= RESTING
    for place in PLACES.values():
        assert set(place.classes) <= set(MODELS)
    assert {name for place in PLACES.values() for name in place.classes} == set(MODELS)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's sweethome3d-furniture is not installed")
def test_every_model_of_the_cast_is_in_debians_package() -> None:
    library = ModelLibrary()
    names = " ".join(MODELS.values()).split()
    assert [name for name in names if name not in library] == []
    assert all(library.surfaces(name) for name in names[::6])  # reading them all takes long
