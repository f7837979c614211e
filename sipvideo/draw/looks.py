"""How objects and what is around them can look: covered, made unrecognisable, cut out, in the light.

A picture is made in three steps: the background, then the pixels of objects, then lines and tags over them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo.classes import labels_of
from sipvideo.draw.objects import Colour, Path, Picture, Style, colour_of, draw_objects, draw_trails
from sipvideo.errors import ConfigError
from sipvideo.pictures import PictureError, decode
from sipvideo.structures import FrameResult

CELLS = 6
"""Cells of a mosaic across an object of average shape: too few to tell a face."""
SMALLEST_CELL = 4
DIMMED = 0.25
"""Brightness of what is out of the spotlight."""

Region = tuple[slice, slice]
Paint = Callable[[Picture, Colour], Picture]
"""(the picture around an object uint8 [h, w, 3], its colour) -> what takes its place inside the mask."""


def mosaic(region: Picture, colour: Colour = (0, 0, 0)) -> Picture:
    """The region in cells of one colour each, so large that nobody is recognised."""
    return _reduced(region, cv2.INTER_NEAREST)


def blurred(region: Picture, colour: Colour = (0, 0, 0)) -> Picture:
    """The same without edges: no more is left of the original than in a mosaic."""
    return _reduced(region, cv2.INTER_LINEAR)


def _reduced(region: Picture, how: int) -> Picture:
    height, width = region.shape[:2]
    cell = max(SMALLEST_CELL, round((height * width) ** 0.5 / CELLS))
    small = cv2.resize(
        region,
        (max(1, round(width / cell)), max(1, round(height / cell))),
        interpolation=cv2.INTER_AREA,
    )
    return np.asarray(cv2.resize(small, (width, height), interpolation=how), np.uint8)


def _flat(region: Picture, colour: Colour) -> Picture:
    return np.full_like(region, colour)


USUAL = Style()
STYLED: dict[str, dict[str, Any]] = {
    "masks": {},
    "outlines": {"opacity": 0.0},
    "boxes": {"opacity": 0.0, "outline": False, "boxes": True},
}
"""Looks that are lines, tints and tags: what is otherwise than in the style of a drawing."""
PAINTED: dict[str, Paint] = {"blur": blurred, "pixelate": mosaic, "silhouette": _flat}
"""Looks that change an object's pixels."""
LOOKS = (*STYLED, *PAINTED, "spotlight", "cutout", "none")
"""What objects can look like. With spotlight and cutout they stay as they are and all else is dimmed, or gone."""


@dataclass(frozen=True)
class Background:
    """What is seen where no object is: the picture itself, blurred, one colour, or another picture.

    Attributes:
        transparent: nothing: pictures have a fourth channel, 255 where something is.
        colour: RGB; None: not a colour.
        picture: uint8 [h, w, 3], RGB, fitted to fill the frame; None: not a picture.
        blur: the picture itself, blurred.
        dim: the picture itself, darkened.
    """

    transparent: bool = False
    colour: Colour | None = None
    picture: Picture | None = None
    blur: bool = False
    dim: bool = False

    def behind(self, image: Picture) -> Picture:
        """The background of a frame, a new picture of its size."""
        height, width = image.shape[:2]
        if self.transparent:  # nothing of the picture may be left under what is not seen
            return np.zeros_like(image)
        if self.colour is not None:
            return np.full_like(image, self.colour)
        if self.picture is not None:
            return _filling(self.picture, (height, width))
        if self.blur:
            return blurred(image)
        return np.asarray(cv2.convertScaleAbs(image, alpha=DIMMED), np.uint8)


