"""A small furniture catalogue as Sweet Home 3D keeps it: boxes instead of furniture."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

BOX = """mtllib box.mtl
v -1 0 -1
v 1 0 -1
v 1 0 1
v -1 0 1
v -1 2 -1
v 1 2 -1
v 1 2 1
v -1 2 1
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl paint
f 1/1 2/2 3/3 4/4
f 5/1 8/2 7/3 6/4
f 1/1 5/2 6/3 2/4
f 3/1 7/2 8/3 4/4
usemtl front
f 2/1 6/2 7/3 3/4
f 1/1 4/2 8/3 5/4
"""
PAINT = "newmtl paint\nKd 0.9 0.1 0.1\nnewmtl front\nKd 1 1 1\nmap_Kd {texture}\n"
BOXES = {
    "reallusion/female01": (50, 40, 170),
    "scopia/bus": (280, 1200, 300),
    "scopia/dog": (35, 80, 75),
    "scopia/cup": (12, 12, 7),
    "blendswap-cc-by/laptop": (34, 25, 27),
}
"""Names that the cast knows -> width, depth and height in centimetres."""


def texture() -> bytes:
    """A chess board, as PNG; its side is no power of two."""
    board = np.kron(np.indices((6, 6)).sum(0) % 2, np.ones((5, 5))).astype(np.uint8) * 255
    return bytes(cv2.imencode(".png", np.dstack((board, 255 - board, board)))[1])


def members(
    models: Mapping[str, tuple[float, float, float]] = BOXES, reference: str = "board.png"
) -> dict[str, bytes]:
    """The files of a catalogue of boxes."""
    files = {}
    rows = ["id=test"]
    for k, (name, (width, depth, height)) in enumerate(models.items(), 1):
        rows += [f"name#{k}=Box", f"model#{k}=/{name}/box.obj", f"width#{k}={width}"]
        rows += [f"depth#{k}={depth}", f"height#{k}={height}"]
        files[f"{name}/box.obj"] = BOX.encode()
        files[f"{name}/box.mtl"] = PAINT.format(texture=reference).encode()
        files[f"{name}/board.png"] = texture()
    files["PluginFurnitureCatalog.properties"] = "\n".join(rows).encode()
    return files


def packed(files: Mapping[str, bytes]) -> bytes:
    """A .sh3f file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def boxes(folder: Path) -> Path:
    """Saves a catalogue of boxes and returns it."""
    path = folder / "boxes.sh3f"
    path.write_bytes(packed(members()))
    return path


def debian(path: Path, catalogue: bytes) -> None:
    """Saves a Debian package with a catalogue in it."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:xz") as archive:
        for name, content in (("doc/readme.txt", b"text"), ("furniture/boxes.sh3f", catalogue)):
            entry = tarfile.TarInfo(f"./usr/share/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    package = b"!<arch>\n"
    for name, content in (
        ("debian-binary", b"2.0\n"),
        ("odd", b"123"),
        ("data.tar.xz", tar.getvalue()),
    ):
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        package += header.encode() + content + b"\n" * (len(content) % 2)
    path.write_bytes(package)
