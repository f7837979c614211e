"""Reads Wavefront OBJ models with their MTL materials and textures from inside one archive.

Models come from strangers: nothing outside the archive is ever opened, sizes are bounded, and whatever does not fit the
format is a :class:`DatasetError`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError

TEXTURE_SIZE = 256
"""Textures are resized to squares of this side: software renderers want powers of two."""
CREASE = 0.7
"""Cosine of the angle from which an edge is drawn as an edge, where the file gives no normals."""
INVISIBLE = 0.1
"""Materials less opaque than this are not drawn; all others are drawn opaque, so that a pixel has one owner."""

ReadMember = Callable[[str], bytes | None]
"""Name inside the archive -> its bytes, None where there is no such member."""


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles of one material.

    Attributes:
        vertices: float32 [V, 8]: position x y z (y up, the file's unit), unit normal x y z, texture u v.
        triangles: uint32 [F, 3], rows of ``vertices``.
        colour: float32 [3], RGB 0..1.
        texture: uint8 [S, S, 4], RGBA, its first row at v = 1, or None. Where alpha is below 128 there is a hole.
    """

    vertices: NDArray[np.float32]
    triangles: NDArray[np.uint32]
    colour: NDArray[np.float32]
    texture: NDArray[np.uint8] | None


@dataclass
class _Material:
    colour: tuple[float, ...] = (0.8, 0.8, 0.8)
    opacity: float = 1.0
    texture: str = ""


@dataclass
class _Lines:
    """An OBJ file by kinds of lines, faces by material."""

    positions: list[str] = field(default_factory=list)
    coordinates: list[str] = field(default_factory=list)
    normals: list[str] = field(default_factory=list)
    faces: dict[str, list[str]] = field(default_factory=dict)
    library: str = ""


def read_model(read: ReadMember, name: str) -> list[Surface]:
    """The surfaces of an OBJ file.

    Args:
        read: gives the members of the archive.
        name: the OBJ file's name in the archive.

    Raises:
        DatasetError: no such model, or its text is no OBJ file.
    """
    data = read(name)
    if data is None:
        raise DatasetError(f"{name}: there is no such model")
    try:
        lines = _sort(data.decode("utf-8", "replace"))
        materials: dict[str, _Material] = {}
        library = _member(read, name, lines.library)
        if library is not None:
            materials = _materials(library.decode("utf-8", "replace"))
        positions = _numbers(lines.positions, 3)
        coordinates = _numbers(lines.coordinates, 2)
        normals = _numbers(lines.normals, 3)
        corners = {m: _triangles(texts) for m, texts in lines.faces.items()}
        meshes = _vertices(positions, coordinates, normals, corners)
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{name}: not a Wavefront OBJ model: {error}") from error
    surfaces = []
    for material_name, (vertices, triangles) in meshes.items():
        material = materials.get(material_name, _Material())
        if material.opacity < INVISIBLE or not len(triangles):
            continue
        texture = _texture(_member(read, name, material.texture))
        colour = np.array(material.colour, np.float32)
        surfaces.append(Surface(vertices, triangles, colour, texture))
    return surfaces


def _sort(text: str) -> _Lines:
    lines = _Lines()
    into = {"v": lines.positions, "vt": lines.coordinates, "vn": lines.normals}
    into["f"] = lines.faces.setdefault("", [])
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(" ")
        if kind == "usemtl":
            into["f"] = lines.faces.setdefault(rest.strip(), [])
        elif kind == "mtllib":
            lines.library = rest.strip()
        elif kind in into:
            into[kind].append(rest)
    return lines


def _materials(text: str) -> dict[str, _Material]:
    materials: dict[str, _Material] = {}
    material = _Material()
    for line in text.splitlines():
        kind, _, rest = line.strip().partition(" ")
        if kind == "newmtl":
            material = materials.setdefault(rest.strip(), _Material())
        elif kind == "Kd":
            material.colour = tuple(min(max(float(v), 0.0), 1.0) for v in rest.split()[:3])
        elif kind == "d":
            material.opacity = float(rest.split()[-1])
        elif kind == "map_Kd":
            material.texture = rest.strip()
    return materials


def _member(read: ReadMember, model: str, reference: str) -> bytes | None:
    """A file that a model refers to: by its name beside the model, wherever its author had it."""
    base = posixpath.basename(reference.replace("\\", "/"))
    return read(posixpath.join(posixpath.dirname(model), base)) if base else None


