"""Masks or boxes of several tracks through one video, and how much two sets of tracks share, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.rle import mask_areas, mask_sizes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CALL = 6000
"""Bytes of masks that pycocotools compares, most of them box by box, in the time that one call takes otherwise."""

Groups = tuple[Ints, Ints]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Where tracks meet, one entry for each frame and pair of tracks that share something.

    Attributes:
        mine, theirs: int64 [K], tracks of the two sets.
        frame: int64 [K].
        area: [K], pixels shared, or the IoU.
    """

    mine: Ints
    theirs: Ints
    frame: Ints
    area: NDArray[Any]


@dataclass(frozen=True, eq=False)
class MaskTracks:
    """Masks of N tracks in the T frames of one video.

    Attributes:
        present: bool [N, T].
        areas: int64 [N, T], pixels; 0 where absent.
        lengths: int64 [N], entries in each track's list; T is the longest.
        heights, widths: int64 [N, T], pixels of the frame that each mask says it belongs to.
        rles: N lists of T compressed RLEs, None or {} where absent.
    """

    present: NDArray[np.bool_]
    areas: Ints
    lengths: Ints
    heights: Ints
    widths: Ints
    rles: list[list[Json | None]]

    @classmethod
    def read(cls, tracks: Sequence[Sequence[Json | None]]) -> MaskTracks:
        """From N lists of compressed RLEs that passed ``check_masks``, None or {} where the object is absent."""
        lengths = np.array([len(track) for track in tracks], np.int64)
        longest = int(lengths.max(initial=0))
        padded = [[*track, *[None] * (longest - len(track))] for track in tracks]
        flat = list(chain.from_iterable(padded))
        present = np.fromiter(map(bool, flat), bool, len(flat)).reshape(len(tracks), longest)
        rles = list(filter(None, flat))
        sizes = mask_sizes(rles)

        def grid(values: Ints) -> Ints:
            full = np.zeros(present.shape, np.int64)
            full[present] = values
            return full

        areas, heights, widths = grid(mask_areas(rles)), grid(sizes[:, 0]), grid(sizes[:, 1])
        return cls(present, areas, lengths, heights, widths, padded)

    def overlaps(self, other: MaskTracks, groups: Groups | None = None) -> Overlaps:
        """Pixels that each track shares with each track of ``other`` of the same group and frame."""
        found = [np.zeros((4, 0), np.int64)]
        for rows, columns in self._parts(other, groups):
            mine, theirs = self._frames(rows), other._frames(columns)
            # Frames by the block: few steps in numpy, bounded memory.
            step = 1 + (1 << 20) // max(1, len(rows) * len(columns))
            for begin in range(0, min(len(mine), len(theirs)), step):
                block = slice(begin, begin + step)
                d, g, t, ratio = _meetings(mine[block], theirs[block])
                t += begin
                both = self.areas[d, t] + other.areas[g, t]
                shared = np.rint(ratio * both / (1 + ratio)).astype(np.int64)
                found.append(np.stack((d, g, t, shared)))
        d, g, t, shared = np.concatenate(found, axis=1)
        if groups is None:
            return Overlaps(d, g, t, shared)
        same = groups[0][d] == groups[1][g]
        return Overlaps(d[same], g[same], t[same], shared[same])

    def _parts(self, other: MaskTracks, groups: Groups | None) -> list[tuple[Ints, Ints]]:
        """Which tracks to compare with which: group by group, or at once where that costs less than the calls."""
        everything = np.arange(len(self.areas)), np.arange(len(other.areas))
        if groups is None:
            return [everything]
        keys, mine = np.unique(groups[0], return_counts=True)
        same = groups[1] == keys[:, None]
        needless = len(groups[0]) * len(groups[1]) - int(mine @ same.sum(1))
        if needless * (self._length() + other._length()) < CALL * len(keys):
            return [everything]
        return [
            (np.flatnonzero(groups[0] == key), np.flatnonzero(columns))
            for key, columns in zip(keys, same, strict=True)
            if columns.any()
        ]

    def _length(self) -> float:
        """Bytes of a mask, about: the mean of each track's first."""
        first = [next(filter(None, track), None) for track in self.rles]
        sizes = [len(rle["counts"]) for rle in first if rle]
        return sum(sizes) / max(1, len(sizes))

    def _frames(self, rows: Ints) -> list[tuple[list[int], list[Json]]]:
        """The tracks that are present in each frame, and their masks."""
        numbers, frames = rows.tolist(), []
        for masks in zip(*(self.rles[n] for n in numbers), strict=True):
            rles = list(filter(None, masks))
            here = numbers
            if len(rles) < len(masks):
                here = [n for n, mask in zip(numbers, masks, strict=True) if mask]
            frames.append((here, rles))
        return frames


