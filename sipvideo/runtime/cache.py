"""Converted networks that are kept between runs, in the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path

VARIABLE = "SIPVIDEO_CACHE"
"""Environment variable: another folder, or "off"."""
LIMIT = 2 * 1024**3
"""Bytes; the longest unused entries go first."""
_SUFFIX = ".network"
_DIGEST = hashlib.sha256().digest_size


def default_folder() -> Path | None:
    """Where entries are kept; None: nowhere."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        return None if chosen.lower() in ("", "0", "off", "no") else Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with contextlib.suppress(RuntimeError):  # an account without a home
        return Path(base).expanduser() / "sipvideo"
    return None


class Cache:
    """Bytes by key. Never fails: where nothing can be kept, nothing is.

    Every entry is one file that begins with the digest of the rest, so that a damaged one is noticed.

    Args:
        folder: where entries are kept; by default :func:`default_folder`.
        limit: of all entries together, in bytes.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or default_folder()
        self.limit = limit

    def get(self, key: str) -> bytes | None:
        """The content of an entry; None if there is none or it is damaged."""
        if self.folder is None:
            return None
        path = self.folder / f"{key}{_SUFFIX}"
        try:
            data = path.read_bytes()
            content = data[_DIGEST:]
            if hashlib.sha256(content).digest() == data[:_DIGEST]:
                with contextlib.suppress(OSError):  # a cache that may only be read
                    path.touch()  # its time is when it was used last
                return content
            path.unlink()
        except OSError:
            pass
        return None

    def put(self, key: str, content: bytes) -> None:
        """Keeps an entry, and drops the longest unused ones beyond the limit."""
        if self.folder is None or len(content) > self.limit:
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor, partial = tempfile.mkstemp(prefix=".", dir=self.folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(content).digest())
                    file.write(content)
                os.replace(partial, self.folder / f"{key}{_SUFFIX}")
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(partial)
            self._shrink()

    def _shrink(self) -> None:
        assert self.folder is not None
        found = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):  # another process may have dropped it just now
                stat = path.stat()
                found.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size