@dataclass(frozen=True)
class Drawing:
    """Draws results in chosen looks.

    Attributes:
        looks: names of :data:`LOOKS`, each with the labels that it is for; None: for all others. An object has the
            first look that is for its label, and none without one.
        background: what is around the objects that have a look; None: the picture as it is, unless a look asks
            for more.
    """

    looks: tuple[tuple[str, frozenset[int] | None], ...] = (("masks", None),)
    background: Background | None = None

    def __call__(
        self,
        result: FrameResult,
        class_names: Sequence[str],
        style: Style = USUAL,
        trails: Mapping[int, Path] | None = None,
    ) -> Picture:
        """The picture, RGB, new; the frame is not touched. Objects without identity are left out.

        Args:
            result: the frame and its objects.
            class_names: names in label order.
            style: of tints, lines and tags.
            trails: where identities were before, see :meth:`sipvideo.draw.Trails.paths`.

        Returns:
            uint8 [H, W, 3]; with a transparent background uint8 [H, W, 4], whose transparent pixels are black.
        """
        result = result.tracked()
        rows = self._rows(result)
        image = self._on_background(result, rows)
        for name, chosen in rows.items():
            if name in PAINTED:
                for k in chosen:
                    _paint(image, result, k, PAINTED[name])
        bare = image.copy() if self.is_transparent else None
        draw_trails(image, trails or {})
        for name, chosen in rows.items():
            if name in STYLED and chosen:
                how = replace(style, **STYLED[name])
                draw_objects(image, result.selected(np.array(chosen)), class_names, how)
        return image if bare is None else self._with_opacity(image, bare, result, rows)

    @property
    def is_transparent(self) -> bool:
        """Whether pictures have a fourth channel."""
        return self.background is not None and self.background.transparent

    def shown(self, result: FrameResult) -> FrameResult:
        """The result with only the objects that have a look."""
        result = result.tracked()
        chosen = sorted(k for rows in self._rows(result).values() for k in rows)
        return result.selected(np.array(chosen, np.int64))

    def _with_opacity(
        self, image: Picture, bare: Picture, result: FrameResult, rows: dict[str, list[int]]
    ) -> Picture:
        """The picture with its fourth channel: 255 in masks, and where lines and tags are."""
        opacity = np.asarray((image != bare).any(2), np.uint8)
        for chosen in rows.values():
            for k in chosen:
                region, bits = _inside(result, k)
                opacity[region] |= bits
        opacity *= 255
        return np.asarray(cv2.merge([*cv2.split(image), opacity]), np.uint8)

    def _rows(self, result: FrameResult) -> dict[str, list[int]]:
        """Look -> the objects that have it."""
        rows: dict[str, list[int]] = {name: [] for name, _ in self.looks}
        for k, label in enumerate(result.detections.labels.tolist()):
            for name, labels in self.looks:
                if labels is None or label in labels:
                    rows[name].append(k)
                    break
        return rows

    def _on_background(self, result: FrameResult, rows: dict[str, list[int]]) -> Picture:
        """The frame, its background exchanged where one is asked for; a new picture."""
        background = self.background
        if background is None and "spotlight" in rows:
            background = Background(dim=True)
        if background is None and "cutout" in rows:
            background = Background(colour=(0, 0, 0))
        if background is None:
            return result.frame.image.copy()
        image = background.behind(result.frame.image)
        for chosen in rows.values():
            for k in chosen:
                region, bits = _inside(result, k)
                cv2.copyTo(result.frame.image[region], bits, image[region])
        return image


def parse_look(text: str, class_names: Sequence[str]) -> tuple[str, frozenset[int] | None]:
    """Reads ``blur`` or ``blur:person,dog``.

    Raises:
        ConfigError: an unknown look or class.
    """
    name, colon, classes = text.partition(":")
    if name not in LOOKS:
        raise ConfigError(f"draw: expected one of {', '.join(LOOKS)}, got {name!r}")
    if not colon:
        return name, None
    return name, labels_of(classes.split(","), class_names, f"draw {name}: ")


def parse_background(text: str) -> Background:
    """Reads ``blur``, ``transparent``, a colour (``#00ff00``, ``white``, ``green``, ``black``), or a picture's path.

    Raises:
        ConfigError: neither, or a picture that cannot be read.
    """
    colours: dict[str, Colour] = {
        "black": (0, 0, 0),
        "white": (255, 255, 255),
        "green": (0, 177, 64),
    }
    if text == "blur":
        return Background(blur=True)
    if text == "transparent":
        return Background(transparent=True)
    if text in colours:
        return Background(colour=colours[text])
    if found := re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text):
        red, green, blue = (int(part, 16) for part in found.groups())
        return Background(colour=(red, green, blue))
    if not os.path.isfile(text):
        raise ConfigError(
            f"background: expected blur, transparent, {', '.join(colours)}, #rrggbb or a picture, got {text!r}"
        )
    try:
        return Background(picture=decode(FilePath(text).read_bytes()).upright)
    except OSError as error:
        raise ConfigError(f"background: {text}: cannot be read: {error.strerror}") from error
    except PictureError as error:
        raise ConfigError(f"background: {text}: {error}") from error


def _inside(result: FrameResult, k: int) -> tuple[Region, NDArray[np.uint8]]:
    """Where object k is, and its mask there."""
    masks = result.detections.masks
    x0, y0, x1, y1 = masks.windows[k].tolist()
    return (slice(y0, y1), slice(x0, x1)), masks.crop(k).view(np.uint8)


def _paint(image: Picture, result: FrameResult, k: int, paint: Paint) -> None:
    region, bits = _inside(result, k)
    if bits.size:
        painted = paint(result.frame.image[region], colour_of(int(result.track_ids[k])))
        cv2.copyTo(painted, bits, image[region])


def _filling(picture: Picture, size: tuple[int, int]) -> Picture:
    """The middle of a picture at (height, width), as large as it takes to leave no border."""
    (height, width), (h, w) = size, picture.shape[:2]
    scale = max(height / h, width / w)
    resized: Any = cv2.resize(
        picture,
        (max(width, round(w * scale)), max(height, round(h * scale))),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    top, left = (resized.shape[0] - height) // 2, (resized.shape[1] - width) // 2
    return np.ascontiguousarray(resized[top : top + height, left : left + width])
