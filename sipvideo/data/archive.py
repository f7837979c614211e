"""Pictures inside a tar or zip file, read one by one."""

from __future__ import annotations

import tarfile
import threading
import zipfile
from collections.abc import Iterable
from pathlib import Path

from sipvideo.errors import DatasetError

MAX_BYTES = 1 << 29
"""Of one picture, unpacked."""
UTF8 = 0x800  # the flag of a zip entry whose name is UTF-8


class Archive:
    """An uncompressed tar file, or a zip file.

    Args:
        path: of the file.
        example: name of one picture. It may lie deeper in the archive; the same path then stands before all names.

    Raises:
        DatasetError: it is no such file.
    """

    def __init__(self, path: Path, example: str) -> None:
        self.path, self._example = path, example
        self._lock = threading.Lock()
        self._zip: zipfile.ZipFile | None = None
        try:
            if zipfile.is_zipfile(path):
                self._zip = zipfile.ZipFile(path)
                found = {
                    name: (info.filename, 0, info.file_size)
                    for info in self._zip.infolist()
                    for name in _names(info)
                }
            else:
                with tarfile.open(path, "r:") as archive:
                    found = {
                        m.name.removeprefix("./"): (m.name, m.offset_data, m.size)
                        for m in archive
                        if m.isreg()
                    }
        except Exception as error:  # a damaged archive makes the readers raise nearly anything
            raise DatasetError(
                f"{path}: expected a folder, an uncompressed tar file or a zip file ({error})"
            ) from error
        prefix = next(
            (n.removesuffix(example) for n in found if f"/{n}".endswith(f"/{example}")), ""
        )
        self._parts = {n.removeprefix(prefix): p for n, p in found.items() if n.startswith(prefix)}

    def __reduce__(self) -> tuple[type[Archive], tuple[Path, str]]:
        """Another process opens the file anew."""
        return Archive, (self.path, self._example)

    def names(self) -> Iterable[str]:
        """The names of all files in it."""
        return self._parts

    def read(self, name: str) -> bytes:
        """The bytes of one of the files.

        Raises:
            OSError: it cannot be read, or is too large for a picture.
        """
        actual, start, length = self._parts[name]
        if length > MAX_BYTES:
            raise OSError(f"{length} bytes are too many for a picture")
        if self._zip is None:
            with open(self.path, "rb") as file:
                file.seek(start)
                return file.read(length)
        try:
            with self._lock:
                return self._zip.read(actual)
        except Exception as error:  # damaged, encrypted, packed by an unknown method...
            raise OSError(f"cannot be unpacked from {self.path.name}: {error}") from error


def _names(info: zipfile.ZipInfo) -> Iterable[str]:
    """The name of an entry, and what it is if UTF-8 was written without saying so, as some systems do."""
    yield info.filename
    if not info.flag_bits & UTF8 and not info.filename.isascii():
        try:
            yield info.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            return