def _texture(data: bytes | None) -> NDArray[np.uint8] | None:
    if not data:
        return None
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        return None
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    convert = cv2.COLOR_BGR2RGBA if image.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    side = (TEXTURE_SIZE, TEXTURE_SIZE)
    resized = cv2.resize(cv2.cvtColor(image, convert), side, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _numbers(lines: list[str], count: int) -> NDArray[np.float32]:
    """The first ``count`` numbers of every line, float32 [N, count]."""
    if not lines:
        return np.zeros((0, count), np.float32)
    rows = np.array([line.split()[:count] for line in lines], np.float32)
    if rows.shape != (len(lines), count):
        raise ValueError(f"expected {count} numbers for each vertex")
    if not np.isfinite(rows).all():
        raise ValueError("a coordinate is not finite")
    return rows


def _triangles(lines: list[str]) -> NDArray[np.int64]:
    """Faces as triangles, int64 [F, 3, 3]: position, texture coordinate and normal of each corner, from 0; -1: none."""
    groups: dict[tuple[int, int], list[str]] = {}
    for line in lines:
        corners = line.replace("//", "/0/").split()
        if len(corners) > 2:
            key = len(corners), corners[0].count("/")
            groups.setdefault(key, []).append(" ".join(corners).replace("/", " "))
    parts = [np.zeros((0, 3, 3), np.int64)]
    for (count, slashes), texts in groups.items():
        flat = np.array(" ".join(texts).split(), np.int64)
        faces = np.zeros((len(texts), count, 3), np.int64)
        faces[:, :, : slashes + 1] = flat.reshape(len(texts), count, slashes + 1)
        if (faces < 0).any():
            raise ValueError("faces with relative indices are not supported")
        # A fan around the first corner; models for drawing have convex faces.
        fan = [faces[:, [0, k, k + 1]] for k in range(1, count - 1)]
        parts.append(np.stack(fan, 1).reshape(-1, 3, 3))
    return np.concatenate(parts) - 1


def _vertices(
    positions: NDArray[np.float32],
    coordinates: NDArray[np.float32],
    normals: NDArray[np.float32],
    corners: dict[str, NDArray[np.int64]],
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.uint32]]]:
    """Vertices [V, 8] and triangles [F, 3] by material; equal corners become one vertex."""
    triangles = np.concatenate(list(corners.values()))
    if not len(triangles):
        raise ValueError("it has no faces")
    if triangles[:, :, 0].min() < 0:
        raise ValueError("a face without a position")
    points = positions[triangles[:, :, 0]]
    # Texture coordinate and normal 0 for corners without any.
    uv = np.concatenate((coordinates, np.zeros((1, 2), np.float32)))[triangles[:, :, 1]]
    own = np.concatenate((normals, np.zeros((1, 3), np.float32)))[triangles[:, :, 2]]
    lit = np.where((own != 0).any(2, keepdims=True), own, _smooth(points, triangles, positions))
    rows = np.concatenate((points, _units(lit), uv), axis=2).astype(np.float32)
    meshes = {}
    start = 0
    for material, faces in corners.items():
        block = np.ascontiguousarray(rows[start : start + len(faces)].reshape(-1, 8))
        start += len(faces)
        keys = block.view(np.dtype((np.void, block.itemsize * 8))).reshape(-1)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        meshes[material] = block[first], inverse.reshape(-1, 3).astype(np.uint32)
    return meshes


def _smooth(
    points: NDArray[np.float32], triangles: NDArray[np.int64], positions: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Normals [F, 3, 3]: the mean of the faces around a corner, the face's own at creases."""
    face = _units(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]))
    mean = np.zeros_like(positions)
    for corner in range(3):
        ahead = _units(points[:, (corner + 1) % 3] - points[:, corner])
        back = _units(points[:, (corner + 2) % 3] - points[:, corner])
        # Weighted by the angle at the corner, so that it does not matter how a face is cut into triangles.
        angle = np.arccos(np.clip((ahead * back).sum(1, keepdims=True), -1, 1))
        np.add.at(mean, triangles[:, corner, 0], angle * face)
    face = np.repeat(face[:, None], 3, 1)
    around = _units(mean)[triangles[:, :, 0]]
    smooth = (face * around).sum(2, keepdims=True) > CREASE
    return np.where(smooth, around, face)


def _units(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
