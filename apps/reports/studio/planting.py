"""Errors planted into a run whose identities are right, each with the edit that takes it back.

What is planted is what goes wrong in real runs: two identities change places, an object gets another number, two
objects get one, an object is there twice, is called something else, its mask floods the background, it is missed for a
moment, and something is seen where nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sipvideo.masks import BoolArray, CompactMasks
from sipvideo.structures import Detections, FloatArray, FrameResult

KINDS = ("swap", "change", "mixture", "twin", "class", "growth", "gap", "ghost")
"""What can be planted, see :func:`plant`."""
APART = 1.0
"""Seconds between two errors of one identity, at least."""
SURROUNDED = 0.6
"""Seconds for which an object is seen before and after what is planted."""


@dataclass(frozen=True)
class Planted:
    """One error.

    Attributes:
        kind: of ``KINDS``.
        ids: the identities in it, as the run with errors numbers them.
        first, last: frames between which it lies; the same for those of a moment.
        mend: the edit that takes it back, in the form of the log of edits.
    """

    kind: str
    ids: tuple[int, ...]
    first: int
    last: int
    mend: dict[str, Any]


@dataclass
class _Object:
    """An object of a frame."""

    track_id: int
    box: FloatArray
    score: float
    label: int
    mask: CompactMasks
    look: FloatArray


@dataclass
class _Run:
    """A run taken apart: frame by frame its objects by identity, and what was planted so far."""

    frames: list[dict[int, _Object]]
    seconds: list[float]
    size: tuple[int, int]
    rng: np.random.Generator
    planted: list[Planted] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Frames per second."""
        return (len(self.seconds) - 1) / max(self.seconds[-1] - self.seconds[0], 1e-6)

    def count(self, seconds: float) -> int:
        """Frames that take about so long, at least one."""
        return max(1, round(seconds * self.rate))

    def fresh(self) -> int:
        """An identity that nobody has."""
        used = {track_id for frame in self.frames for track_id in frame}
        return max(used | {-1}) + 1

    def there(self, track_id: int, first: int, last: int) -> bool:
        """Whether an identity is seen in all frames from first to last."""
        if first < 0 or last >= len(self.frames):
            return False
        return all(track_id in frame for frame in self.frames[first : last + 1])

    def free(self, ids: Sequence[int], first: int, last: int) -> bool:
        """Whether nothing was planted near."""
        margin = self.count(APART)
        return not any(
            set(ids) & set(one.ids) and one.first - margin <= last and first <= one.last + margin
            for one in self.planted
        )

    def rename(self, was: int, now: int, first: int) -> None:
        """From a frame on one identity has another number."""
        for frame in self.frames[first:]:
            if was in frame:
                one = frame.pop(was)
                one.track_id = now
                frame[now] = one


def plant(
    results: Sequence[FrameResult], kinds: Sequence[str], seed: int
) -> tuple[list[FrameResult], list[Planted]]:
    """A run with errors, about evenly spread over its time.

    ``swap``: two change places from a frame on, where they are nearest to each other; ``change``: one goes on under
    another number; ``mixture``: one ends, and another that begins later has its number; ``twin``: a second identity on
    an object for a while; ``class``: a while of another class; ``growth``: a while with the mask blown up; ``gap``: not
    there for a moment; ``ghost``: an identity where nothing is.

    Args:
        results: a run whose identities are right.
        kinds: of ``KINDS``, in order of time; one that the run has no place for is left out.
        seed: the same gives the same errors.

    Returns:
        the run with the errors, and the errors in order of time.
    """
    run = _taken_apart(results, seed)
    step = len(run.frames) / max(len(kinds), 1)
    # In order of time: what renames from a frame on touches nothing that was planted before.
    for k, kind in enumerate(kinds):
        found = _PLANTERS[kind](run, int(k * step), max(int((k + 1) * step), int(k * step) + 1))
        if found is not None:
            run.planted.append(found)
    return _together(results, run), run.planted


