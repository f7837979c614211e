"""Files of a run that a kill at any moment leaves whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from sipvideo.errors import CheckpointError, SinkError
from sipvideo.training.recipe import Recipe


def write_state(path: Path, content: dict[str, Any]) -> None:
    """Writes a checkpoint; the former one of that name stays until the new one is on the disk.

    Raises:
        SinkError: it cannot be written; the former one is still there.
    """
    atomically(path, lambda file: torch.save(content, file))


def atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Fills a file under another name and renames it at the end.

    Raises:
        SinkError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        # PyTorch hides the disk's own words behind where it was in its file.
        cause = error if isinstance(error, OSError) else error.__context__
        reason = getattr(cause, "strerror", None) or str(error).splitlines()[0]
        kept = "; the one before is still there" if path.exists() else ""
        raise SinkError(f"{path}: cannot be written: {reason}{kept}") from error


def copy(source: Path, target: Path) -> None:
    """Copies a file atomically.

    Raises:
        SinkError: it cannot be written.
    """
    with open(source, "rb") as content:
        atomically(target, lambda file: shutil.copyfileobj(content, file))


def read_state(path: Path, settled: dict[str, Any]) -> dict[str, Any]:
    """Reads a checkpoint of a run with the same settings.

    Args:
        path: the file.
        settled: a recipe's settled values, and "data": what must be the same.

    Raises:
        CheckpointError: damaged, or of a run with other settings, which are named.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        data = content["settings"].pop("data", settled["data"])
        # What earlier versions did not note has its default.
        former = {**Recipe.model_validate(content["settings"]).settled(), "data": data}
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: cannot go on from it: {reason}") from error
    if different := _different(settled, former):
        raise CheckpointError(
            f"{path}: belongs to a run with other settings ({', '.join(different)});"
            " use another folder"
        )
    return content


def _different(now: Any, former: Any, name: str = "") -> list[str]:
    """Dotted names of the values that differ."""
    if isinstance(now, dict) and isinstance(former, dict):
        keys = sorted(now.keys() | former.keys())
        found = (_different(now.get(k), former.get(k), f"{name}.{k}" if name else k) for k in keys)
        return [one for names in found for one in names]
    return [] if now == former else [name]
