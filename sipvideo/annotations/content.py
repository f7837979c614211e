"""A whole annotation file: its lists, and the fields of everything in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sipvideo.annotations.fields import (
    ANNOTATION,
    CATEGORY,
    ENTRY,
    MAX_PIXELS,
    Json,
    Reader,
    identifier,
    in_reach,
    read_fields,
    shown,
)

Problem = Callable[[str, str, str], None]
"""Told a list's name, where in it something is wrong (``annotation 7``), and what."""
KINDS = {
    "categories": "category",
    "images": "picture",
    "videos": "video",
    "annotations": "annotation",
}
IDS = ("id", "image_id", "video_id", "category_id")


def _silent(name: str, where: str, what: str) -> None:
    """Tells nobody."""


def read_content(
    content: Json, problem: Problem, changed: Problem = _silent, *, published: bool = False
) -> Json:
    """An annotation file's content with all fields as they are meant (see :func:`read_fields`).

    Nothing is changed in place; what needs no change stays the same object. Whether something is missing, twice or
    unknown is for its readers to say.

    Args:
        content: as parsed.
        problem: told what cannot be read; what it lets pass is left out.
        changed: told fields whose type is another one than the published, read as they can only be meant.
        published: allow what the published evaluators do: ids that are any text, areas that are any number.
    """
    found = content
    for name, fields in (("categories", CATEGORY), ("images", ENTRY), ("videos", ENTRY)):
        found = _with(
            found, name, _items(found, name, _texts(fields, published), (problem, changed))
        )
    sizes = _sizes(found, problem)
    annotations = _items(found, "annotations", _texts(ANNOTATION, published), (problem, changed))
    for place, annotation in enumerate(annotations or ()):
        size = sizes.get(annotation.get("image_id", annotation.get("video_id")))
        if size is not None:
            where = place_of("annotations", place, annotation)
            in_reach(
                annotation,
                size,
                lambda field, what, where=where: problem(  # type: ignore[misc]
                    "annotations", where, f"{field}: {what}"
                ),
                areas=not published,
            )
    return _with(found, "annotations", annotations)


def place_of(name: str, place: int, item: Mapping[str, Any]) -> str:
    """What messages call an item of a list: by its id, without one by its place."""
    key = item.get("id")
    known = isinstance(key, int | str) and not isinstance(key, bool)
    return f"{KINDS[name]} {key!s:.40}" if known else f"{name}[{place}]"


def _texts(fields: Mapping[str, Reader], text_ids: bool) -> Mapping[str, Reader]:
    return {**fields, **{k: identifier for k in IDS if k in fields}} if text_ids else fields


def _with(content: Json, name: str, items: list[Json] | None) -> Json:
    return content if items is None or items is content.get(name) else {**content, name: items}


def _items(
    content: Json, name: str, fields: Mapping[str, Reader], told: tuple[Problem, Problem]
) -> list[Json] | None:
    problem, read_otherwise = told
    several = content.get(name)
    if several is None:
        return None
    if not isinstance(several, list):
        problem(name, name, f"expected a list of objects, got {shown(several)}")
        return []
    found, changed = [], False
    for place, item in enumerate(several):
        if not isinstance(item, dict):
            problem(name, f"{name}[{place}]", f"expected an object, got {shown(item)}")
            changed = True
            continue

        def complain(field: str, what: str, place: int = place, item: Json = item) -> None:
            problem(name, place_of(name, place, item), f"{field}: {what}")

        def tell(field: str, value: str, place: int = place, item: Json = item) -> None:
            read_otherwise(name, place_of(name, place, item), f"{field}: {value}")

        new = read_fields(item, fields, complain, tell)
        changed = changed or new is not item
        found.append(new)
    return found if changed else several


def _sizes(content: Json, problem: Problem) -> dict[Any, tuple[int, int]]:
    """(height, width) of every picture and video that says it."""
    sizes = {}
    for name in ("images", "videos"):
        for place, entry in enumerate(content.get(name) or ()):
            height, width = entry.get("height"), entry.get("width")
            if height and width and height * width >= MAX_PIXELS:
                where = place_of(name, place, entry)
                problem(name, where, f"width, height: no picture has {width} x {height} pixels")
            elif height and width:
                sizes[entry.get("id")] = (height, width)
    return sizes
