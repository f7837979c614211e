"""Inputs by the million: lists, and folders with all below them, as streams of entries with names that stay."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from sipvideo.apps import flags
from sipvideo.apps.inputs import VIDEO_SUFFIXES, expand, is_video, safe
from sipvideo.errors import ConfigError, SourceError
from sipvideo.files import PICTURE_SUFFIXES, is_pattern, is_picture, natural
from sipvideo.jobs import LEDGER, Entry
from sipvideo.remote import (
    RemoteError,
    current,
    is_remote_listing,
    is_remote_pattern,
    listed,
    shown,
)
from sipvideo.summary import MARK, SUMMARY

KEYS: dict[str, Callable[[str], Any]] = {
    "from": flags.time,
    "to": flags.time,
    "every": flags.count,
    "max_frames": flags.count,
    "fps": flags.rate,
    "lookahead": flags.time,
    "save": flags.result_kinds,
    "classes": flags.words,
    "draw": lambda text: text.split(";"),
    "show_classes": flags.words,
    "labels": flags.labels,
    "trails": flags.trails,
    "background": str,
    "zones": str,
}
"""What a line may say beside its input and its name, and how: as the flags of the same names."""

LONGEST_LINE = 1 << 20
"""Bytes."""

Tell = Callable[[str], None]


def entries(args: argparse.Namespace, tell: Tell) -> Iterator[Entry]:
    """The inputs of a command line, in their order.

    Args:
        args: with ``found`` where they are few and have their names already.
        tell: gets notes, one line each.

    Raises:
        SipVideoError: the list cannot be read, or a line of it is wrong.
    """
    if args.found is not None:
        for single in args.found:
            yield Entry(single.text, single.name, note=single.note, fixed=True)
        return
    for text in args.inputs:
        yield from _of_word(text, args, tell)
    if args.list is not None:
        for where, line in read_lines(args.list):
            yield from _of_line(where, line, args, tell)


def check_list(path: str) -> None:
    """Reads a list to its end, so that what is wrong with it is told before anything is done.

    Raises:
        SipVideoError: it cannot be read, or a line of it is wrong.
    """
    for where, line in read_lines(path):
        _parsed(where, line)


def read_lines(path: str) -> Iterator[tuple[str, str]]:
    """Lines of a list that name something, each with its place; ``-`` is standard input.

    Raises:
        SourceError: it cannot be read, is no text, or has a line of a megabyte.
    """
    name = "standard input" if path == "-" else path
    try:
        # Not sys.stdin: a thread that waits for it would hold up the end of the program.
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                where = f"{name}:{number}"
                if len(line) > LONGEST_LINE:
                    raise SourceError(f"{where}: longer than a megabyte: not a list of inputs")
                text = line.decode("utf-8", "surrogateescape").strip("\r\n \t\ufeff")
                if "\0" in text:
                    raise SourceError(f"{where}: not a line of text")
                if text and not text.startswith("#"):
                    yield where, text
    except OSError as error:
        raise SourceError(f"{name}: cannot read the list: {error.strerror}") from error


def _parsed(where: str, line: str) -> tuple[str, str, dict[str, Any]]:
    """Input, name and options of a line."""
    if not line.startswith("{"):
        return line, "", {}
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not JSON: {error}") from error
    text, name = content.pop("input", None), content.pop("name", "")
    for key, value in (("input", text or None), ("name", name)):
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key}: expected a text, got {json.dumps(value)[:100]}")
    options = {key: _option(f"{where}: {key}", key, value) for key, value in content.items()}
    if "to" in options and options["to"] <= options.get("from", 0.0):
        raise ConfigError(f"{where}: to: expected a time after from, got {content['to']}")
    if name and (name != "/".join(map(safe, name.split("/")))):
        raise ConfigError(f"{where}: name: cannot be a folder's everywhere: {name!r}")
    return text, name, options


def _option(where: str, key: str, value: object) -> Any:
    """A setting, as the flag of the same name takes it."""
    if key not in KEYS:
        raise ConfigError(f"{where}: unknown; known: input, name, {', '.join(KEYS)}")
    separator = ";" if key == "draw" else ","
    if isinstance(value, list) and value and all(isinstance(one, (str, int)) for one in value):
        value = separator.join(map(str, value))
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ConfigError(f"{where}: expected a value as of --{key}, got {json.dumps(value)[:100]}")
    try:
        return KEYS[key](str(value))
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _of_line(where: str, line: str, args: argparse.Namespace, tell: Tell) -> Iterator[Entry]:
    text, name, options = _parsed(where, line)
    if name:
        yield Entry(text, name, options, problem=_missing(where, text))
    elif os.path.isdir(text) or is_pattern(text) or is_remote_listing(text):
        for entry in _of_word(text, args, tell):
            yield Entry(
                entry.input, entry.name + _part(options), options, entry.problem, entry.note
            )
    else:
        text = text if "://" in text else os.path.normpath(text)
        yield Entry(text, stable_name(text) + _part(options), options, _missing(where, text))


def _missing(where: str, text: str) -> str:
    gone = "://" not in text and not os.path.lexists(text) and not is_pattern(text)
    return f"{where}: {text}: no such file or folder" if gone else ""


def _part(options: dict[str, Any]) -> str:
    """Two parts of one input have names of their own."""
    names = [key for key in ("from", "to", "every", "max_frames") if key in options]
    return "".join(f"_{key.replace('_', '')}{options[key]:g}" for key in names)


def _of_word(text: str, args: argparse.Namespace, tell: Tell) -> Iterator[Entry]:
    """What a word stands for: a folder with ``--recursive`` for all below it."""
    if is_remote_listing(text):
        yield from _of_bucket(text, tell, recursive=args.recursive)
        return
    if args.recursive and os.path.isdir(text):
        root = Path(os.path.abspath(text)).parent
        output = None if args.output is None else os.path.realpath(args.output)
        yield from _walk(Path(text), root, output, tell, ())
        return
    for single in expand(text):
        yield Entry(single.text, stable_name(single.text), note=single.note)


def _of_bucket(text: str, tell: Tell, *, recursive: bool) -> Iterator[Entry]:
    """Videos of a folder or pattern in a bucket, as they are listed, then folders of pictures as sequences.

    Raises:
        SourceError: it cannot be listed.
    """
    pattern = is_remote_pattern(text)
    with_videos: set[str] = set()
    pictures: Counter[str] = Counter()
    patience = replace(current(), tell=tell)
    try:
        for one in listed(text, recursive=recursive, patience=patience):
            folder, _, name = one.address.rpartition("/")
            kind = PurePosixPath(name).suffix.lower()
            if kind in VIDEO_SUFFIXES:
                with_videos.add(folder)
                yield Entry(one.address, stable_name(one.address))
            elif kind in PICTURE_SUFFIXES:
                pictures[folder] += 1
    except RemoteError as error:
        raise SourceError(f"{shown(text)}: {error}") from error
    for folder, count in pictures.items():
        if pattern or folder not in with_videos:
            last = text.rpartition("/")[2].replace("**", "*")
            where = f"{folder}/{last if pattern else ''}"
            yield Entry(where, f"{stable_name(folder)}.pictures")
        else:
            tell(f"{count} pictures beside the videos of {folder} are left out")
    if not with_videos and not pictures:
        problem = f"{shown(text)}: no videos and no pictures there"
        yield Entry(text, stable_name(text), problem=problem)


def _walk(
    folder: Path, root: Path, output: str | None, tell: Tell, above: tuple[tuple[int, int], ...]
) -> Iterator[Entry]:
    """Videos of a folder and all below it, folders of pictures as sequences; neither results nor loops."""
    try:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        inside = sorted(folder.iterdir(), key=natural)
    except OSError as error:
        tell(f"{folder}: cannot be read: {error.strerror}: left out")
        return
    if here in above:
        tell(f"{folder}: a link back to a folder above it: left out")
        return
    if output is not None and os.path.realpath(folder) == output:
        tell(f"{folder}: the folder for the results is inside of the input: left out")
        return
    names = {path.name for path in inside}
    if names & {SUMMARY, MARK, LEDGER}:
        tell("folders with results of earlier runs are left out")
        return
    videos = [path for path in inside if is_video(path)]
    for path in videos:
        yield Entry(str(path), stable_name(str(path), root))
    if not videos and any(map(is_picture, inside)):
        # A name that no folder of videos can have.
        yield Entry(str(folder), f"{stable_name(str(folder), root)}.pictures")
    for path in inside:
        if path.is_dir() and not path.name.startswith("."):
            yield from _walk(path, root, output, tell, (*above, here))


def stable_name(text: str, root: Path | None = None) -> str:
    """The folder for an input's results, by its address alone, whatever else is listed.

    Args:
        text: a path, or an address.
        root: paths are told from here; by default from the current folder, those outside of it from their root.
    """
    if "://" in text:
        address = urlsplit(text)
        shown = f"{address.hostname or address.scheme}{address.path}"
        exact = not (address.query or address.fragment)
    else:
        path = os.path.abspath(text)
        base = os.path.abspath(root or os.curdir)
        below = path.startswith(base.rstrip(os.sep) + os.sep)
        shown = os.path.relpath(path, base) if below else os.path.splitdrive(path)[1]
        exact = True
    parts = [part for part in re.split(r"[/\\]" if os.name == "nt" else "/", shown) if part]
    made = [safe(part) for part in parts] or ["input"]
    if made != parts or not exact:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        made[-1] = f"{made[-1]}-{digest[:8]}"
    return "/".join(made)


def listing(args: argparse.Namespace, tell: Tell) -> Iterable[Entry]:
    """:func:`entries`, after a look at the whole list, where it is a file that can be read twice."""
    if args.list is not None and args.list != "-":
        check_list(args.list)
    return entries(args, tell)
