"""Synthetic videos with exact masks and identities, and detections of them with scripted faults.

    for shot in film(crossing(), clock(seconds=4, fps=25), faults=Faults(misses=0.1), seed=1):
        shot.frame            # the picture
        shot.truth            # what is really visible, as perfect detections; shot.truth_ids says who
        shot.detections       # what a detector would report; shot.detection_ids says whom (-1: nobody)

Actors move along paths given in seconds, so that the same scene can be filmed at any frame rate, with dropped frames
and with an irregular clock. Everything is seeded, and the faults of a frame depend only on the seed and its index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame

EMBEDDING_SIZE = 32
SMALLEST = 12
"""Objects with fewer visible pixels do not count as visible."""


@dataclass(frozen=True)
class Actor:
    """One object of a scene.

    Attributes:
        path: (second, x, y) knots of the centre in pixels, straight between them; absent before and after.
        size: (height, width) in pixels.
        depth: nearer actors (smaller depth) hide farther ones; ties: the later actor is nearer.
        look: seeds texture and embedding; actors of one look are twins. By default the actor's own number.
        growth: relative change of size per second.
    """

    path: tuple[tuple[float, float, float], ...]
    size: tuple[float, float] = (30.0, 24.0)
    shape: Literal["ellipse", "rectangle", "star", "ring"] = "ellipse"
    label: int = 0
    depth: float = 1.0
    look: int | None = None
    growth: float = 0.0

    def centre(self, second: float) -> tuple[float, float] | None:
        """(x, y) in pixels, or None while absent."""
        seconds, x, y = np.array(self.path).T
        if not seconds[0] <= second <= seconds[-1]:
            return None
        return float(np.interp(second, seconds, x)), float(np.interp(second, seconds, y))


@dataclass(frozen=True)
class Faults:
    """What a detector gets wrong.

    Attributes:
        jitter: standard deviation of each box edge, in parts of the box's size; masks move along.
        misses: probability that an object is not reported.
        false_positives: mean number of invented objects in a frame.
        score_noise: standard deviation of the score.
        label_flips: probability of a random label.
        embedding_noise: length of the noise added to the unit embedding.
        min_visible: objects of which less is visible are not reported.
        duplicates: probability that an object is reported once more, with another label and a lower score.
    """

    jitter: float = 0.0
    misses: float = 0.0
    false_positives: float = 0.0
    score_noise: float = 0.0
    label_flips: float = 0.0
    embedding_noise: float = 0.0
    min_visible: float = 0.15
    duplicates: float = 0.0


REALISTIC = Faults(
    jitter=0.04,
    misses=0.08,
    false_positives=0.3,
    score_noise=0.12,
    label_flips=0.05,
    embedding_noise=0.8,
)


@dataclass(frozen=True)
class Shot:
    """One filmed moment: the picture, the truth (int64 ids [K]) and the detections (int64 ids [N])."""

    frame: Frame
    truth: Detections
    truth_ids: NDArray[np.int64]
    detections: Detections
    detection_ids: NDArray[np.int64]


def clock(
    seconds: float, fps: float, drops: float = 0.0, wobble: float = 0.0, seed: int = 0
) -> list[tuple[int, float]]:
    """(frame index, timestamp) pairs: a steady clock, minus dropped frames, with ``wobble`` in frame intervals."""
    rng = np.random.default_rng(seed)
    times = (np.arange(int(seconds * fps)) + rng.uniform(0, wobble, int(seconds * fps))) / fps
    keep = rng.uniform(size=len(times)) >= drops
    return [(i, float(t)) for i, t in enumerate(times) if keep[i]]


def film(
    actors: Sequence[Actor],
    times: Sequence[tuple[int, float]],
    frame_size: tuple[int, int] = (120, 160),
    faults: Faults | None = None,
    seed: int = 0,
) -> Iterator[Shot]:
    """Films actors at (index, timestamp) pairs on pictures of (height, width). No ``faults``: a perfect detector."""
    background = 80 + 40 * _noise(np.random.default_rng(seed), *frame_size, 3)
    seeds = [k if actor.look is None else actor.look for k, actor in enumerate(actors)]
    looks = np.array([_embedding(look) for look in seeds]).reshape(-1, EMBEDDING_SIZE)
    textures = [_texture(look) for look in seeds]
    labels = np.array([actor.label for actor in actors], np.int64)
    for index, second in times:
        image = background.astype(np.uint8)
        owner, areas, covered = _paint(image, actors, textures, second)
        seen = np.flatnonzero(np.bincount(owner[owner >= 0], minlength=len(actors)) >= SMALLEST)
        masks = CompactMasks.from_dense(
            (owner[None] == seen[:, None, None]).reshape(-1, *frame_size)
        )
        visible = masks.areas() / areas[seen]
        # An embedding is read at one point of the map: what covers the object leaks into it.
        mixed = visible[:, None] * looks[seen] + covered[seen] / areas[seen, None] @ looks
        truth = Detections(
            boxes=masks.windows.astype(np.float32),
            scores=(0.9 * np.sqrt(visible)).astype(np.float32),
            labels=labels[seen],
            masks=masks,
            embeddings=mixed.astype(np.float32),
        )
        detections, rows = _detect(
            truth, visible, faults or Faults(), np.random.default_rng((seed, index))
        )
        shown = np.append(seen, -1)[rows]
        yield Shot(Frame(image, index, second), truth, seen, detections, shown)


def _paint(
    image: NDArray[np.uint8],
    actors: Sequence[Actor],
    textures: Sequence[NDArray[np.uint8]],
    second: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Draws the actors, far ones first.

    Returns who owns each pixel [H, W] (-1: nobody), how many pixels each actor has in the frame [K], and how many of
    them each other actor covers [K, K].
    """
    frame_size = image.shape[0], image.shape[1]
    owner = np.full(frame_size, -1)
    areas = np.zeros(len(actors), np.int64)
    covered = np.zeros((len(actors), len(actors)), np.int64)
    for k in sorted(range(len(actors)), key=lambda k: -actors[k].depth):
        placed = _silhouette(actors[k], second, frame_size)
        if placed is None:
            continue
        window, mask, (v, u) = placed
        under = owner[window][mask]
        hidden = np.bincount(under[under >= 0], minlength=len(actors))
        covered[:, k] = hidden
        areas[k] = mask.sum()
        owner[window][mask] = k
        image[window][mask] = textures[k][v[mask], u[mask]]
    return owner, areas, covered


