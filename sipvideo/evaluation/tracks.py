"""Masks or boxes of several tracks through one video, and how much two sets of tracks share, frame by frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIGNED = np.array([d - 32 if d & 16 else d for d in range(32)], np.int32)
"""Value of the last digit of a number in compressed RLE."""

LARGEST = 1 << 29
"""Pixels of a picture that six digits of compressed RLE can count."""

DAMAGE = re.compile(rb"[^0-o]|[P-o]{6}|[P-o]$")
"""Never in compressed RLE: a byte that is no digit, a number of more than six digits, one that does not end."""


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
        first: int64 [N, T], background pixels before each mask.
        rest: N x T bytes, each mask's compressed runs after the first.
    """

    present: NDArray[np.bool_]
    areas: Ints
    lengths: Ints
    heights: Ints
    widths: Ints
    first: Ints
    rest: list[list[bytes]]

    @classmethod
    def read(cls, tracks: Sequence[Sequence[Json | None]], names: Sequence[str]) -> MaskTracks:
        """Reads lists of compressed RLEs, None or {} where the object is absent.

        Args:
            tracks: N lists.
            names: what errors call each track.

        Raises:
            DatasetError: a malformed RLE, or one whose runs do not fill its frame.
        """
        lengths = np.array([len(track) for track in tracks], np.int64)
        shape = len(tracks), int(lengths.max(initial=0))
        place = [
            n * shape[1] + t for n, track in enumerate(tracks) for t, rle in enumerate(track) if rle
        ]
        rles = [rle for track in tracks for rle in track if rle]
        at = np.array(place, np.int64)

        def where(k: int) -> str:
            return f"{names[place[k] // shape[1]]}: frame {place[k] % shape[1]}"

        counts = _counts(rles, where)
        sizes = np.array([rle["size"] for rle in rles], np.int64).reshape(-1, 2)
        first, skip, totals = _runs(counts, where)
        pixels = sizes.prod(1)
        wrong = (totals != pixels) | (pixels >= LARGEST) | (pixels <= 0)
        if wrong.any():
            k = int(np.argmax(wrong))
            raise DatasetError(
                f"{where(k)}: damaged mask: its runs cover {totals[k]} pixels,"
                f" its frame of {sizes[k, 0]} x {sizes[k, 1]} has {pixels[k]}"
            )

        def grid(values: Any, dtype: Any = np.int64) -> NDArray[Any]:
            full = np.zeros(shape[0] * shape[1], dtype)
            full[at] = values
            return full.reshape(shape)

        rest = [[b""] * shape[1] for _ in tracks]
        for p, text, begin in zip(place, counts, skip.tolist(), strict=True):
            rest[p // shape[1]][p % shape[1]] = text[begin:]
        return cls(
            grid(True, np.bool_),
            grid(mask_areas(rles)),
            lengths,
            grid(sizes[:, 0]),
            grid(sizes[:, 1]),
            grid(first),
            rest,
        )

    def overlaps(self, other: MaskTracks, groups: Groups | None = None) -> Overlaps:
        """Pixels that each track shares with each track of ``other`` of the same group and frame."""
        mine, theirs = groups or (np.zeros(len(self.areas), int), np.zeros(len(other.areas), int))
        frames = min(self.present.shape[1], other.present.shape[1])
        # Frames and groups side by side, in slots of one wide picture, are one call of the compiled code. It
        # compares the boxes of all pairs first, so that masks in different slots cost next to nothing.
        pairs = len(self.areas) * len(other.areas)
        room = LARGEST // max(1, *((t.heights * t.widths).max(initial=1) for t in (self, other)))
        slots = min(room, 1 + int(max(mine.max(initial=0), theirs.max(initial=0))))
        step = max(1, min(room // slots, frames, int(64 / np.sqrt(max(pairs, 1)))))
        wide, others = self._wide(mine, slots, step), other._wide(theirs, slots, step)
        edges = np.arange(0, frames + step, step)
        cuts = np.searchsorted(wide[1], edges), np.searchsorted(others[1], edges)
        found = [np.zeros((4, 0), np.int64)]
        for a0, a1, b0, b1 in zip(cuts[0], cuts[0][1:], cuts[1], cuts[1][1:], strict=False):
            if a0 == a1 or b0 == b1:
                continue
            iou = coco_mask.iou(wide[0][a0:a1], others[0][b0:b1], [0] * int(b1 - b0))
            i, j = (iou > 0).nonzero()
            ratio = iou[i, j]
            t, d, g = wide[1][a0 + i], wide[2][a0 + i], others[2][b0 + j]
            both = self.areas[d, t] + other.areas[g, t]
            shared = np.rint(ratio * both / (1 + ratio)).astype(np.int64)
            found.append(np.stack((d, g, t, shared)))
        d, g, t, shared = np.concatenate(found, axis=1)
        # Where there is no room for a slot each, some groups share one.
        same = slice(None) if groups is None else mine[d] == theirs[g]
        return Overlaps(d[same], g[same], t[same], shared[same])

    def _wide(self, groups: Ints, slots: int, step: int) -> tuple[list[Json], Ints, Ints]:
        """Masks frame by frame, each in its slot of a wide picture; the frame and track of each."""
        t, n = self.present.T.nonzero()
        heights, widths = self.heights[n, t], self.widths[n, t]
        slot = t % step * slots + groups[n] % slots
        first = _six_digits(self.first[n, t] + slot * heights * widths)
        sizes = zip(heights.tolist(), (widths * (step * slots)).tolist(), strict=True)
        rest = [self.rest[a][b] for a, b in zip(n.tolist(), t.tolist(), strict=True)]
        rles = [
            {"size": size, "counts": a + b} for size, a, b in zip(sizes, first, rest, strict=True)
        ]
        return rles, t, n


def mask_areas(rles: list[Json]) -> Ints:
    """Pixels of compressed RLEs, int64 [N]."""
    # pycocotools 2.0.11 with numpy 2 cannot answer for more than 255 masks at once, nor give more than 63 boxes.
    parts: list[Ints] = [coco_mask.area(rles[k : k + 255]) for k in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0, np.int64), *parts])


def mask_boxes(rles: list[Json]) -> Floats:
    """Tight boxes of compressed RLEs, float64 [N, 4], pixels, x, y, width, height."""
    parts: list[Floats] = [coco_mask.toBbox(rles[k : k + 63]) for k in range(0, len(rles), 63)]
    return np.concatenate([np.zeros((0, 4)), *parts])


def _counts(rles: list[Json], where: Callable[[int], str]) -> list[bytes]:
    """The compressed runs of each mask."""
    counts = []
    for k, rle in enumerate(rles):
        try:
            text = rle["counts"]
            if type(text) is str:
                text = text.encode("ascii")
            if not isinstance(text, bytes) or not text:
                raise ValueError("expected a compressed RLE")
            if len(rle["size"]) != 2:
                raise ValueError(f"expected size = height, width, got {rle['size']}")
        except (KeyError, TypeError, ValueError) as error:
            what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{where(k)}: malformed mask: {what}") from error
        counts.append(text)
    return counts


def _runs(texts: list[bytes], where: Callable[[int], str]) -> tuple[Ints, Ints, Ints]:
    """Reads compressed runs, all masks at once.

    COCO writes each run as digits of five bits, the lowest first, bit 5 set on all but the last, the highest bit of
    the last its sign; from the fourth run on, what is written is the difference to the run before the previous.

    Returns:
        int64 [N] each: the first run, the bytes that encode it, the sum of all runs.
    """
    if not texts:
        return (np.zeros(0, np.int64),) * 3
    digits = np.frombuffer(b"".join(texts), np.uint8) - np.uint8(48)
    lengths = np.array([len(text) for text in texts])
    stops = np.cumsum(lengths)
    begins = stops - lengths
    last = digits < 32
    low = np.flatnonzero(~last)
    # The run that each lower digit belongs to, and its place in it: most runs have one digit, their last.
    run = low - np.arange(len(low))
    highest = np.append(run[1:] != run[:-1], [True][: len(run)])
    count = np.diff(np.flatnonzero(highest), prepend=-1)
    place = np.arange(len(low)) - np.repeat(np.cumsum(count) - count, count)
    if digits.max() >= 64 or place.max(initial=0) > 4 or not last[stops - 1].all():
        k = next(k for k, text in enumerate(texts) if DAMAGE.search(text))
        raise DatasetError(f"{where(k)}: malformed mask: its counts are no compressed RLE")
    values = SIGNED.take(digits.take(np.flatnonzero(last)))
    values[run[highest]] <<= (5 * (place[highest] + 1)).astype(np.int32)
    np.add.at(values, run, (digits[low].astype(np.int32) & 31) << (5 * place).astype(np.int32))
    offsets = begins - np.searchsorted(low, begins)
    number = np.diff(offsets, append=len(values))
    first = values[offsets]
    # A difference counts in its own run and in every second one after it; the first run stands alone.
    times = (np.arange(number.max(), 0, -1, dtype=np.int32) + 1) >> 1
    values *= np.concatenate([times[len(times) - n :] for n in number.tolist()])
    values[offsets] = first
    digits_of_first = np.searchsorted(run, offsets, "right") - np.searchsorted(run, offsets) + 1
    return first.astype(np.int64), digits_of_first, np.add.reduceat(values, offsets)


def _six_digits(values: Ints) -> list[bytes]:
    """Runs of 0 .. LARGEST pixels as COCO writes them, with leading zeros, so that all are equally long."""
    shifts = np.arange(0, 30, 5)
    digits = ((values[:, None] >> shifts) & 31) + 48 + 32 * (shifts < 25)
    text = digits.astype(np.uint8).tobytes()
    return [text[k : k + 6] for k in range(0, len(text), 6)]


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
