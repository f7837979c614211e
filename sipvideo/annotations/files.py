"""JSON files, parsed whatever is in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sipvideo.errors import DatasetError


def read_json(path: Path, what: str = "file") -> Any:
    """A JSON file's content; UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    NaN and Infinity, which are no JSON but are written by many, stay what they are: fields that want a number refuse
    them with their own name.

    Raises:
        DatasetError: it cannot be read, is no JSON, or has a key twice with different values, of which all but the
            last would be lost.
    """
    try:
        return json.loads(path.read_bytes(), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise DatasetError(f"{path}: cannot read the {what}: {error.strerror}") from error
    except RecursionError as error:
        raise DatasetError(f"{path}: not valid JSON: nested too deeply") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON: {error}") from error
    except MemoryError as error:
        raise DatasetError(f"{path}: too large for this machine's memory") from error


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        for key, value in pairs:
            # Not ==: values may be nested deeply, and NaN differs from itself.
            if found[key] is not value and repr(found[key])[:999] != repr(value)[:999]:
                raise ValueError(f"key {key!r:.60} is there twice in one object")
    return found
