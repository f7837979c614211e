"""What a person names on the command line, as single videos and picture sequences with a name for each."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
"""Which files of a folder are videos; a file that is named itself may have any suffix."""


@dataclass(frozen=True)
class Input:
    """One video or sequence.

    Attributes:
        text: for :func:`sipvideo.sources.open_source`.
        name: of its results; different for every input, also where file names do not tell case apart.
    """

    text: str
    name: str


def find_inputs(texts: Iterable[str]) -> list[Input]:
    """Every input once, in the order given.

    A folder stands for the videos in it, or, where it has none, for the sequence of its pictures; a pattern for
    the videos that match it, or the sequence of matching pictures. Everything else is one input, whether it
    exists or not: opening it tells.
    """
    found: dict[str, str] = {}
    for text in texts:
        for single in _expand(text):
            found.setdefault(single if "://" in single else os.path.abspath(single), single)
    taken: set[str] = set()
    inputs = []
    for single in found.values():
        stem = _stem(single)
        name, number = stem, 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        inputs.append(Input(single, name))
    return inputs


def _expand(text: str) -> list[str]:
    if os.path.isdir(text):
        with contextlib.suppress(OSError):
            return _videos(Path(text).iterdir()) or [text]
    elif glob.has_magic(text) and "://" not in text and not os.path.exists(text):
        return _videos(map(Path, glob.glob(text, recursive=True))) or [text]
    return [text]


def _videos(paths: Iterable[Path]) -> list[str]:
    found = [p for p in paths if p.suffix.lower() in VIDEO_SUFFIXES and os.path.isfile(p)]
    return [str(p) for p in sorted(found, key=_natural) if not p.name.startswith(".")]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts 2 before 10."""
    return [(int(part or 0), rest) for part, rest in re.findall(r"(\d*)(\D+|$)", str(path))]


def _stem(text: str) -> str:
    """Name of the results: the file's or folder's own, a pattern's folder, an address made fit for a file name."""
    if "://" in text:
        address = urlsplit(text)
        shown = f"{address.hostname or address.scheme}{address.path}"
        return re.sub(r"[^\w.-]+", "_", shown).strip("._")
    path = Path(os.path.abspath(text))
    if os.path.exists(path):
        name = path.name if os.path.isdir(path) else path.stem
    else:
        name = path.parent.name if glob.has_magic(path.name) else path.stem
    return name or "input"