def _detect(
    truth: Detections, visible: NDArray[np.float64], faults: Faults, rng: np.random.Generator
) -> tuple[Detections, NDArray[np.int64]]:
    """Detections by descending score, and the row of the truth behind each (-1: none)."""
    n = len(truth)
    classes = int(truth.labels.max(initial=1)) + 1
    flips = rng.uniform(size=n) < faults.label_flips
    moves = faults.jitter * rng.normal(size=(n, 4))
    moves *= np.tile(truth.boxes[:, 2:] - truth.boxes[:, :2], 2)
    scores = truth.scores + faults.score_noise * rng.normal(size=n)
    reports = Detections(
        boxes=_inside(truth.boxes + moves, truth.masks.frame_size),
        scores=np.clip(scores, 0.01, 1).astype(np.float32),
        labels=np.where(flips, rng.integers(0, classes, n), truth.labels),
        masks=CompactMasks.from_crops(
            list(truth.masks),
            [(int(x), int(y)) for x, y in truth.masks.windows[:, :2] + np.rint(moves[:, :2])],
            truth.masks.frame_size,
        ),
        embeddings=(truth.embeddings + faults.embedding_noise * _units(rng, n)).astype(np.float32),
    )
    kept = (rng.uniform(size=n) >= faults.misses) & (visible >= faults.min_visible)
    rows = np.flatnonzero(kept)
    twice = rows[rng.uniform(size=len(rows)) < faults.duplicates]
    repeated = reports[twice]
    repeated = replace(
        repeated, labels=repeated.labels + 1, scores=repeated.scores * np.float32(0.9)
    )
    invented = _invent(rng, int(rng.poisson(faults.false_positives)), classes, truth)
    together = _joined((reports[rows], repeated, invented))
    rows = np.concatenate((rows, twice, np.full(len(invented), -1)))
    order = np.argsort(-together.scores, kind="stable")
    return together[order], rows[order]


