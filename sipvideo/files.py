"""Files by their names: what counts as a picture, natural order, patterns such as ``seq/*/*.jpg``."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from sipvideo.remote import StoredFile

PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp", ".tif", ".tiff", ".avif"),
    *(".heic", ".heif", ".hif"),
)
"""What counts as a picture in a folder; HEIC does, so that whoever has such pictures is told that they are not read."""


def is_picture(path: Path) -> bool:
    """Whether a file counts as a picture, by its name."""
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in PICTURE_SUFFIXES and os.path.isfile(path)


def is_pattern(text: str) -> bool:
    """Whether a text names files by a pattern rather than being the name of one."""
    return glob.has_magic(text) and "://" not in text and not os.path.lexists(text)


def matches(pattern: str) -> list[Path]:
    """Files and folders that a pattern names, in natural order; ``**`` stands for any folders between.

    Brackets in the name of a folder or file that exists are part of the name, as in ``take [1]/*.jpg``; others stand
    for one of their characters.
    """
    found = glob.glob(_with_names(pattern), recursive=True)
    if not found:
        # Where nothing fits, the brackets may be meant literally beside other characters of the pattern.
        found = glob.glob(re.sub(r"\[", "[[]", pattern), recursive=True)
    return sorted({Path(path) for path in found}, key=natural)


def natural(path: StoredFile) -> tuple[list[list[tuple[int, int, str]]], str]:
    """Sort key in which frame2 comes before frame10; the plain name decides between 01 and 1."""
    return [_natural(part) for part in path.parts], str(path)


def _natural(text: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", text)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts if p]


def _with_names(pattern: str) -> str:
    """The pattern with the brackets of existing folders and files made literal."""
    parts: list[str] = []
    for part in pattern.split(os.sep):
        if "[" in part and not re.search(r"[*?]", part):
            name = os.sep.join([*parts, glob.escape(part)])
            if glob.glob(name, recursive=True):
                part = glob.escape(part)
        parts.append(part)
    return os.sep.join(parts)
