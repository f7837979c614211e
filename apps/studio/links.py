"""Links of people: each has a token of its own, which stays the same the next time."""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sipvideo.errors import SinkError

if TYPE_CHECKING:
    from sipvideo.web.settings import Person

FILE = "links.json"
"""In the studio's hidden folder; read by its owner alone."""


def add_flags(group: argparse._ActionsContainer) -> None:
    """--invite and --viewer."""
    group.add_argument(
        "--invite",
        action="append",
        default=[],
        type=_invitation,
        metavar="NAME[:FIRST-LAST]",
        help="a link for somebody who may edit, with a name for the log; only in frames FIRST to LAST; may be repeated",
    )
    group.add_argument(
        "--viewer",
        action="append",
        default=[],
        type=_viewer,
        metavar="NAME",
        help="a link for somebody who may only look; may be repeated",
    )


def _invitation(text: str) -> tuple[str, tuple[int, int] | None]:
    found = re.fullmatch(r"([^:]{1,100})(?::(\d{1,9})-(\d{1,9}))?", text)
    if found is None or not found[1].strip() or (found[2] and int(found[2]) > int(found[3])):
        raise argparse.ArgumentTypeError(f"expected NAME or NAME:FIRST-LAST, got {text!r}")
    return found[1].strip(), (int(found[2]), int(found[3])) if found[2] else None


def _viewer(text: str) -> str:
    if not text.strip() or len(text) > 100:
        raise argparse.ArgumentTypeError(f"expected a name, got {text!r}")
    return text.strip()


def owner(name: str) -> Person:
    """Whoever started the studio."""
    from sipvideo.web.settings import Person

    return Person(name)


def people(args: argparse.Namespace, folder: Path) -> dict[str, Person]:
    """Those who are invited, by their tokens.

    Raises:
        SinkError: the tokens cannot be kept.
    """
    from sipvideo.web.settings import Person

    wanted = [Person(name, frames=frames) for name, frames in args.invite]
    wanted += [Person(name, edits=False) for name in args.viewer]
    if not wanted:
        return {}
    path = folder / ".studio" / FILE
    kept = _read(path)
    found = {}
    for person in wanted:
        key = ("edit " if person.edits else "look ") + person.name
        kept.setdefault(key, secrets.token_urlsafe(16))
        found[kept[key]] = person
    _write(path, kept)
    return found


def tell(people: Mapping[str, Person], page: str) -> None:
    """Prints the links."""
    for token, person in people.items():
        may = "looks" if not person.edits else "edits"
        if person.frames is not None:
            may += f" frames {person.frames[0]} to {person.frames[1]}"
        print(f"sipvideo: {person.name} {may}: {page}{'&' if '?' in page else '?'}token={token}")


def _read(path: Path) -> dict[str, str]:
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str) and len(v) >= 16}


def _write(path: Path, kept: Mapping[str, str]) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error
