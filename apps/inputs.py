"""What a person names on the command line, as single videos and picture sequences with a name for each."""

from __future__ import annotations

import glob
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from sipvideo.files import is_pattern, is_picture, matches, natural

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg"),
    *(".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
)
"""Which files of a folder are videos; a file that is named itself may have any suffix."""

LONGEST_NAME = 200
"""Bytes; file systems take 255, and something may have to be added."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
"""Names that Windows keeps for devices."""


@dataclass(frozen=True)
class Input:
    """One video or sequence.

    Attributes:
        text: for :func:`sipvideo.sources.open_source`.
        name: of its results; different for every input, also where file names do not tell case apart.
        note: what was left out when it was chosen, if anything.
    """

    text: str
    name: str
    note: str = ""


def find_inputs(texts: Iterable[str]) -> list[Input]:
    """Every input once, in the order given.

    A folder stands for the videos in it, or, where it has none, for the sequence of its pictures; a pattern for
    the videos that match it, a sequence of the matching pictures in each folder, and what matching folders stand
    for. Everything else is one input, whether it exists or not: opening it tells.
    """
    found: dict[str, Input] = {}
    for text in texts:
        for single in expand(text):
            where = single.text if "://" in single.text else os.path.abspath(single.text)
            found.setdefault(where, single)
    taken: set[str] = set()
    inputs = []
    for single in found.values():
        name, number = single.name, 2
        while name.casefold() in taken:
            name, number = f"{single.name}-{number}", number + 1
        taken.add(name.casefold())
        inputs.append(replace(single, name=name))
    return inputs


def expand(text: str) -> list[Input]:
    """What one word of the command line stands for."""
    if os.path.isdir(text):
        return _of_folder(text)
    if is_pattern(text):
        return _of_pattern(text) or [Input(text, _stem(text))]
    return [Input(text, _stem(text))]


def _of_folder(text: str) -> list[Input]:
    try:
        files = list(Path(text).iterdir())
    except OSError:
        return [Input(text, _stem(text))]
    videos = _videos(files)
    if not videos:
        return [Input(text, _stem(text))]
    others = sum(map(is_picture, files))
    note = f"{others} pictures beside the videos of {text} are left out" if others else ""
    first, *more = videos
    return [replace(first, note=note), *more]


def _of_pattern(text: str) -> list[Input]:
    """Its videos, the pictures that it names in each folder, and what the folders hold that it names."""
    paths = [path for path in matches(text) if not path.name.startswith(".")]
    last = os.path.basename(text)
    folders = [] if last == "**" else [path for path in paths if path.is_dir()]
    sequences: dict[Path, Input] = {}
    for path in paths:
        if is_picture(path) and path.parent not in sequences:
            folder = str(path.parent)
            if re.search(r"[*?]", folder):
                folder = glob.escape(folder)
            where = os.path.normpath(os.path.join(folder, "*" if last == "**" else last))
            sequences[path.parent] = Input(where, safe(_folder_name(path.parent)))
    found = [*_videos(paths), *sequences.values()]
    for folder_path in folders:
        inside = _of_folder(str(folder_path))
        holds = inside[0].text != str(folder_path) or any(map(is_picture, folder_path.iterdir()))
        found += inside if holds else []
    # Named by their ending alone, files may be anything that can be opened.
    named = last.startswith("*.") and not found
    return found or [Input(str(p), _stem(str(p))) for p in paths if named and p.is_file()]


def _videos(paths: Iterable[Path]) -> list[Input]:
    shown = [str(p) for p in sorted(filter(is_video, paths), key=natural)]
    return [Input(text, _stem(text)) for text in shown]


def is_video(path: Path) -> bool:
    """Whether a file of a folder counts as a video, by its name."""
    hidden = path.name.startswith(".")
    return not hidden and path.suffix.lower() in VIDEO_SUFFIXES and os.path.isfile(path)


def _stem(text: str) -> str:
    """Name of the results: the file's or folder's own, a pattern's folder, an address made fit for a file name."""
    if "://" in text:
        address = urlsplit(text)
        shown = f"{address.hostname or address.scheme}{address.path}"
        return safe(re.sub(r"[^\w.-]+", "_", shown).strip("._"))
    path = Path(os.path.abspath(text))
    if os.path.exists(path):
        name = _folder_name(path) if os.path.isdir(path) else path.stem
    else:
        name = path.parent.name if glob.has_magic(path.name) else path.stem
    return safe(name)


def _folder_name(path: Path) -> str:
    return Path(os.path.abspath(path)).name


def safe(name: str) -> str:
    """A name that every shell and file system takes: composed letters, nothing that means something, not too long."""
    composed = unicodedata.normalize("NFC", name)
    kept = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+', "_", composed)
    kept = kept.lstrip("-~. ")
    if RESERVED.match(kept):
        kept = f"_{kept}"
    short = kept.encode()[:LONGEST_NAME].decode(errors="ignore")
    return short.rstrip(". ") or "input"
