"""The fields of annotation and result files: their types and limits, in one place for all who read them.

Many programs write such files, and not all write the types of the published ones: numbers as texts, ids as ``3.0``,
``"0"`` for false. Where only one thing can be meant it is read so; everything else is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

Json = dict[str, Any]
"""One object of a JSON file."""
Size = tuple[int, int]
Reader = Callable[[Any], Any]
Complaint = Callable[[str, str], None]

MAX_PIXELS = 1 << 29
"""Of a picture, exclusive: run lengths of masks are counted in 32 bits."""
MAX_SIDE, MAX_ID, MAX_LENGTH = 1 << 17, 1 << 62, 10**6
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)
FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}
ABSENT = object()
"""What a field gives that is there but says nothing: null, or an empty box."""


def shown(value: Any) -> str:
    """A value for an error message: short, as JSON has it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) >= 10**20:
        return (
            f"a number of {len(str(value)) if value.bit_length() < 9999 else 'thousands of'} digits"
        )
    return f"{value!r:.60}"


def number(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: it is none.
    """
    if type(value) is float or type(value) is int:
        found = value
    elif isinstance(value, np.number | int) and not isinstance(value, bool):
        found = value.item() if isinstance(value, np.number) else int(value)
    elif isinstance(value, str) and len(value) < 400 and NUMBER.fullmatch(value.strip()):
        found = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
    else:
        raise ValueError(f"expected a number, got {shown(value)}")
    try:
        if math.isfinite(found):
            return found
    except OverflowError:
        pass
    raise ValueError(f"expected a finite number, got {shown(value)}")


def whole(value: Any, least: int = 1 - MAX_ID, below: int = MAX_ID) -> int:
    """A whole number from ``least`` to less than ``below``; also written as text or with a fraction of 0.

    Raises:
        ValueError: it is none.
    """
    try:
        found = number(value)
    except ValueError as error:
        what = f"expected a whole number, got {shown(value)}"
        raise ValueError(what) from error
    if type(found) is not int:
        if not found.is_integer():
            raise ValueError(f"expected a whole number, got {shown(value)}")
        found = int(found)
    if not least <= found < below:
        limits = f"from {least} to {below - 1}" if least > 1 - MAX_ID else f"below {below:.0e}"
        raise ValueError(f"expected a whole number {limits}, got {shown(value)}")
    return found


def _side(value: Any) -> int:
    return whole(value, 1, MAX_SIDE)


def _length(value: Any) -> Any:
    return ABSENT if value is None else whole(value, 1, MAX_LENGTH)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a text, got {shown(value)}")
    return value


def _name(value: Any) -> str:
    """Of a category: a text, or a number that stands for one."""
    return str(value) if type(value) is int else _text(value)


def _split(value: Any) -> Any:
    return ABSENT if value is None else _name(value)


def _flag(value: Any) -> Any:
    if value is None:
        return ABSENT
    if type(value) is int and value in (0, 1):
        return value
    if isinstance(value, bool) or (isinstance(value, float | np.number) and value in (0, 1)):
        return int(value)
    found = FLAGS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"expected 0 or 1, got {shown(value)}")
    return found


def identifier(value: Any) -> int | str:
    """An id that may be any text; one that is a number is that number.

    Raises:
        ValueError: it is none.
    """
    if isinstance(value, str) and value and not NUMBER.fullmatch(value.strip()):
        return value
    return whole(value)


def _category(value: Any) -> Any:
    return None if value is None else whole(value)


def _area(value: Any) -> Any:
    if value is None:
        return ABSENT
    found = number(value)
    if found < 0:
        raise ValueError(f"expected a number of pixels, got {shown(value)}")
    return found


def _box(value: Any) -> Any:
    if value is None or (isinstance(value, list | tuple) and not value):
        return ABSENT
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != 4:
        raise ValueError(f"expected x, y, width, height, got {shown(value)}")
    if isinstance(value, list) and {*map(type, value)} <= {int, float} and _finite(value):
        return value
    return [number(side) for side in value]


def _finite(values: list[Any]) -> bool:
    try:
        return math.isfinite(sum(values))
    except OverflowError:
        return False


def _fps(value: Any) -> Any:
    if value is None or (type(value) is int and value == 0):
        return ABSENT
    found = number(value)
    if not 0 < found <= 10**6:
        raise ValueError(f"expected frames per second above 0, got {shown(value)}")
    return found


def _listed(item: Reader, null: bool = True) -> Reader:
    """A list of such values; where ``null``, also nothing in place of one or of all."""

    def read(value: Any) -> Any:
        if value is None and null:
            return ABSENT
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected a list, got {shown(value)}")
        found, changed = [], not isinstance(value, list)
        for k, one in enumerate(value):
            try:
                new = None if one is None and null else item(one)
            except ValueError as error:
                raise ValueError(f"[{k}]: {error}") from error
            new = None if new is ABSENT else new
            changed = changed or new is not one
            found.append(new)
        return found if changed else value

    return read


def _frame_name(value: Any) -> Any:
    """A file's name, or the number of a frame of a video file."""
    return value if type(value) is int and 0 <= value < MAX_LENGTH else _text(value)


def _file_name(value: Any) -> Any:
    return ABSENT if value is None else _text(value)


def _frame_names(value: Any) -> Any:
    if value is None:
        return ABSENT
    names = _listed(_frame_name, null=False)(value)
    if not names:
        raise ValueError("expected file names, got an empty list")
    return names


def _seconds(value: Any) -> Any:
    if value is None:
        return ABSENT
    found = _listed(number, null=False)(value)
    if any(a >= b for a, b in pairwise(found)):
        raise ValueError("expected rising times")
    return found


def _labelled(value: Any) -> Any:
    return ABSENT if value is None else _listed(_text, null=False)(value)


def _mask(value: Any) -> Any:
    """A mask as it is, only the size of run lengths in whole numbers."""
    if isinstance(value, dict) and isinstance(size := value.get("size"), list | tuple):
        if len(size) != 2 or type(size[0]) is not int or type(size[1]) is not int:
            if len(size) != 2:
                raise ValueError(f"size: expected height, width, got {shown(size)}")
            return {**value, "size": [_side(side) for side in size]}
        if not (0 < size[0] < MAX_SIDE and 0 < size[1] < MAX_SIDE):
            raise ValueError(f"size: no picture has {shown(size[0])} x {shown(size[1])} pixels")
    return value


def _masks(value: Any) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {shown(value)}")
    return _listed(_mask)(value)


def _segmentation(value: Any) -> Any:
    return ABSENT if value is None else _mask(value)


def _word(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a word, got {shown(value)}")
    return value


CATEGORY: Mapping[str, Reader] = {"id": whole, "name": _name}
ENTRY: Mapping[str, Reader] = {
    "id": whole,
    "height": _side,
    "width": _side,
    "file_name": _file_name,
    "file_names": _frame_names,
    "length": _length,
    "fps": _fps,
    "seconds": _seconds,
    "split": _split,
    "labelled_categories": _labelled,
}
"""Pictures and videos."""
SHAPES: Mapping[str, Reader] = {
    "segmentation": _segmentation,
    "segmentations": _masks,
    "bbox": _box,
    "bboxes": _listed(_box),
}
ANNOTATION: Mapping[str, Reader] = {
    "id": whole,
    "image_id": whole,
    "video_id": whole,
    "category_id": _category,
    "iscrowd": _flag,
    "area": _area,
    "areas": _listed(_area),
    "occlusion": _listed(_word),
    **SHAPES,
}
RESULT: Mapping[str, Reader] = {
    "image_id": whole,
    "video_id": whole,
    "category_id": whole,
    "score": number,
    "mask_score": number,
    **SHAPES,
}


def read_fields(
    entry: Json,
    fields: Mapping[str, Reader],
    complain: Complaint,
    changed: Complaint = lambda name, value: None,
) -> Json:
    """An object with its fields as they are meant; the very same one where nothing had to be changed.

    Fields that say nothing (null where something may be missing) are left out, others than ``fields`` stay.

    Args:
        entry: of the file.
        fields: what to read.
        complain: told the name of a field and what is wrong with it; a field that it lets pass is left out.
        changed: told the name and the value of a field whose type is another one than the published.
    """
    found = entry
    for name, read in fields.items():
        if name not in entry:
            continue
        value = entry[name]
        try:
            new = read(value)
        except ValueError as error:
            place, _, text = str(error).rpartition("]: ")
            complain(f"{name}{place}]" if place else name, text)
            new = ABSENT
        if new is not value:
            found = dict(entry) if found is entry else found
            if new is ABSENT:
                del found[name]
            else:
                found[name] = new
                changed(name, shown(value))
    return found


def in_reach(annotation: Json, size: Size, complain: Complaint, *, areas: bool = True) -> None:
    """Complains of boxes, and of ``areas``, that lie far outside of a picture of (height, width)."""
    height, width = size
    for name in ("bbox", "bboxes"):
        boxes = annotation.get(name) or ()
        for k, box in enumerate([boxes] if name == "bbox" and boxes else boxes):
            if box and not _box_in_reach(box, height, width):
                values = ", ".join(f"{value:g}" for value in box)
                place = "" if name == "bbox" else f"[{k}]"
                complain(
                    name + place, f"{values} is far outside of the picture, {width} x {height}"
                )
    longer = max(size)
    most = (width + 2 * longer) * (height + 2 * longer)
    for name in ("area", "areas") if areas else ():
        stated = annotation.get(name)
        for k, area in enumerate([stated] if name == "area" else stated or ()):
            if area is not None and area > most:
                place = "" if name == "area" else f"[{k}]"
                complain(name + place, f"{area:g} is more than the picture has, {width} x {height}")


def _box_in_reach(box: list[float], height: int, width: int) -> bool:
    x, y, w, h = box
    low, right, bottom = reach((height, width))
    return (
        low <= x <= right
        and low <= y <= bottom
        and low <= x + w <= right
        and low <= y + h <= bottom
    )


def reach(size: Size) -> tuple[int, int, int]:
    """The least coordinate, the largest x and the largest y that are taken for more than a mistake.

    Objects are often annotated beyond the edges of their picture, but not by more than its longer side.
    """
    height, width = size
    longer = max(size)
    return -longer, width + longer, height + longer