def _invent(rng: np.random.Generator, count: int, classes: int, truth: Detections) -> Detections:
    """False positives: boxes somewhere, with low scores, filled masks and random embeddings."""
    frame_size = truth.masks.frame_size
    corners = rng.uniform(0, 0.8, (count, 2)) * frame_size[::-1]
    boxes = np.concatenate((corners, corners + rng.uniform(10, 40, (count, 2))), axis=1)
    return scripted(
        boxes=_inside(boxes, frame_size).tolist(),
        scores=rng.uniform(0.05, 0.55, count).tolist(),
        labels=rng.integers(0, classes, count).tolist(),
        embeddings=_units(rng, count).astype(np.float32),
        frame_size=frame_size,
    )


def _joined(parts: Sequence[Detections]) -> Detections:
    masks = [part.masks for part in parts]
    return Detections(
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        masks=CompactMasks(
            np.concatenate([m.windows for m in masks]),
            tuple(bits for m in masks for bits in m.bits),
            masks[0].frame_size,
        ),
        embeddings=np.concatenate([part.embeddings for part in parts]),
    )


def _inside(boxes: NDArray[Any], frame_size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = frame_size
    return np.asarray(np.clip(boxes, 0, (width, height, width, height)), np.float32)


def _silhouette(
    actor: Actor, second: float, frame_size: tuple[int, int]
) -> (
    tuple[tuple[slice, slice], NDArray[np.bool_], tuple[NDArray[np.int64], NDArray[np.int64]]]
    | None
):
    """Where the actor is: window of the frame, mask inside it, texture coordinates of its pixels."""
    centre = actor.centre(second)
    if centre is None:
        return None
    grown = float(np.exp(actor.growth * second))
    half_h, half_w = actor.size[0] * grown / 2, actor.size[1] * grown / 2
    reach = float(np.hypot(half_h, half_w)) + 1
    x0, x1 = (int(np.clip(centre[0] + s * reach, 0, frame_size[1])) for s in (-1, 1))
    y0, y1 = (int(np.clip(centre[1] + s * reach, 0, frame_size[0])) for s in (-1, 1))
    if x0 >= x1 or y0 >= y1:
        return None
    dy, dx = np.mgrid[y0:y1, x0:x1] + 0.5 - np.array((centre[1], centre[0]))[:, None, None]
    u, v = dx / half_w, dy / half_h
    radius = np.hypot(u, v)
    if actor.shape == "rectangle":
        mask = (np.abs(u) <= 1) & (np.abs(v) <= 1)
    elif actor.shape == "star":
        mask = radius <= 0.7 + 0.3 * np.cos(5 * np.arctan2(v, u))
    elif actor.shape == "ring":
        mask = (radius <= 1) & (radius >= 0.4)
    else:
        mask = radius <= 1
    texture_at = tuple(np.clip((c + 1) * 16, 0, 31).astype(np.int64) for c in (v, u))
    return (slice(y0, y1), slice(x0, x1)), mask, (texture_at[0], texture_at[1])


def _texture(look: int) -> NDArray[np.uint8]:
    """uint8 [32, 32, 3]: two colours in a blurred pattern of its own."""
    rng = np.random.default_rng((7, look))
    first, second = rng.uniform(0, 255, (2, 3))
    blend = _noise(rng, 32, 32, 1)
    return np.asarray(first * blend + second * (1 - blend), np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int, channels: int) -> NDArray[np.float64]:
    """Blurred noise [height, width, channels] in 0..1."""
    coarse = rng.uniform(size=(height // 8 + 2, width // 8 + 2, channels))
    fine = np.repeat(np.repeat(coarse, 8, 0), 8, 1)[: height + 4, : width + 4]
    blurred = sum(fine[k : k + height, j : j + width] for k in range(5) for j in range(5))
    return np.asarray(blurred / 25)


def _units(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    vectors = rng.normal(size=(n, EMBEDDING_SIZE))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _embedding(look: int) -> NDArray[np.float64]:
    return np.asarray(_units(np.random.default_rng((3, look)), 1)[0])


def scripted(
    boxes: Sequence[Sequence[float]],
    scores: float | Sequence[float] = 0.9,
    labels: int | Sequence[int] = 0,
    embeddings: NDArray[np.float32] | None = None,
    frame_size: tuple[int, int] = (120, 160),
) -> Detections:
    """Detections by hand: N boxes with their pixels as masks, one value or N; without embeddings [N, E], E = 0."""
    n = len(boxes)
    corners = np.array(boxes, np.float32).reshape(n, 4)
    whole = np.clip(np.nan_to_num(corners), -1e4, 1e4).astype(int).tolist()
    crops = [np.ones((max(y1 - y0, 0), max(x1 - x0, 0)), bool) for x0, y0, x1, y1 in whole]
    return Detections(
        boxes=corners,
        scores=np.broadcast_to(np.asarray(scores, np.float32), n).copy(),
        labels=np.broadcast_to(np.asarray(labels, np.int64), n).copy(),
        masks=CompactMasks.from_crops(crops, [(b[0], b[1]) for b in whole], frame_size),
        embeddings=np.zeros((n, 0), np.float32) if embeddings is None else embeddings,
    )


def crossing(seconds: float = 4.0, twins: bool = False) -> list[Actor]:
    """Two actors walk through each other; twins look alike and share a class."""
    looks = (0, 0) if twins else (0, 1)
    return [
        Actor(((0, 20, 56), (seconds, 140, 64)), look=looks[0], depth=1),
        Actor(((0, 140, 62), (seconds, 20, 58)), look=looks[1], depth=2, label=0 if twins else 1),
    ]


def occlusion(hidden: float) -> list[Actor]:
    """Actor 0 walks behind a standing wall (actor 1) and is wholly hidden for ``hidden`` seconds."""
    # The wall is 60 wide, the walker 20: wholly hidden over 40 pixels.
    start, end = 2.0, 2.0 + hidden
    walk = ((0, 20, 60), (start, 60, 60), (end, 100, 60), (end + 2, 140, 60))
    return [
        Actor(walk, size=(24, 20), depth=2),
        Actor(((0, 80, 60), (end + 2, 80, 60)), size=(80, 60), shape="rectangle", depth=1, label=1),
    ]


def reentry(outside: float) -> list[Actor]:
    """Actor 0 leaves at the right edge and comes back there after about ``outside`` seconds; actor 1 stays."""
    back = 2.0 + outside
    return [
        Actor(((0, 80, 40), (2.0, 180, 40), (back, 180, 46), (back + 2, 80, 46)), size=(24, 36)),
        Actor(((0, 40, 90), (back + 2, 60, 90)), shape="star", size=(40, 40), label=1),
    ]


def crowd(
    count: int, seconds: float, seed: int = 0, twins: bool = False, classes: int = 3
) -> list[Actor]:
    """``count`` actors wander through a 160 x 120 frame, over and past its edges, behind each other."""
    rng = np.random.default_rng((11, seed))
    shapes: tuple[Literal["ellipse", "rectangle", "star", "ring"], ...]
    shapes = ("ellipse", "rectangle", "star", "ring")
    actors = []
    for k in range(count):
        begin = float(rng.uniform(0, seconds / 3)) if k >= count // 2 else 0.0
        second, (x, y) = begin, rng.uniform((10, 10), (150, 110))
        path = [(second, float(x), float(y))]
        while second < seconds:
            goal = rng.uniform((-25, -25), (185, 145))
            speed = rng.uniform(15, 60)
            second += max(float(np.hypot(goal[0] - x, goal[1] - y)) / speed, 0.1)
            x, y = goal
            path.append((second, float(x), float(y)))
        actors.append(
            Actor(
                tuple(path),
                size=(float(rng.uniform(18, 42)), float(rng.uniform(14, 34))),
                shape=shapes[k % 4],
                label=k % classes,
                depth=float(rng.uniform()),
                look=0 if twins else None,
                growth=float(rng.uniform(-0.05, 0.05)),
            )
        )
    return actors
