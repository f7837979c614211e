"""Files as one zip, while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path


class _Pipe(io.RawIOBase):
    """Takes what a zip file writes, to be handed on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zipped(files: Sequence[Path], root: Path | None = None) -> Iterator[bytes]:
    """A zip file as it is made, a megabyte at a time.

    Args:
        files: what goes into it.
        root: folder to which their names in it are relative; None: they go without folders.
    """
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files:
            how = zipfile.ZIP_STORED if path.suffix == ".mp4" else zipfile.ZIP_DEFLATED
            entry = zipfile.ZipInfo.from_file(
                path, path.name if root is None else path.relative_to(root)
            )
            entry.compress_type = how
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while part := source.read(1 << 20):
                    target.write(part)
                    yield pipe.take()
    yield pipe.take()