def coming_and_going(results: Sequence[FrameResult], seed: int) -> list[FrameResult]:
    """The run with a third of its objects gone from some time on, and a third not there until later.

    In films in which everybody stays there are no two that are never seen together, as ``mixture`` needs them.
    """
    run = _taken_apart(results, seed)
    ids = sorted({track_id for frame in run.frames for track_id in frame})
    run.rng.shuffle(ids)
    third, count = -(-len(ids) // 3), len(run.frames)
    for k, track_id in enumerate(ids[: 2 * third]):
        away = slice(int(run.rng.uniform(0.3, 0.5) * count), None)
        if k >= third:
            away = slice(int(run.rng.uniform(0.4, 0.7) * count))
        for frame in run.frames[away]:
            frame.pop(track_id, None)
    return _together(results, run)


def _taken_apart(results: Sequence[FrameResult], seed: int) -> _Run:
    frames = []
    for result in results:
        found = result.detections
        frames.append(
            {
                track_id: _Object(
                    track_id,
                    found.boxes[k],
                    float(found.scores[k]),
                    int(found.labels[k]),
                    found.masks[[k]],
                    found.embeddings[k],
                )
                for k, track_id in enumerate(result.track_ids.tolist())
                if track_id >= 0
            }
        )
    seconds = [result.frame.timestamp for result in results]
    return _Run(frames, seconds, results[0].frame.size, np.random.default_rng(seed))


def _together(results: Sequence[FrameResult], run: _Run) -> list[FrameResult]:
    found = []
    for result, frame in zip(results, run.frames, strict=True):
        objects = sorted(frame.values(), key=lambda one: -one.score)
        if not objects:
            nothing = Detections.empty(run.size, result.detections.embeddings.shape[1])
            found.append(replace(result, detections=nothing, track_ids=np.zeros(0, np.int64)))
            continue
        detections = Detections(
            boxes=np.array([one.box for one in objects], np.float32),
            scores=np.array([one.score for one in objects], np.float32),
            labels=np.array([one.label for one in objects], np.int64),
            masks=CompactMasks.concatenated([one.mask for one in objects]),
            embeddings=np.array([one.look for one in objects], np.float32),
        )
        ids = np.array([one.track_id for one in objects], np.int64)
        found.append(FrameResult(result.frame, detections, ids, 0.0))
    return found


def _places(run: _Run, begin: int, end: int, length: int) -> list[tuple[int, int]]:
    """(identity, frame) from begin to end where one is seen all around ``length`` frames, in random order."""
    margin = run.count(SURROUNDED)
    found = [
        (track_id, t)
        for t in range(begin, end)
        for track_id in run.frames[t]
        if run.there(track_id, t - margin, t + length - 1 + margin)
        and run.free((track_id,), t, t + length - 1)
    ]
    run.rng.shuffle(found)
    return found


def _swap(run: _Run, begin: int, end: int) -> Planted | None:
    best: tuple[float, int, int, int] | None = None
    for a, t in _places(run, begin, end, 1):
        for b in run.frames[t]:
            margin = run.count(SURROUNDED)
            if b <= a or not run.there(b, t - margin, t + margin) or not run.free((b,), t, t):
                continue
            boxes = run.frames[t][a].box, run.frames[t][b].box
            apart = np.hypot(*((boxes[0][:2] + boxes[0][2:] - boxes[1][:2] - boxes[1][2:]) / 2))
            size = sum(float(np.sqrt(np.prod(box[2:] - box[:2]))) for box in boxes)
            if best is None or apart / size < best[0]:
                best = float(apart / size), a, b, t
    if best is None:
        return None
    _, a, b, t = best
    other = run.fresh()
    run.rename(a, other, t)
    run.rename(b, a, t)
    run.rename(other, b, t)
    return Planted("swap", (a, b), t, t, {"op": "swap", "a": a, "b": b, "frame": t})


def _change(run: _Run, begin: int, end: int) -> Planted | None:
    for track_id, t in _places(run, begin, end, 1):
        new = run.fresh()
        run.rename(track_id, new, t)
        # Often it was missed for a moment.
        for frame in run.frames[t : t + int(run.rng.integers(0, run.count(0.4) + 1))]:
            frame.pop(new, None)
        return Planted(
            "change", (track_id, new), t, t, {"op": "join", "into": track_id, "from": new}
        )
    return None


def _mixture(run: _Run, begin: int, end: int) -> Planted | None:
    seen: dict[int, list[int]] = {}
    for t, frame in enumerate(run.frames):
        for track_id in frame:
            seen.setdefault(track_id, []).append(t)
    least = run.count(SURROUNDED)
    pairs = [
        (seen[b][0] - seen[a][-1], a, b)
        for a in seen
        for b in seen
        if len(seen[a]) >= least
        and len(seen[b]) >= least
        and seen[a][-1] < seen[b][0]
        and begin <= seen[b][0] < end
        and run.free((a, b), seen[a][-1], seen[b][0])
    ]
    if not pairs:
        return None
    gap, a, b = min(pairs)
    t = seen[b][0]
    run.rename(b, a, t)
    return Planted("mixture", (a,), t - gap, t, {"op": "cut", "id": a, "frame": t, "new": b})


def _twin(run: _Run, begin: int, end: int) -> Planted | None:
    length = run.count(float(run.rng.uniform(0.5, 2)))
    for track_id, t in _places(run, begin, end, length):
        new = run.fresh()
        for frame in run.frames[t : t + length]:
            one = frame[track_id]
            sides = np.tile(one.box[2:] - one.box[:2], 2)
            steps = np.rint(run.rng.normal(0, 0.03, 2) * sides[:2]).astype(int).tolist()
            frame[new] = replace(
                one,
                track_id=new,
                box=one.box + (run.rng.normal(0, 0.03, 4) * sides).astype(np.float32),
                score=one.score * float(run.rng.uniform(0.6, 0.95)),
                mask=_moved(one.mask, steps),
            )
        last = t + length - 1
        mend = {"op": "delete", "id": new, "first": t, "last": last}
        return Planted("twin", (new, track_id), t, last, mend)
    return None


def _class(run: _Run, begin: int, end: int) -> Planted | None:
    length = run.count(float(run.rng.uniform(0.4, 2)))
    labels = sorted({one.label for frame in run.frames for one in frame.values()})
    for track_id, t in _places(run, begin, end, length):
        right = run.frames[t][track_id].label
        wrong = int(run.rng.choice([k for k in (*labels, right + 1) if k != right]))
        for frame in run.frames[t : t + length]:
            frame[track_id].label = wrong
        last = t + length - 1
        mend = {"op": "relabel", "id": track_id, "label": right, "first": t, "last": last}
        return Planted("class", (track_id,), t, last, mend)
    return None


def _growth(run: _Run, begin: int, end: int) -> Planted | None:
    length = int(run.rng.integers(3, 9))
    for track_id, t in _places(run, begin, end, length):
        right = []
        for n, frame in enumerate(run.frames[t : t + length], t):
            one = frame[track_id]
            right.append([n, one.mask.rle(0)])
            x0, y0, x1, y1 = one.box.tolist()
            reach = max(3, round(0.3 * float(np.sqrt((x1 - x0) * (y1 - y0)))))
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
            grown = cv2.dilate(one.mask.dense(0).astype(np.uint8), kernel).astype(bool)
            one.mask = CompactMasks.from_dense(grown[None])
            one.box = one.mask.windows[0].astype(np.float32)
        last = t + length - 1
        mend = {"op": "masks", "id": track_id, "frames": right}
        return Planted("growth", (track_id,), t, last, mend)
    return None


def _gap(run: _Run, begin: int, end: int) -> Planted | None:
    length = run.count(float(run.rng.uniform(0.3, 1)))
    for track_id, t in _places(run, begin, end, length):
        taken = [
            [n, frame.pop(track_id).mask.rle(0)]
            for n, frame in enumerate(run.frames[t : t + length], t)
        ]
        mend = {"op": "masks", "id": track_id, "frames": taken}
        return Planted("gap", (track_id,), t, t + length - 1, mend)
    return None


def _ghost(run: _Run, begin: int, end: int) -> Planted | None:
    height, width = run.size
    length = run.count(float(run.rng.uniform(0.3, 1.2)))
    known = [one for frame in run.frames for one in frame.values()]
    if not known or begin + length > len(run.frames):
        return None
    like = known[int(run.rng.integers(len(known)))]
    t = int(run.rng.integers(begin, max(begin + 1, min(end, len(run.frames) - length))))
    taken = np.array([one.box for frame in run.frames[t : t + length] for one in frame.values()])
    for _ in range(50):
        side = run.rng.uniform(0.08, 0.3, 2) * height
        corner = run.rng.uniform(0, 1, 2) * (np.array([width, height]) - side)
        box = np.concatenate((corner, corner + side)).astype(np.float32)
        if (
            len(taken)
            and (np.minimum(taken[:, 2:], box[2:]) > np.maximum(taken[:, :2], box[:2])).all(1).any()
        ):
            continue
        break
    new, score = run.fresh(), float(run.rng.uniform(0.3, 0.6))
    drift = run.rng.normal(0, 0.3, 2)
    for n, frame in enumerate(run.frames[t : t + length]):
        here = (
            box
            + np.tile(drift * n, 2).astype(np.float32)
            + run.rng.normal(0, 1, 4).astype(np.float32)
        )
        noise = run.rng.normal(0, 0.5, like.look.shape).astype(np.float32)
        look = like.look + noise * float(np.abs(like.look).mean() if like.look.size else 0)
        frame[new] = _Object(new, here, score, like.label, _ellipse(here, run.size), look)
    last = t + length - 1
    return Planted("ghost", (new,), t, last, {"op": "delete", "id": new, "first": t, "last": last})


_PLANTERS: dict[str, Callable[[_Run, int, int], Planted | None]] = {
    "swap": _swap,
    "change": _change,
    "mixture": _mixture,
    "twin": _twin,
    "class": _class,
    "growth": _growth,
    "gap": _gap,
    "ghost": _ghost,
}


def _moved(mask: CompactMasks, steps: list[int]) -> CompactMasks:
    x0, y0 = mask.windows[0, :2].tolist()
    origin = x0 + steps[0], y0 + steps[1]
    return CompactMasks.from_crops([mask.crop(0)], [origin], mask.frame_size)


def _ellipse(box: FloatArray, size: tuple[int, int]) -> CompactMasks:
    x0, y0, x1, y1 = np.rint(box).astype(int).tolist()
    h, w = max(y1 - y0, 2), max(x1 - x0, 2)
    y, x = np.ogrid[:h, :w]
    inside: BoolArray = ((y + 0.5) / h * 2 - 1) ** 2 + ((x + 0.5) / w * 2 - 1) ** 2 <= 1
    return CompactMasks.from_crops([inside], [(x0, y0)], size)


def write_run(folder: Path, results: Sequence[FrameResult], class_names: Sequence[str]) -> None:
    """Saves a run as ``sipvideo video --save lines,appearance`` does, without a summary."""
    from sipvideo.results import FILES
    from sipvideo.sinks import AppearanceTable, CocoRleLines

    folder.mkdir(parents=True, exist_ok=True)
    with (
        CocoRleLines(folder / FILES["lines"], class_names) as lines,
        AppearanceTable(folder / FILES["appearance"]) as looks,
    ):
        for result in results:
            lines.write(result)
            looks.write(result)
