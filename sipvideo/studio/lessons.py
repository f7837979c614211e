"""What a model is taught from a run that people corrected: its frames as pictures with annotations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError, SinkError
from sipvideo.studio.document import Document
from sipvideo.studio.scores import Progress

HELD_OUT = 1 / 3
"""Share of the corrected frames, the last ones, that are not trained on: what is learnt is measured there."""
FEWEST = 6
"""Corrected frames from which there is something to learn."""
OTHERS = 30
"""Frames that nobody corrected which are shown, too, so that the model keeps what was right."""

Pictures = Callable[[int], NDArray[np.uint8]]
"""The picture of a frame of the run, uint8 [H, W, 3], RGB."""


@dataclass(frozen=True)
class Lessons:
    """Frames of a run as pictures with annotations in COCO's format.

    Attributes:
        corrected, others, held_out: annotation files: frames to learn from that somebody corrected, some that nobody
            did, and corrected ones on which is measured.
        counts: pictures of each.
    """

    corrected: Path
    others: Path
    held_out: Path
    counts: tuple[int, int, int]


def lessons(document: Document, picture: Pictures, folder: Path, progress: Progress) -> Lessons:
    """Writes the corrected frames of a run, and some others, for a training.

    In frames that are held out, objects that nobody corrected count neither way: they are the model's own.

    Raises:
        DatasetError: too few frames were corrected.
        SinkError: they cannot be written.
    """
    edited = _corrected_frames(document)
    if len(edited) < FEWEST:
        raise DatasetError(
            f"{len(edited)} frames are corrected: at least {FEWEST} are needed to learn from"
        )
    held = max(1, round(len(edited) * HELD_OUT))
    kept, last = edited[:-held], edited[-held:]
    rest = np.setdiff1d(np.arange(last[0]), edited)
    others = rest[np.linspace(0, len(rest) - 1, min(OTHERS, len(rest))).astype(int)].tolist()
    parts = (("corrected", kept), ("others", others), ("held_out", last))
    total, done = len(kept) + len(others) + len(last), 0
    try:
        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        for name, frames in parts:
            content = _content(document)
            for frame in frames:
                _add(content, document, frame, crowds=name == "held_out")
                image = Image.fromarray(picture(frame))
                image.save(folder / "pictures" / f"{frame:08d}.jpg", quality=95)
                done += 1
                progress(done / total, "pictures")
            (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    except OSError as error:
        raise SinkError(f"{folder}: cannot be written: {error.strerror}") from error
    corrected, rest_of, held_out = (folder / f"{name}.json" for name, _ in parts)
    return Lessons(corrected, rest_of, held_out, (len(kept), len(others), len(last)))


def _corrected_frames(document: Document) -> list[int]:
    """Frames with a mask that somebody drew, ascending."""
    with document.lock:
        table = document.table
        rows = table.alive
        frames = np.unique(table.frames[rows[rows >= table.base]])
    return [int(frame) for frame in frames]


def _content(document: Document) -> Json:
    names = document.class_names
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    return {"images": [], "annotations": [], "categories": categories}


def _add(content: Json, document: Document, frame: int, *, crowds: bool) -> None:
    with document.lock:
        table = document.table
        rows = [row for row in table.in_frame(frame) if row >= table.base]
        drawn = {int(table.ids[row]) for row in rows}
        record = next(document.records(frame, 1))
    height, width = record["size"]
    number = len(content["images"]) + 1
    name = f"pictures/{frame:08d}.jpg"
    content["images"].append({"id": number, "file_name": name, "height": height, "width": width})
    for one in record["objects"]:
        content["annotations"].append(
            {
                "id": len(content["annotations"]) + 1,
                "image_id": number,
                "category_id": one["label"] + 1,
                "segmentation": one["segmentation"],
                "bbox": one["bbox"],
                "area": one["bbox"][2] * one["bbox"][3],
                "iscrowd": int(crowds and one["track_id"] not in drawn),
            }
        )
