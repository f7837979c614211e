"""An engine that looks at parts of a picture too, so that small objects are large enough for the model."""

from __future__ import annotations

from collections.abc import Sequence

from sipvideo.engine.contract import Engine, Size
from sipvideo.engine.merging import merged
from sipvideo.engine.selection import Window, cut, moved_back
from sipvideo.engine.tiles import Tiles, around, chosen, cost
from sipvideo.structures import Detections, Frame

HINT = 0.1
"""Score from which something may be an object, and is worth a closer look."""
LEAST = 0.4
"""Doubt that a closer look must be able to settle: about two objects of which it is not known whether they are any."""
SMALL = 0.15
"""Only what is smaller than this share of the picture's longer side is looked at again."""


class TilingEngine(Engine):
    """What another engine finds in the picture as a whole and in overlapping parts of it, each object once.

    With given tiles it looks at all of them. Without, only where the picture as a whole shows small or doubtful
    objects: in windows of one size, no more than there would be tiles, chosen by the size of the picture and of the
    model's input; a note tells which.

    Args:
        engine: finds the objects.
        tiles: how pictures are cut; None: where it seems worth it.
        most: objects of a frame, the best ones; None: as many as the engine finds in all views.
    """

    def __init__(self, engine: Engine, tiles: Tiles | None = None, most: int | None = None) -> None:
        self.engine, self.tiles, self.most = engine, tiles, most
        self.model, self.about, self.device = engine.model, engine.about, engine.device
        self.input_size, self.resizable = engine.input_size, engine.resizable
        self.callers, self.threshold = engine.callers, engine.threshold
        views = 1 if tiles is None else tiles.columns * tiles.rows
        self.largest_batch = max(1, engine.largest_batch // views)
        self.notes: list[str] = list(engine.notes)
        self._glancing = engine if tiles is not None else engine.doubting(HINT)
        self._told: set[tuple[int, int]] = set()
        self._last = 0

    @property
    def choice(self) -> str:
        """How many parts of the last frame it looked at again."""
        return f"{self._last} close-ups"

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The objects of each frame, by descending score, in its pixels."""
        seen = _in_batches(self._glancing, frames)
        parts = [self._parts(frame, found) for frame, found in zip(frames, seen, strict=True)]
        pieces = [cut(frame, p) for frame, some in zip(frames, parts, strict=True) for p in some]
        inside = iter(_in_batches(self.engine, pieces))
        results = []
        for frame, whole, some in zip(frames, seen, parts, strict=True):
            self._last = len(some)
            views = [whole[whole.scores >= self.threshold]]
            views += [moved_back(next(inside), frame.size, part) for part in some]
            every = merged([(0, 0, frame.size[1], frame.size[0]), *some], views)
            results.append(every if self.most is None else every[range(min(self.most, len(every)))])
        return results

    def _parts(self, frame: Frame, found: Detections) -> list[Window]:
        """Where to look at a frame of (height, width) again."""
        tiles = self.tiles or self._chosen(frame.size)
        parts = tiles.windows(frame.size)
        if len(parts) == 1:
            return []
        if self.tiles is not None:
            return parts
        sides = (found.boxes[:, 2:] - found.boxes[:, :2]).max(1)
        small = found[(sides < SMALL * max(frame.size)) & (found.scores >= HINT)]
        x0, y0, x1, y1 = parts[0]
        doubt = small.scores * (1 - small.scores)  # the variance of "it is one"
        windows = around(small.boxes, doubt, (y1 - y0, x1 - x0), frame.size, LEAST)
        return windows if len(windows) < len(parts) else parts

    def _chosen(self, size: tuple[int, int]) -> Tiles:
        tiles = chosen(size, self.input_size)
        if size not in self._told:
            self._told.add(size)
            self.notes.append(self._choice(size, tiles))
        return tiles

    def _choice(self, size: tuple[int, int], tiles: Tiles) -> str:
        """What was chosen for pictures of (height, width), and what it costs."""
        picture = f"tiles: pictures of {size[1]} x {size[0]}"
        if self.input_size is None:
            return f"{picture} are looked at as a whole: the size of the model's input is not known"
        if tiles == Tiles(1, 1):
            return f"{picture} are looked at as a whole: the model sees most of their pixels"
        times = cost(size, tiles, self.input_size)
        return (
            f"{picture} are looked at again where small objects may be, in parts as of {tiles} tiles: "
            f"takes up to {times:.0f} times as long"
        )

    def resized(self, size: Size) -> Engine:
        """The same with another input size. Raises ConfigError: not a size."""
        return TilingEngine(self.engine.resized(size), self.tiles, self.most)

    def doubting(self, threshold: float) -> Engine:
        """The same that reports doubtful objects too."""
        return TilingEngine(self.engine.doubting(threshold), self.tiles, self.most)

    def for_files(self) -> Engine:
        """The same, set up for throughput."""
        return TilingEngine(self.engine.for_files(), self.tiles, self.most)


def _in_batches(engine: Engine, frames: Sequence[Frame]) -> list[Detections]:
    """Detections of each frame; those of one size together, as many as make the engine faster."""
    found: dict[int, Detections] = {}
    for size in dict.fromkeys(frame.size for frame in frames):
        places = [k for k, frame in enumerate(frames) if frame.size == size]
        for first in range(0, len(places), engine.largest_batch):
            together = places[first : first + engine.largest_batch]
            batch = engine.detect([frames[k] for k in together])
            found.update(zip(together, batch, strict=True))
    return [found[k] for k in range(len(frames))]
