"""The folder of an exported model: whole under its name, or not there."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sipvideo.errors import SinkError
from sipvideo.postprocess.objects import FILE as OBJECTS_FILE

REPORT = "report.json"
REFUSED = "refused"
"""Suffix of the folder of an export that did not pass its check."""


class ExportFolder:
    """Writes under a hidden name beside the folder; :meth:`publish` gives it the right one.

    with ExportFolder(path) as folder:
        ...  # files go to folder.work
        folder.publish(good=True)

    Args:
        path: of the folder; an earlier export there is replaced.

    Raises:
        SinkError: something else is there, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not _replaceable(path):
            raise SinkError(
                f"{path}: exists already and is no exported model; choose another folder"
            )
        self.work = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> ExportFolder:
        with _writing(self.path):
            shutil.rmtree(self.work, ignore_errors=True)
            self.work.mkdir(parents=True)
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self.work, ignore_errors=True)

    def report(self, content: dict[str, Any]) -> None:
        """Writes ``report.json``."""
        with _writing(self.path):
            text = json.dumps(content, indent=2) + "\n"
            (self.work / REPORT).write_text(text, encoding="utf-8")

    def publish(self, *, good: bool) -> Path:
        """Gives the folder its name, or, where the export is not good, one that says so; returns its path."""
        target = self.path if good else self.path.with_name(f"{self.path.name}.{REFUSED}")
        with _writing(target):
            if target.exists():
                shutil.rmtree(target)
            self.work.rename(target)
        return target


def _replaceable(path: Path) -> bool:
    """Whether nothing but an earlier export, or nothing at all, would be lost."""
    if not path.name or not path.is_dir():
        return False
    return (path / OBJECTS_FILE).is_file() or not any(path.iterdir())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error
