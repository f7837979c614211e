"""Names of pictures in annotation files, written on another system than the one they are read on.

A name that fits no file as it is may mean one all the same: with backslashes, a drive letter or the path of another
machine before it, in another of Unicode's forms, with spaces as ``%20``, in other upper and lower case. It is taken so
where it then fits exactly one file, and no other name means that file too.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize
from urllib.parse import unquote, urlsplit

MAX_FILES = 500_000
"""That are looked at for a name; a folder with more is hardly one of pictures."""


class FileNames:
    """Which file a name means. Safe for threads.

    Args:
        listing: the names of all files, parted by slashes; asked for once, and only if a name fits none.
        exists: whether a file has exactly this name; by default it is one of those listed.
    """

    def __init__(
        self, listing: Callable[[], Iterable[str]], exists: Callable[[str], bool] | None = None
    ) -> None:
        self._listing = listing
        self._exists = exists if exists is not None else set(listing()).__contains__
        self._lock = threading.Lock()
        self._keyed: list[dict[str, set[str]]] | None = None
        self._known: dict[str, str] = {}
        self._meant_by: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For another process: all but the lock."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def find(self, name: str) -> str:
        """The name of the file that is meant.

        Raises:
            LookupError: there is none, or more than one.
        """
        if self._exists(name):
            return name
        with self._lock:
            if name not in self._known:
                actual = self._search(name)
                other = self._meant_by.setdefault(actual, name)
                if other != name:
                    raise LookupError(f"{other} seems to mean the same file, {actual}")
                self._known[name] = actual
            return self._known[name]

    def _search(self, name: str) -> str:
        if self._keyed is None:
            files = list(self._listing())
            self._keyed = [_by_key(files, key) for key in KEYS]
        for key, keyed in zip(KEYS, self._keyed, strict=True):
            for tail in _tails(name):
                found = keyed.get(key(tail), set())
                if len(found) > 1:
                    several = ", ".join(sorted(found)[:3])
                    raise LookupError(f"several files could be meant: {several}")
                if found:
                    return next(iter(found))
        raise LookupError("no such file")


def listed(folder: Path) -> Iterator[str]:
    """The names of all files in a folder and those below it, parted by slashes."""
    count = 0
    for where, _, names in os.walk(folder):
        inside = os.path.relpath(where, folder).replace(os.sep, "/")
        for name in names:
            count += 1
            if count > MAX_FILES:
                return
            yield name if inside == "." else f"{inside}/{name}"


def _tails(name: str) -> Iterator[str]:
    """The name with slashes; of an absolute path or an address also its ends, the longest first."""
    plain = name
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        try:
            plain = urlsplit(name).path
        except ValueError:
            return
    plain = plain.replace("\\", "/")
    drive = re.match(r"[a-z]:", plain, re.IGNORECASE)
    parts = [part for part in plain[2 * bool(drive) :].split("/") if part not in ("", ".")]
    elsewhere = bool(drive) or plain.startswith("/")
    for first in range(len(parts) if elsewhere else min(1, len(parts))):
        yield "/".join(parts[first:])


def _composed(name: str) -> str:
    return normalize("NFC", name)


def _unquoted(name: str) -> str:
    return normalize("NFC", unquote(name))


def _folded(name: str) -> str:
    return normalize("NFC", normalize("NFC", unquote(name)).casefold())


KEYS = (_composed, _unquoted, _folded)
"""What may differ between a name and its file, ever more of it."""


def _by_key(files: Iterable[str], key: Callable[[str], str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name in files:
        found.setdefault(key(name), set()).add(name)
    return found
