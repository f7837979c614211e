"""Annotated films and pictures as every format here is read into, and written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.annotations import Json, to_rle

Size = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """One object in one frame.

    Attributes:
        segmentation: polygons, or an RLE whose counts are text, checked; None: only the box is known.
        box: x, y, width, height in pixels; None: that of the mask.
        score: of a result; None: the truth.
        occlusion: OVIS' word.
    """

    segmentation: list[list[float]] | Json | None
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    occlusion: str | None = None


@dataclass(eq=False)
class Track:
    """One object of a film.

    Attributes:
        id: at least 1, in the film.
        category: its class's name; None: unknown.
        shapes: by frame.
        crowd: stands for several objects.
    """

    id: int
    category: str | None
    shapes: dict[int, Shape] = field(default_factory=dict)
    crowd: bool = False


@dataclass(eq=False)
class Film:
    """A film, or a still picture: one frame.

    Attributes:
        name: unlike all others'.
        size: (height, width) in pixels.
        frames: file names of its pictures.
        tracks: its objects.
        still: a picture of its own.
        seconds: time of each frame; None: not known.
        movie: the video file whose frames these are, the numbers of which are the names of ``frames``; None: pictures.
        more: what else a format of ours says of it: split, labelled_categories.
    """

    name: str
    size: Size
    frames: list[str]
    tracks: list[Track] = field(default_factory=list)
    still: bool = False
    seconds: list[float] | None = None
    movie: Path | None = None
    more: Json = field(default_factory=dict)

    def objects(self, frame: int) -> Iterator[tuple[Track, Shape]]:
        """What is annotated in a frame."""
        for track in self.tracks:
            shape = track.shapes.get(frame)
            if shape is not None:
                yield track, shape


@dataclass(eq=False)
class Collection:
    """What an annotation file or folder holds.

    Attributes:
        classes: names, with their category ids where the format has some.
        films: in the format's order.
        images: folder, tar or zip file of the pictures; None: to be looked for near the annotations.
        notes: what could not be read as it is written, one line each.
    """

    classes: dict[str, int]
    films: list[Film] = field(default_factory=list)
    images: Path | None = None
    notes: list[str] = field(default_factory=list)

    def label(self, category: str) -> int:
        """0, 1, ... in the order of the classes."""
        return list(self.classes).index(category)


def rle(shape: Shape, size: Size) -> Json | None:
    """A shape's mask, compressed, its counts as text; None where only a box is known."""
    if shape.segmentation is None:
        return None
    return compressed(shape.segmentation, size)


def compressed(segmentation: Any, size: Size) -> Json:
    """A mask in any of COCO's forms as RLE whose counts are text.

    Raises:
        ValueError: it is malformed.
    """
    found = to_rle(segmentation, size)
    counts = found["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": list(size), "counts": text}


def encoded(mask: NDArray[np.bool_]) -> Json:
    """A dense mask [H, W] as RLE whose counts are text."""
    return compressed(coco_mask.encode(np.asfortranarray(mask, np.uint8)), mask.shape)


def dense(segmentation: list[list[float]] | Json, size: Size) -> NDArray[np.bool_]:
    """A mask as bool [H, W]."""
    found: NDArray[np.bool_] = coco_mask.decode(to_rle(segmentation, size)).astype(bool)
    return found
