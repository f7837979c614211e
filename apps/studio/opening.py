"""What somebody wants to look at, as a folder of runs: a video is segmented first, annotations become a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from sipvideo.apps import command
from sipvideo.errors import DatasetError, SinkError

SUFFIX = "-studio"
"""Added to the name of a video or of annotations: the folder of the run that is made of them."""
KINDS = "lines,appearance"
"""What is saved of a video that is segmented first."""


def opened(args: argparse.Namespace) -> tuple[Path | None, int]:
    """The folder of runs to open; None where making it failed or was ended, with the exit code.

    Raises:
        SipVideoError: there is nothing that can be opened.
    """
    from sipvideo.studio.shelf import places_in

    what = Path(args.what)
    if not what.exists():
        raise DatasetError(f"{what}: no such file or folder")
    if what.is_dir() and places_in(what):
        return what, 0
    folder = Path(f"{what.resolve().with_suffix('') if what.is_file() else what.resolve()}{SUFFIX}")
    if args.output is not None and not (args.save or args.to):
        folder = Path(args.output)
    kind = _annotations(what)
    if kind is not None:
        return _imported(args, what, kind, folder), 0
    code = _segmented(args, folder)
    return (folder, 0) if code == 0 else (None, code)


def _annotations(what: Path) -> str | None:
    """The format of another program, if it is one."""
    from sipvideo.exchange import recognised

    if what.is_file() and what.suffix.lower() not in (".json", ".xml", ".txt", ".zip"):
        return None
    if what.suffix.lower() == ".zip":
        return ""
    try:
        return recognised(what)
    except DatasetError:
        if what.is_file():
            raise
        return None


def _imported(args: argparse.Namespace, what: Path, kind: str, folder: Path) -> Path:
    """The run that is made of annotations; the one that was made before is gone on with."""
    import tempfile

    from sipvideo.studio.importing import import_run, unpacked
    from sipvideo.studio.shelf import places_in

    if folder.is_dir() and any(folder.iterdir()):
        if not places_in(folder):
            raise SinkError(f"{folder}: exists already and holds no results of ours")
        command.note(f"{folder}: goes on with the run that was made of {what} before")
        return folder
    with tempfile.TemporaryDirectory(prefix="sipvideo-") as name:
        inside = what
        if not kind:
            copy = Path(name) / what.name
            copy.write_bytes(what.read_bytes())
            inside = unpacked(copy, 1 << 34)
        notes = import_run(inside, folder, args.source or "", kind or None)
    for line in notes:
        command.note(line)
    command.note(f"{what}: is a run now: {folder}")
    return folder


def _segmented(args: argparse.Namespace, folder: Path) -> int:
    """Segments a video, or passes over it where that was done before with the same settings."""
    from sipvideo.apps import video
    from sipvideo.apps.video.run import run

    command.note(f"{args.what}: is segmented first, into {folder}")
    given = video.parse([args.what, "-o", str(folder), "--save", KINDS, "--resume"])
    for name in vars(given):
        if hasattr(args, name) and name not in ("output", "save"):
            setattr(given, name, getattr(args, name))
    return run(given, command.spec(given))
