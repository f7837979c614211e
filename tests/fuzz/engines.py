"""Engines of the cases: a function where the network is not what is tested, one packaged network elsewhere."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable

import numpy as np

from sipvideo.apps import command
from sipvideo.config import TrackerConfig
from sipvideo.errors import UnforeseenError
from sipvideo.jobs import SegmenterSpec
from sipvideo.masks import CompactMasks
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.fuzz.case import FUNCTION, NETWORK, NOTHING

CLASSES = ("cat", "dog")
current = NOTHING
"""Which engine commands get: of the case that runs."""


seen: Callable[[Frame], None] | None = None
"""Is told of every frame, for who wants to see a run in the middle."""


def detect(frame: Frame) -> Detections:
    """Up to three objects in any picture, however small; one of them moves, one comes and goes."""
    if seen is not None:
        seen(frame)
    height, width = frame.size
    rng = np.random.default_rng(frame.index)
    crops, origins, boxes = [], [], []
    for _ in range(frame.index % 4):
        y, x = (int(rng.integers(0, n)) for n in (height, width))
        h, w = (int(rng.integers(1, min(65, n - k + 1))) for n, k in ((height, y), (width, x)))
        crops.append(np.ones((h, w), bool))
        origins.append((x, y))
        boxes.append((x, y, x + w, y + h))
    n = len(crops)
    masks = CompactMasks.from_crops(crops, origins, frame.size)
    scores = np.linspace(0.9, 0.5, n, dtype=np.float32)
    labels = np.arange(n, dtype=np.int64) % len(CLASSES)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(found, scores, labels, masks, np.zeros((n, 0), np.float32))


unforeseen: list[Exception] = []
"""Exceptions that became a line only because everything does: defects all the same."""


class ChosenSpec(SegmenterSpec):
    """For ``sipvideo video``, which builds its segmenter from values."""

    def build(self) -> VideoSegmenter:
        """The one of the case, or what is asked for."""
        return _chosen() or super().build()


def _chosen() -> VideoSegmenter | None:
    if current == FUNCTION:
        return finder()
    return _network().another() if current == NETWORK else None


def install() -> None:
    """Lets commands ask here for their segmenter, and keeps what was unforeseen."""
    real, told = command.segmenter, UnforeseenError.__init__

    def kept(self: UnforeseenError, where: str, error: Exception) -> None:
        unforeseen.append(error)
        told(self, where, error)

    UnforeseenError.__init__ = kept

    def chosen(args: argparse.Namespace) -> VideoSegmenter:
        return _chosen() or real(args)

    spec = command.spec
    command.segmenter = chosen
    command.spec = lambda args: ChosenSpec(**vars(spec(args)))


def finder() -> VideoSegmenter:
    """A segmenter that finds something anywhere."""
    return VideoSegmenter(detect, build_tracker(TrackerConfig()), CLASSES)


@functools.cache
def _network() -> VideoSegmenter:
    from sipvideo.build import load

    return load(device="cpu", overrides=["input.size=[160,96]"])
