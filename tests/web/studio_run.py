"""A run for tests of the studio: four objects whose true identities are known, and errors planted into them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.apps import command, video
from sipvideo.config import TrackerConfig
from sipvideo.pipeline import VideoSegmenter
from sipvideo.tracker import build_tracker
from tests.apps.scripted import CLASSES, ReadySpec
from tests.media import write_video
from tests.scenes import Actor, Shot, clock, film

SIZE = (240, 320)
FRAMES = 100
BITS, CELL = 8, 12
"""The number of a frame is burnt into its upper left corner: cells of so many pixels, white ones count."""
SWAPPED, RENAMED = 50, 60
"""From these frames on two identities have changed places, and a third has another number."""
ACTORS = (
    Actor(((0, 40, 90), (4, 280, 90)), (60, 40), depth=2.0),
    Actor(((0, 280, 130), (4, 40, 130)), (60, 40), label=1),
    Actor(((0, 90, 200), (4, 110, 200)), (40, 40)),
    Actor(((0, 220, 200), (4, 240, 205)), (40, 50), label=1),
)


@dataclass(frozen=True)
class PlantedRun:
    """A run's folder, and its identities.

    Attributes:
        folder: as ``sipvideo video --save lines`` left it, with the errors in it.
        swapped: the two that change places at frame ``SWAPPED``.
        renamed: the one that has the other number from frame ``RENAMED`` on, and that number.
        whole: the one without an error.
    """

    folder: Path
    swapped: tuple[int, int]
    renamed: tuple[int, int]
    whole: int


def burnt(number: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with a number burnt in."""
    image = image.copy()
    for k in range(BITS):
        image[:CELL, k * CELL : (k + 1) * CELL] = 255 * (number >> k & 1)
    return image


def number_in(image: NDArray[Any], scale: float = 1.0) -> int:
    """The number burnt into a picture [H, W, 3], which may be larger or smaller than it was."""
    places = [(k + 0.5) * CELL * scale for k in range(BITS)]
    middle = int(CELL * scale / 2)
    return sum(int(image[middle, int(x)].mean() > 128) << k for k, x in enumerate(places))


def planted_run(folder: Path) -> PlantedRun:
    """Films, segments and tracks the scene for real, and plants errors into the saved lines."""
    folder.mkdir(parents=True, exist_ok=True)
    shots: list[Shot] = list(film(ACTORS, clock(FRAMES / 25, fps=25), SIZE))
    clip = write_video(
        folder / "walk.mp4", [burnt(k, shot.frame.image) for k, shot in enumerate(shots)]
    )
    script = [shot.detections for shot in shots]
    finder = VideoSegmenter(
        lambda frame: script[frame.index], build_tracker(TrackerConfig(max_age=600)), CLASSES
    )
    args = video.parse([str(clip), "--save", "lines", "--out", str(folder / "results")])
    assert command.guarded(lambda: video.run(args, ReadySpec(ready=finder))) == 0
    (lines,) = (folder / "results").rglob("results.jsonl")
    return PlantedRun(lines.parent, *_plant(lines))


def _plant(lines: Path) -> tuple[tuple[int, int], tuple[int, int], int]:
    records = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    frames = [record for record in records if "objects" in record]
    # From left to right in the first picture: two walk through each other, between them stand the others.
    left, third, fourth, right = (
        one["track_id"] for one in sorted(frames[0]["objects"], key=lambda one: one["bbox"][0])
    )
    other = 1 + max(one["track_id"] for frame in frames for one in frame["objects"])
    for number, frame in enumerate(frames):
        for one in frame["objects"]:
            if number >= SWAPPED and one["track_id"] in (left, right):
                one["track_id"] = left + right - one["track_id"]
            elif number >= RENAMED and one["track_id"] == third:
                one["track_id"] = other
    lines.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return (left, right), (third, other), fourth
