"""Step number to batch: which clips, in which sizes, made ahead of time.

Everything is drawn from generators seeded with (seed, purpose, number), so a batch depends on the seed and its
step alone: a run goes on exactly where it stopped, and processes share one global batch without talking.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.data.augment import Augmentation
from sipvideo.data.batch import Batch, PackedBatch, pack, padded
from sipvideo.data.buckets import choose_buckets, covering
from sipvideo.data.loading import ahead_by_processes, ahead_by_threads
from sipvideo.data.sample import ClipSource, Sample
from sipvideo.errors import ConfigError, DatasetError
from sipvideo.transforms import FrameTransform

Size = tuple[int, int]
_LEAST = (("pictures", 1), ("workers", 1), ("processes", 0), ("buckets", 0), ("seed", 0))
_SURVEYED = 256
"""Steps whose input sizes are looked at to choose buckets."""
_BLOCK = 1024
"""Draws of weighted sets are made in blocks of this many."""


@dataclass(frozen=True)
class ScaleRange:
    """The published way to draw sizes: both limits on their own, evenly, ends included.

    Attributes:
        short: smallest and largest limit of the short side, pixels.
        long: smallest and largest limit of the long side, pixels.
    """

    short: tuple[int, int]
    long: tuple[int, int]


VIS_SIZES = ((360, 640),)
"""Training size of the published single-scale YouTube-VIS model."""
VIS_MULTI_SCALE = ScaleRange(short=(360, 480), long=(649, 960))
"""Training sizes of the published multi-scale YouTube-VIS model."""


@dataclass(frozen=True)
class StreamConfig:
    """What a step holds.

    Attributes:
        pictures: pairs of views per step, over all processes.
        sizes: either (smallest, largest) long side of a view, drawn per step in multiples of 32; or a sequence of
            (short, long) sizes, or a ``ScaleRange``, drawn per pair: a view keeps its picture's ratio and
            is as large as fits.
        seed: of everything random.
        workers: threads that make batches ahead.
        processes: processes that make them instead; 0: none.
        buckets: most input sizes that batches are padded to, chosen once by the data and the seed; 0: every batch has
            the size that its views need.
        pairs: two views of each picture; else one.
    """

    pictures: int = 2
    sizes: tuple[int, int] | Sequence[Size] | ScaleRange = (352, 480)
    seed: int = 0
    workers: int = 1
    processes: int = 0
    buckets: int = 0
    pairs: bool = True

    def __post_init__(self) -> None:
        for name, least in _LEAST:
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: expected {least} or more, got {getattr(self, name)}")
        for low, high in self._pairs():
            if not 0 < low <= high:
                raise ConfigError(
                    f"sizes: expected pairs (smaller, larger) in pixels, got {self.sizes}"
                )

    def _pairs(self) -> list[Size]:
        if isinstance(self.sizes, ScaleRange):
            return [self.sizes.short, self.sizes.long]
        one = all(isinstance(side, int) for side in self.sizes)
        pairs: Any = [self.sizes] if one else self.sizes
        if not all(len(pair) == 2 for pair in pairs):
            return [(0, 0)]
        pairs = [(int(low), int(high)) for low, high in pairs]
        return pairs or [(0, 0)]

    @property
    def per_step(self) -> bool:
        """Whether all pairs of a step have the same long side."""
        return not isinstance(self.sizes, ScaleRange) and isinstance(self.sizes[0], int)

    def largest(self) -> list[Size]:
        """The limits among which the largest that :meth:`draw` can give are."""
        pairs = self._pairs()
        if self.per_step:
            side = 32 * (pairs[0][1] // 32)
            return [(side, side)]
        return [(pairs[0][1], pairs[1][1])] if isinstance(self.sizes, ScaleRange) else pairs

    def draw(self, rng: np.random.Generator) -> Size:
        """(short, long) limits of the views' sides: of a step if ``per_step``, else of one pair."""
        pairs = self._pairs()
        if self.per_step:
            side = 32 * int(rng.integers(pairs[0][0] // 32, pairs[0][1] // 32 + 1))
            return side, side
        if isinstance(self.sizes, ScaleRange):
            short, long = (int(rng.integers(low, high + 1)) for low, high in pairs)
            return short, long
        return pairs[int(rng.integers(len(pairs)))]


class ClipStream:
    """Step number to batch: random clips, two views of each.

    Args:
        sources: data sets with the same classes.
        augmentation: how views are made.
        transform: normalisation and padding.
        config: sizes, pairs per step, seed, workers.
        weights: how often each source is drawn, relative to the others; its clips then come in an order that is
            shuffled anew for each pass. By default all clips of all sources are one set, shuffled together.

    Attributes:
        buckets: (height, width) of all inputs that there are; empty: any.

    Raises:
        DatasetError: no clip shows an object, or one of a weighted source does; classes differ.
        ConfigError: weights that do not fit the sources.
    """

    def __init__(
        self,
        sources: Sequence[ClipSource],
        augmentation: Augmentation,
        transform: FrameTransform,
        config: StreamConfig,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.augmentation = augmentation
        self.transform = transform
        self.config = config
        if any(tuple(source.classes) != tuple(sources[0].classes) for source in sources):
            raise DatasetError(
                "training: the data sets have different classes; name them once for all"
            )
        sets = [[(s, k) for k in range(len(s)) if s.count(k)] for s in sources]
        if weights is None:
            sets = [[clip for clips in sets for clip in clips]]
        elif len(weights) != len(sources) or not sum(weights) > 0 or min(weights) < 0:
            raise ConfigError(
                f"weights: expected {len(sources)} numbers of 0 or more, got {list(weights)}"
            )
        self._weights = np.array([1.0] if weights is None else weights) / sum(weights or [1.0])
        if any(w and not clips for w, clips in zip(self._weights, sets, strict=True)):
            which = "no clip" if weights is None else "no clip of one of the weighted data sets"
            raise DatasetError(f"training: {which} shows an object of the model's classes")
        self._sets = sets
        self._orders: dict[int, tuple[int, NDArray[np.int64]]] = {}
        self._drawn = np.zeros((1, len(sets)), np.int64)
        self.buckets = self._chosen_buckets()

    def __len__(self) -> int:
        """Number of pictures or frames with objects."""
        return sum(map(len, self._sets))

    def batch(self, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        """As :meth:`packed`, unpacked on the host."""
        import torch

        return self.packed(step, rank, ranks).to(torch.device("cpu"))

    def packed(self, step: int, rank: int = 0, ranks: int = 1) -> PackedBatch:
        """The views of a step; 2k and 2k + 1 are a pair, where there are pairs.

        Args:
            step: 0-based.
            rank: which share of the step's pairs, 0..ranks-1; the shares in order are the whole batch.
            ranks: number of shares.

        Raises:
            DatasetError: a picture cannot be read.
            ConfigError: the pairs cannot be shared evenly.
        """
        count = self.config.pictures
        if count % ranks:
            raise ConfigError(
                f"pictures: {count} per step cannot be shared evenly by {ranks} processes"
            )
        rngs = [self._rng(2, step, k) for k in range(count)]
        clips, sizes = self._planned(step, rngs)
        views: list[Sample] = []
        for k in range(rank * count // ranks, (rank + 1) * count // ranks):
            source, index = clips[k]
            samples = source.pair(index, rngs[k])
            donor = self._donor(rngs[k])
            if self.config.pairs:
                views.extend(self.augmentation.clip(samples, sizes[k], rngs[k], donor))
            else:
                views.append(self.augmentation.single(samples[0], sizes[k], rngs[k], donor))
        # All shares have the size of the whole batch: what is padded changes what a network computes.
        return pack(views, self.transform, covering(self.buckets, self._needed(sizes)))

    def _planned(
        self, step: int, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[tuple[ClipSource, int]], list[Size]]:
        """The clips of a step, and the sizes of their views."""
        common = self.config.draw(self._rng(1, step)) if self.config.per_step else None
        clips = [self._clip(step * len(rngs) + k) for k in range(len(rngs))]
        sizes = [
            fitted(source.size(index), common or self.config.draw(rng))
            for (source, index), rng in zip(clips, rngs, strict=True)
        ]
        return clips, sizes

    def _needed(self, sizes: Sequence[Size]) -> Size:
        """(height, width) of an input for views of these sizes."""
        return padded(sizes, self.transform.config.pad_multiple)

    def _chosen_buckets(self) -> list[Size]:
        """The sizes that batches are padded to: few, and together with little to pad."""
        if not self.config.buckets:
            return []
        count = self.config.pictures
        needs = [
            self._needed(self._planned(step, [self._rng(2, step, k) for k in range(count)])[1])
            for step in range(_SURVEYED)
        ]
        shapes = {source.size(index) for clips in self._sets for source, index in clips}
        largest = [fitted(shape, limits) for shape in shapes for limits in self.config.largest()]
        return choose_buckets(needs, self._needed(largest), self.config.buckets)

    def batches(
        self, first: int, stop: int, rank: int = 0, ranks: int = 1, *, packed: bool = False
    ) -> Generator[Batch | PackedBatch, None, None]:
        """Batches of steps ``first`` to ``stop - 1``, in order, made ahead by threads or processes.

        Closing the generator ends them.

        Args:
            first, stop: see above.
            rank, ranks: see :meth:`packed`.
            packed: as they travel, for a device to unpack; those of processes always are.

        Raises:
            SipVideoError: a batch cannot be made; the batches before it came first.
        """
        import torch

        numbers = range(first, stop)
        config = self.config
        if config.processes:
            return ahead_by_processes(self, numbers, (rank, ranks), config.processes)
        if not packed:
            return ahead_by_threads(
                lambda number: self.batch(number, rank, ranks), numbers, config.workers
            )

        def make(number: int) -> PackedBatch:
            batch = self.packed(number, rank, ranks)
            return batch.pin_memory() if torch.cuda.is_available() else batch

        return ahead_by_threads(make, numbers, config.workers)

    def _rng(self, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((self.config.seed, *numbers))

    def _clip(self, position: int) -> tuple[ClipSource, int]:
        """The clip at a place of the endless sequence of all steps' clips."""
        which, number = self._draw(position)
        clips = self._sets[which]
        epoch, place = divmod(number, len(clips))
        kept = self._orders.get(which)
        if kept is None or kept[0] != epoch:
            seed = (0, epoch) if len(self._sets) == 1 else (0, which, epoch)
            kept = epoch, self._rng(*seed).permutation(len(clips))
            self._orders[which] = kept
        return clips[int(kept[1][place])]

    def _draw(self, position: int) -> tuple[int, int]:
        """Which set a position takes its clip from, and how many were taken from that set before."""
        if len(self._sets) == 1:
            return 0, position
        block, place = divmod(position, _BLOCK)
        drawn = self._drawn
        while len(drawn) <= block:
            counts = np.bincount(self._choices(len(drawn) - 1), minlength=len(self._sets))
            drawn = np.vstack((drawn, drawn[-1] + counts))
        self._drawn = drawn
        choices = self._choices(block)
        which = int(choices[place])
        return which, int(drawn[block, which] + np.count_nonzero(choices[:place] == which))

    def _choices(self, block: int) -> NDArray[np.int64]:
        return self._rng(3, block).choice(len(self._sets), _BLOCK, p=self._weights)

    def _donor(self, rng: np.random.Generator) -> tuple[Sample, Sample] | None:
        """Another clip whose objects may be pasted, or None where this pair gets none."""
        if not rng.random() < self.augmentation.copy_paste:
            return None
        clips = self._sets[int(rng.choice(len(self._sets), p=self._weights))]
        source, index = clips[int(rng.integers(len(clips)))]
        return source.pair(index, rng)


def fitted(size: Size, limits: Size) -> Size:
    """The largest (height, width) with a picture's ratio that fits limits (short, long)."""
    ratio = min(max(limits) / max(size), min(limits) / min(size))
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
