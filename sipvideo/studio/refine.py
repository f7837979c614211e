"""A mask changed by clicks inside and outside the object, with what the model already knows of the frame.

The network looks at a frame once. Its basis masks and the features of its mask branch, read in a window around the
object, tell which pixels are like those under a click. Coefficients over them are fitted to the mask and the clicks by
weighted least squares (ridge), and a few small layers decide, pixel by pixel, how far every click reaches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.engine import Engine, HostEngine
from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.postprocess import DenseOutputs, Postprocess
from sipvideo.structures import Detections, FloatArray, Frame
from sipvideo.studio.reach import Seen, decide
from sipvideo.studio.window import Click, NetworkMap, Refined, Window

FEATURES = 32
"""Directions of the mask branch's features that are looked at; the same ones always."""
REPLAYED = 3
"""Latest clicks that are taken one after the other."""
PROPOSALS = ("postprocess.score_threshold=0.05", "postprocess.max_detections=60")
"""What the network hardly believes is found, too, for objects that it missed."""
FITS = 0.4
"""Overlap of boxes from which a proposal is the object in a box that somebody drew."""


class Refiner:
    """Refines masks on one frame at a time; the network looks at it when it is opened.

    Args:
        engine: of the studio's segmenter. Of engines other than :class:`HostEngine` no maps are known: colours alone
            are looked at.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._any = engine
        self._engine = engine if isinstance(engine, HostEngine) else None
        self._proposals: Postprocess | None = None
        if self._engine is not None:
            config = self._engine.config.with_overrides(PROPOSALS)
            self._proposals = Postprocess(config, self._engine.objects)
        self._directions: FloatArray | None = None

    def open(self, frame: Frame) -> OpenFrame:
        """The frame, looked at by the network once."""
        maps: list[NetworkMap] = []
        found = Detections.empty(frame.size)
        if self._engine is not None:
            images, geometries, _ = self._engine.inputs([frame])
            outputs = self._engine.runtime(images)
            maps = self._maps(outputs, self._engine.objects, geometries[0].scale)
            assert self._proposals is not None
            found = self._proposals(outputs, geometries[0])
        elif self._any is not None:
            found = self._any.detect([frame])[0]
        return OpenFrame(frame.image, maps, found)

    def _maps(
        self, outputs: DenseOutputs, objects: Any, scale: tuple[float, float]
    ) -> list[NetworkMap]:
        basis = np.ascontiguousarray(outputs.basis_masks[0].transpose(1, 2, 0), np.float32)
        features = outputs.coefficient_features[0][0].transpose(1, 2, 0)
        if self._directions is None or len(self._directions) != features.shape[2]:
            drawn = np.random.default_rng(5).normal(size=(features.shape[2], FEATURES))
            self._directions = np.linalg.qr(drawn)[0].astype(np.float32)
        projected = np.ascontiguousarray(features @ self._directions)
        strides = objects.basis_stride, objects.strides[0]
        per_pixel = [(scale[0] / stride, scale[1] / stride) for stride in strides]
        return [NetworkMap(basis, per_pixel[0]), NetworkMap(projected, per_pixel[1])]


class OpenFrame:
    """A frame on which masks are refined; may be used from several threads.

    Args:
        image: uint8 [H, W, 3], RGB.
        maps: of the network.
        found: what the network finds in it, doubtful objects, too.

    Attributes:
        image, found: the same.
    """

    def __init__(
        self, image: NDArray[np.uint8], maps: Sequence[NetworkMap], found: Detections
    ) -> None:
        self.image = image
        self._maps = maps
        self.found = found

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.image.shape[0], self.image.shape[1]

    def refine(
        self,
        clicks: Sequence[Click],
        start: CompactMasks | None = None,
        box: FloatArray | None = None,
    ) -> Refined:
        """The mask that fits all clicks, and is else as it was.

        Args:
            clicks: in their order; out of the frame they are moved to its border.
            start: one mask, as it was before the first click; None or empty: the object is in the box.
            box: float32 [4], frame pixels, of a new object; None: around the clicks.

        Raises:
            ValueError: there is neither a mask, a box, nor a click inside the object.
        """
        mask, label = self._begin(clicks, start, box)
        if not clicks:
            return Refined(CompactMasks.from_dense(mask[None]), 1.0, label)
        height, width = self.size
        placed = [(_within(x, width), _within(y, height), inside) for x, y, inside in clicks]
        window = Window.around(mask, placed)
        seen = self.seen(window)
        begin = current = window.shrunk(mask)
        points = [window.point(x, y, inside) for x, y, inside in placed]
        logits = np.zeros(current.shape, np.float32)
        # As it came about: every click was set on what the earlier ones had made. Those long ago are taken together.
        for count in range(max(1, len(points) - REPLAYED + 1), len(points) + 1):
            logits = decide(seen, begin, current, points[:count])
            current = logits > 0
        return replace(window.pasted(mask, logits, points), label=label)

    def _begin(
        self, clicks: Sequence[Click], start: CompactMasks | None, box: FloatArray | None
    ) -> tuple[BoolArray, int | None]:
        """The mask before the first click, and the class that the network tells."""
        if start is not None and len(start) and start.area(0):
            return start.dense(0), None
        inside = np.array([(x, y) for x, y, i in clicks if i], np.float32).reshape(-1, 2)
        if box is None and not len(inside):
            raise ValueError("expected a mask, a box, or a click inside the object")
        proposal = self._in_box(box) if box is not None else self._under(inside)
        if proposal is not None:
            return self.found.masks.dense(proposal), int(self.found.labels[proposal])
        if box is None:
            reach = 0.08 * max(self.size)
            ends = inside.min(0) - reach, inside.max(0) + reach
            box = np.concatenate(ends, dtype=np.float32)
        return _ellipse(box, self.size), None

    def _in_box(self, box: FloatArray) -> int | None:
        """The object whose box fits one best."""
        overlap = boxes.iou(self.found.boxes, np.asarray(box, np.float32)[None])[:, 0]
        best = int(overlap.argmax()) if len(overlap) else 0
        return best if len(overlap) and overlap[best] >= FITS else None

    def _under(self, places: FloatArray) -> int | None:
        """The likeliest object with all places inside its mask."""
        points = places.astype(np.int64)
        for k in range(len(self.found)):  # best first
            if self.found.masks[[k]].cover(points).all():
                return k
        return None

    def seen(self, window: Window, *, centred: bool = True) -> Seen:
        """What is seen in a window; ``centred``: relative to all in it, else as it is, to compare frames."""
        maps = [window.map(one) for one in self._maps]
        return Seen.of(window.picture(self.image), maps, centred=centred)

    def best_detection(self, mask: BoolArray, least: float) -> BoolArray | None:
        """The network's own mask that overlaps one most, bool [H, W]; None where none does by ``least``."""
        if not len(self.found):
            return None
        overlap = self.found.masks.iou(CompactMasks.from_dense(mask[None]))[:, 0]
        best = int(overlap.argmax())
        return self.found.masks.dense(best) if overlap[best] >= least else None


def _ellipse(box: FloatArray, size: tuple[int, int]) -> BoolArray:
    """Most of what a box shows is its object, and its corners are not."""
    x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
    middle = (x0 + x1) // 2, (y0 + y1) // 2
    axes = max((x1 - x0) // 2, 1), max((y1 - y0) // 2, 1)
    mask = cv2.ellipse(np.zeros(size, np.uint8), middle, axes, 0, 0, 360, 1, -1)
    return np.asarray(mask, bool)


def _within(place: float, length: int) -> float:
    return min(max(float(place), 0.0), float(length - 1))
