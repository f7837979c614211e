"""How well embeddings tell objects apart: each sighting must find its object again in another frame.

The tracker asks the same question: which of these is the one that I know? Only here nothing but the embedding may
answer, neither places nor classes nor time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sipvideo import boxes
from sipvideo.structures import Detections, Frame

if TYPE_CHECKING:
    from sipvideo.data import YouTubeVis
    from sipvideo.data.augment import Augmentation
    from sipvideo.data.sample import ClipSource, Sample

Ints = NDArray[np.int64]

LEAST_IOU = 0.5
"""Overlap of boxes from which a detection counts as the annotated object."""
VIEW_SIZE = (416, 416)
"""(height, width) of the views of still pictures."""


@dataclass(frozen=True, eq=False)
class View:
    """An annotated picture that is looked at: a frame of a video, or one of two views of a still picture.

    Attributes:
        video: number of the video; object ids count within it.
        frame: number of the frame in it.
        second: time of the frame.
        sample: the picture and its objects.
    """

    video: int
    frame: int
    second: float
    sample: Sample


@dataclass(frozen=True, eq=False)
class Sightings:
    """N detections whose object is known.

    Attributes:
        embeddings: float32 [N, E].
        labels, objects, videos, frames: int64 [N]: the annotated class; ``objects`` are numbers within ``videos``,
            and ``frames`` too.
        seconds: float64 [N].
    """

    embeddings: NDArray[np.float32]
    labels: Ints
    objects: Ints
    videos: Ints
    frames: Ints
    seconds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class RetrievalScores:
    """Figures over all questions.

    Attributes:
        rank1: share in which the right object is the most alike of all candidates; 0 without questions.
        mean_ap: mean average precision; with one right candidate that is the mean of 1 / rank.
        questions: their number.
    """

    rank1: float
    mean_ap: float
    questions: int


@dataclass(frozen=True)
class Retrieval:
    """Scores by who the candidates are.

    Attributes:
        all: everybody in the other frame, and in the frame with that number of every other video.
        same_class: those of them with the object's class.
        same_scene: those with the object's class in the other frame alone, if there are several: look-alikes that
            a tracker has to tell apart.
    """

    all: RetrievalScores
    same_class: RetrievalScores
    same_scene: RetrievalScores


def video_views(data: YouTubeVis, every: int = 1) -> Iterator[View]:
    """Every n-th frame of each video."""
    first = 0
    for number, video in enumerate(data.videos):
        for frame in range(0, video.length, every):
            yield View(number, frame, video.seconds[frame], data[first + frame])
        first += video.length


def picture_views(data: ClipSource, augmentation: Augmentation, seed: int = 0) -> Iterator[View]:
    """Two random views of each still picture, a second apart."""
    for number in range(len(data)):
        rng = np.random.default_rng((seed, number))
        pair = augmentation.clip(data.pair(number, rng), VIEW_SIZE, rng)
        for frame, sample in enumerate(pair):
            yield View(number, frame, float(frame), sample)


def sightings(segment: Callable[[Frame], Detections], views: Iterable[View]) -> Sightings:
    """What a model sees of the annotated objects, each at the detection that overlaps it best.

    Args:
        segment: detections with embeddings of one frame.
        views: what to look at.
    """
    found: list[tuple[NDArray[np.float32], list[tuple[int, int, int, int, float]]]] = []
    for view in views:
        sample = view.sample[~view.sample.crowd]
        detections = segment(Frame(sample.image, view.frame, view.second))
        mine, theirs = _matched(sample.boxes, detections.boxes)
        rows = [
            (int(sample.labels[k]), int(sample.object_ids[k]), view.video, view.frame, view.second)
            for k in mine.tolist()
        ]
        found.append((detections.embeddings[theirs], rows))
    table = np.array([row for _, rows in found for row in rows], np.float64).reshape(-1, 5)
    whole = table[:, :4].astype(np.int64)
    embeddings = np.concatenate([e for e, rows in found if rows] or [np.zeros((0, 0), np.float32)])
    labels, objects, videos, frames = whole.T
    return Sightings(embeddings, labels, objects, videos, frames, table[:, 4])


def _matched(
    annotated: NDArray[np.float32], detected: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of boxes [N, 4] and [M, 4] that are each other's best partner and overlap enough."""
    if not len(annotated) or not len(detected):
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    overlap = boxes.iou(annotated, detected)
    best = overlap.argmax(1)
    mine = np.flatnonzero(
        (overlap.max(1) >= LEAST_IOU) & (overlap.argmax(0)[best] == np.arange(len(best)))
    )
    return mine, best[mine]


def retrieval(seen: Sightings, least_gap: float = 0.5) -> Retrieval:
    """Asks for every sighting of an object where it is in each other frame of its video that shows it.

    Likeness is the cosine after the mean of all embeddings was taken off, as the tracker does. A candidate as alike
    as the right one counts as more alike.

    Args:
        seen: sightings; an object at most once per frame.
        least_gap: seconds between the two frames.
    """
    centred = seen.embeddings - (seen.embeddings.mean(0) if len(seen) else 0)
    units = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    likeness = units @ units.T
    ranks: dict[str, list[int]] = {"all": [], "same_class": [], "same_scene": []}
    here = (seen.videos == seen.videos[:, None]) & (seen.frames == seen.frames[:, None])
    elsewhere = (seen.videos != seen.videos[:, None]) & (seen.frames == seen.frames[:, None])
    alike_class = seen.labels == seen.labels[:, None]
    for k in range(len(seen)):
        same = (seen.objects == seen.objects[k]) & (seen.videos == seen.videos[k])
        later = abs(seen.seconds - seen.seconds[k]) >= least_gap
        for right in np.flatnonzero(same & later).tolist():
            ahead = likeness[k] >= likeness[k, right]
            ahead[right] = False
            scene = here[right] & alike_class[k]
            everybody = here[right] | elsewhere[right]
            ranks["all"].append(1 + int((ahead & everybody).sum()))
            ranks["same_class"].append(1 + int((ahead & everybody & alike_class[k]).sum()))
            if scene.sum() > 1:
                ranks["same_scene"].append(1 + int((ahead & scene).sum()))
    return Retrieval(**{name: _scores(found) for name, found in ranks.items()})


def _scores(ranks: list[int]) -> RetrievalScores:
    if not ranks:
        return RetrievalScores(0.0, 0.0, 0)
    places = np.array(ranks, np.float64)
    return RetrievalScores(float((places == 1).mean()), float((1 / places).mean()), len(ranks))
