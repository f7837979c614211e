"""Annotation and result files, opened and roughly checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sipvideo.errors import DatasetError

Json = dict[str, Any]
"""One object of a JSON file."""


def read_annotations(source: str | Path | Json) -> tuple[Json, str]:
    """An annotation file's content, and the name it has in errors.

    Raises:
        DatasetError: the file cannot be read, or is no JSON object.
    """
    if isinstance(source, dict):
        return source, "annotations"
    content = _load(Path(source))
    if not isinstance(content, dict):
        raise DatasetError(f"{source}: expected a JSON object, got {_kind(content)}")
    return content, str(source)


def read_results(source: str | Path | list[Json]) -> tuple[list[Json], str]:
    """A result file's content, and the name it has in errors.

    Raises:
        DatasetError: the file cannot be read, or is no JSON list of objects.
    """
    content, name = (
        (_load(Path(source)), str(source))
        if isinstance(source, str | Path)
        else (source, "results")
    )
    if not isinstance(content, list):
        raise DatasetError(f"{name}: expected a JSON list of results, got {_kind(content)}")
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, dict):
            raise DatasetError(
                f"{name}: result {number}: expected a JSON object, got {_kind(entry)}"
            )
    return content, name


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(
        type(value), f"a {type(value).__name__}"
    )


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot read the file: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path}: not valid JSON: {error}") from error
