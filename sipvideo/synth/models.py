"""Finds and reads the 3D models of Debian's package sweethome3d-furniture."""

from __future__ import annotations

import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.synth.wavefront import Surface, read_model

DEBIAN = Path("/usr/share/sweethome3d/furniture")
"""Where Debian installs the models."""
INSTALL = (
    "3D scenes need models: apt-get install sweethome3d-furniture, or give its .deb, or a folder with it, "
    "with --models"
)
CATALOGUE = "PluginFurnitureCatalog.properties"
ARCHIVES = (".sh3f", ".jar", ".zip")
LARGEST_MEMBER = 64 << 20
"""Bytes of a model or texture, unpacked; larger members are refused."""


@dataclass(frozen=True)
class _Entry:
    archive: zipfile.ZipFile
    path: str
    size: tuple[float, float, float]
    rotation: NDArray[np.float64]


class ModelLibrary:
    """Models by name: their folder inside their catalogue, such as ``scopia/bus``.

    Args:
        place: a catalogue (.sh3f, .jar, .zip), the .deb, or a folder with any of them at any depth; by default
            where Debian installs them.

    Attributes:
        names: the models, sorted.

    Raises:
        DatasetError: nothing there, with a line that says what to install; or a damaged file.
    """

    def __init__(self, place: str | Path | None = None) -> None:
        self._entries: dict[str, _Entry] = {}
        self._surfaces: dict[str, list[Surface]] = {}
        root = DEBIAN if place is None else Path(place)
        if not root.exists():
            raise DatasetError(INSTALL if place is None else f"{root}: not found. {INSTALL}")
        for archive in _archives(root):
            self._entries.update(_catalogue(archive))
        if not self._entries:
            raise DatasetError(f"{root}: no furniture catalogue in it. {INSTALL}")
        self.names = tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def size(self, name: str) -> tuple[float, float, float]:
        """Width, depth and height in metres as the catalogue says them; the depth is from front to back."""
        return self._entries[name].size

    def surfaces(self, name: str) -> list[Surface]:
        """A model in metres, looking along y, z up, on the ground z = 0 and centred above the origin.

        Raises:
            DatasetError: the model's files are damaged.
        """
        if name not in self._surfaces:
            entry = self._entries[name]
            archive = entry.archive
            try:
                raw = read_model(lambda member: _read(archive, member), entry.path)
            except DatasetError as error:
                raise DatasetError(f"{archive.filename}: {error}") from error
            self._surfaces[name] = _upright(raw, entry)
        return self._surfaces[name]


def _archives(root: Path) -> Iterator[zipfile.ZipFile]:
    if root.is_dir():
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix in (".deb", *ARCHIVES):
                yield from _opened(path)
    elif root.suffix in (".deb", *ARCHIVES):
        yield from _opened(root)
    else:
        raise DatasetError(f"{root}: expected .deb, {', '.join(ARCHIVES)} or a folder with any")


def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if path.suffix == ".deb":
            yield from [_zip(io.BytesIO(data), name) for name, data in _unpacked(path)]
        else:
            yield _zip(path, str(path))
    except (OSError, zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read as an archive: {error}") from error


def _zip(file: Path | io.BytesIO, name: str) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(file)
    archive.filename = name
    return archive


def _unpacked(path: Path) -> Iterator[tuple[str, bytes]]:
    """The furniture catalogues inside a Debian package: an ar archive around a compressed tar."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise ValueError("it is no Debian package")
        while header := file.read(60):
            name, length = header[:16].decode("ascii").strip(), int(header[48:58])
            if name.startswith("data.tar"):
                content = io.BytesIO(file.read(length))
                with tarfile.open(fileobj=content) as tar:
                    for member in tar:
                        stream = tar.extractfile(member) if member.isfile() else None
                        if stream is not None and member.name.endswith(ARCHIVES):
                            yield f"{path}:{member.name}", stream.read()
                return
            file.seek(length + length % 2, io.SEEK_CUR)


def _catalogue(archive: zipfile.ZipFile) -> Iterator[tuple[str, _Entry]]:
    """The models that an archive's catalogue lists; none where it has no catalogue."""
    text = _read(archive, CATALOGUE)
    if text is None:
        return
    rows: dict[str, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text.decode("latin-1"), re.M):
        rows.setdefault(number, {})[key] = value.strip()
    for number, row in rows.items():
        try:
            width, depth, height = (float(row[k]) / 100 for k in ("width", "depth", "height"))
            turn = [float(v) for v in row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]
            path = row["model"].lstrip("/")
            rotation = np.array(turn).reshape(3, 3)
        except (KeyError, ValueError) as error:
            raise DatasetError(
                f"{archive.filename}: model {number} of its catalogue is damaged: {error}"
            ) from error
        if min(width, depth, height) > 0:
            entry = _Entry(archive, path, (width, depth, height), rotation)
            yield path.rpartition("/")[0], entry


def _read(archive: zipfile.ZipFile, member: str) -> bytes | None:
    """A member of the archive, by its exact name there; None where there is none."""
    try:
        information = archive.getinfo(member)
    except KeyError:
        return None
    if information.file_size > LARGEST_MEMBER:
        raise DatasetError(f"{member}: larger than {LARGEST_MEMBER >> 20} MB")
    try:
        return archive.read(information)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise DatasetError(f"{member}: cannot be unpacked: {error}") from error


def _upright(raw: list[Surface], entry: _Entry) -> list[Surface]:
    """From the catalogue's frame (y up, looking along z, any unit) to ours."""
    # A half turn about the vertical joins y forward, z up to z forward, y up.
    turn = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]) @ entry.rotation
    moved = [(s.vertices[:, :3] @ turn.T, s.vertices[:, 3:6] @ turn.T) for s in raw]
    points = np.concatenate([p for p, _ in moved] or [np.zeros((1, 3))])
    low, high = points.min(0), points.max(0)
    width, depth, height = entry.size
    scale = np.array((width, depth, height)) / np.maximum(high - low, 1e-9)
    origin = np.array(((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]))
    upright = []
    for surface, (position, normal) in zip(raw, moved, strict=True):
        vertices = np.concatenate(
            ((position - origin) * scale, normal, surface.vertices[:, 6:]), axis=1
        )
        upright.append(
            Surface(vertices.astype(np.float32), surface.triangles, surface.colour, surface.texture)
        )
    return upright