def _meetings(
    mine: list[tuple[list[int], list[Json]]], theirs: list[tuple[list[int], list[Json]]]
) -> tuple[Ints, Ints, Ints, Floats]:
    """The pairs of masks that share pixels, frame by frame: track, other track, frame, IoU."""
    ratios, rows, columns = [np.zeros(0)], [0], [0]
    for (numbers, rles), (others, other_rles) in zip(mine, theirs, strict=False):
        rows.append(len(numbers))
        columns.append(len(others))
        if numbers and others:
            iou = coco_mask.iou(rles, other_rles, [0] * len(others))
            ratios.append(iou.ravel())
    ratio = np.concatenate(ratios)
    # Of all pairs of all frames in one row: where each frame begins, and where its tracks do.
    at = (ratio > 0).nonzero()[0]
    begins = np.cumsum(np.multiply(rows, columns))
    frame = np.searchsorted(begins, at, "right") - 1
    pair = at - begins[frame]
    width = np.array(columns[1:], np.int64)[frame]
    mine_of = np.array([n for numbers, _ in mine for n in numbers], np.int64)
    theirs_of = np.array([n for numbers, _ in theirs for n in numbers], np.int64)
    d = mine_of[np.cumsum(rows)[frame] + pair // width]
    g = theirs_of[np.cumsum(columns)[frame] + pair % width]
    return d, g, frame, ratio[at]


@dataclass(frozen=True, eq=False)
class BoxTracks:
    """Boxes of N tracks in the T frames of one video; the same interface as :class:`MaskTracks`.

    Attributes:
        present: bool [N, T].
        areas: float64 [N, T], pixels; 0 where absent.
        lengths: int64 [N], entries in each track's list.
        boxes: float64 [N, T, 4], pixels, x, y, width, height.
    """

    present: NDArray[np.bool_]
    areas: Floats
    lengths: Ints
    boxes: Floats

    @classmethod
    def read(
        cls, tracks: Sequence[Sequence[Sequence[float] | None]], names: Sequence[str]
    ) -> BoxTracks:
        """Reads lists of x, y, width, height, None where the object is absent.

        Raises:
            DatasetError: a malformed box.
        """
        lengths = np.array([len(track) for track in tracks], np.int64)
        boxes = np.zeros((len(tracks), int(lengths.max(initial=0)), 4))
        present = np.zeros(boxes.shape[:2], bool)
        for n, track in enumerate(tracks):
            for t, box in enumerate(track):
                if box is None or len(box) == 0:
                    continue
                try:
                    boxes[n, t] = box
                except (TypeError, ValueError) as error:
                    raise DatasetError(
                        f"{names[n]}: frame {t}: expected a box x, y, width, height, got {box}"
                    ) from error
                present[n, t] = True
        return cls(present, np.maximum(boxes[..., 2:], 0).prod(2), lengths, boxes)

    def overlaps(self, other: BoxTracks, groups: Groups | None = None) -> Overlaps:
        """Area that each track shares with each track of ``other`` of the same group and frame."""
        frames = min(self.present.shape[1], other.present.shape[1])
        a, b = self.boxes[:, None, :frames], other.boxes[None, :, :frames]
        low = np.maximum(a[..., :2], b[..., :2])
        high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
        shared: Floats = np.maximum(high - low, 0).prod(-1)
        if groups is not None:
            shared[groups[0][:, None] != groups[1]] = 0
        d, g, t = shared.nonzero()
        return Overlaps(d, g, t, shared[d, g, t])


Tracks = MaskTracks | BoxTracks


def track_iou(mine: Tracks, theirs: Tracks, groups: Groups | None = None) -> Floats:
    """Spatio-temporal IoU, float64 [D, G]: what two tracks share in all frames over what they cover in all frames.

    As published, frames beyond the end of the shorter list do not count, nor frames in which both are present
    with masks of different sizes.

    Args:
        mine: D tracks.
        theirs: G tracks of the same video.
        groups: int64 [D] and [G]; only tracks of the same group are compared, others get 0.
    """
    d, g = len(mine.areas), len(theirs.areas)
    shared = mine.overlaps(theirs, groups)  # type: ignore[arg-type]
    inter = np.bincount(shared.mine * g + shared.theirs, shared.area, d * g).reshape(d, g)
    frames = np.minimum(mine.lengths[:, None], theirs.lengths)
    union = _until(mine.areas, frames.T).T + _until(theirs.areas, frames) - inter
    if isinstance(mine, MaskTracks) and isinstance(theirs, MaskTracks):
        union = union - _of_other_size(mine, theirs)
    iou: Floats = np.divide(inter, union, out=np.zeros(inter.shape), where=union > 0)
    return iou


def frame_iou(mine: Tracks, theirs: Tracks, groups: Groups | None = None) -> Overlaps:
    """IoU in every frame in which two tracks meet."""
    shared = mine.overlaps(theirs, groups)  # type: ignore[arg-type]
    d, g, t = shared.mine, shared.theirs, shared.frame
    union = mine.areas[d, t] + theirs.areas[g, t] - shared.area
    return Overlaps(d, g, t, shared.area / union)


def _until(areas: NDArray[Any], frames: Ints) -> NDArray[Any]:
    """Area of track j [N, T] in its first ``frames[i, j]`` entries, [M, N]."""
    total = np.zeros((areas.shape[0], areas.shape[1] + 1), areas.dtype)
    np.cumsum(areas, axis=1, out=total[:, 1:])
    found: NDArray[Any] = total[np.arange(len(areas)), frames]
    return found


def _of_other_size(mine: MaskTracks, theirs: MaskTracks) -> Ints:
    """Area in frames where both are present with masks of different sizes, int64 [D, G]."""
    frames = min(mine.present.shape[1], theirs.present.shape[1])
    result = np.zeros((len(mine.areas), len(theirs.areas)), np.int64)
    code = [(t.heights << 32) + t.widths for t in (mine, theirs)]
    known = np.concatenate([c[t.present] for c, t in zip(code, (mine, theirs), strict=True)])
    if not len(known) or (known == known[0]).all():
        return result
    for n in range(len(result)):
        both = mine.present[n, :frames] & theirs.present[:, :frames]
        differ = both & (code[0][n, :frames] != code[1][:, :frames])
        result[n] = ((mine.areas[n, :frames] + theirs.areas[:, :frames]) * differ).sum(1)
    return result
