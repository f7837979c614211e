"""Annotation and result files, opened, their fields read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sipvideo.annotations import RESULT, Json, identifier, number, read_content, read_fields
from sipvideo.annotations import read_json as _parsed
from sipvideo.errors import DatasetError

__all__ = ["Json", "read_annotations", "read_results"]


def read_annotations(source: str | Path | Json, name: str = "annotations") -> tuple[Json, str]:
    """An annotation file's content, and the name it has in errors.

    Args:
        source: path or content; the content is not changed.
        name: of content in errors.

    Raises:
        DatasetError: the file cannot be read, is no JSON object, or has a field that is not what it should be.
    """
    if isinstance(source, dict):
        content = source
    else:
        name, content = str(source), _parsed(Path(source))
    if not isinstance(content, dict):
        raise DatasetError(f"{name}: expected a JSON object, got {_kind(content)}")

    def refuse(_: str, where: str, what: str) -> None:
        raise DatasetError(f"{name}: {where}: {what}")

    return read_content(content, refuse, published=True), name


def read_results(source: str | Path | list[Json]) -> tuple[list[Json], str]:
    """A result file's content, and the name it has in errors.

    Raises:
        DatasetError: the file cannot be read, is no JSON list of objects, or has a field that is not what it should be.
    """
    content, name = (
        (_parsed(Path(source)), str(source))
        if isinstance(source, str | Path)
        else (source, "results")
    )
    if not isinstance(content, list):
        raise DatasetError(f"{name}: expected a JSON list of results, got {_kind(content)}")
    found = []
    for place, entry in enumerate(content, 1):
        if not isinstance(entry, dict):
            raise DatasetError(
                f"{name}: result {place}: expected a JSON object, got {_kind(entry)}"
            )
        found.append(_result(entry, place, name))
    return found, name


def _score(value: Any) -> float:
    """A number; whether one that is not finite counts is for the mode to say."""
    return value if isinstance(value, float) else number(value)


_FIELDS: Mapping[str, Any] = {
    **RESULT,
    **dict.fromkeys(("image_id", "video_id", "category_id"), identifier),
    **dict.fromkeys(("score", "mask_score"), _score),
}


def _result(entry: Json, place: int, name: str) -> Json:
    what = f"track {place}" if "video_id" in entry else f"result {place}"
    if isinstance(key := entry.get("video_id"), int | str) and not isinstance(key, bool):
        what += f" (video {key!s:.40})"

    def refuse(field: str, why: str) -> None:
        raise DatasetError(f"{name}: {what}: {field}: {why}")

    return read_fields(entry, _FIELDS, refuse)


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a text", type(None): "null"}.get(
        type(value), f"a {type(value).__name__}"
    )
