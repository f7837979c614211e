"""What is evaluated, and the matches of one video, category by category."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.matching import match
from sipvideo.evaluation.tracks import BoxTracks, MaskTracks, Tracks, track_iou
from sipvideo.evaluation.ytvos import YTVOS, average_area

# The published names of parameters are camel case.
# ruff: noqa: N803

OCCLUSION = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}
"""OVIS: an object's occlusion in one frame as a number."""


class Params:
    """What is evaluated; change it before ``evaluate()``.

    Attributes:
        vidIds, catIds: ids that count.
        iouThrs: IoU thresholds, 0.50, 0.55 .. 0.95.
        recThrs: recall points, 0.00, 0.01 .. 1.00.
        maxDets: numbers of tracks per video and category.
        areaRng, areaRngLbl: ranges of a track's mean area in pixels, both ends inclusive, and their names.
        occRng, occRngLbl: ranges of an object's occlusion, and their names; only OVIS has more than one.
        useCats: 0 pools all categories.
        iouType: segm or bbox.
    """

    def __init__(self, iouType: str = "segm") -> None:
        if iouType not in ("segm", "bbox"):
            raise ValueError(f"iouType: expected 'segm' or 'bbox', got {iouType!r}")
        self.iouType = iouType
        self.vidIds: list[Any] = []
        self.catIds: list[Any] = []
        self.iouThrs: Any = np.linspace(0.5, 0.95, 10)
        self.recThrs: Any = np.linspace(0.0, 1.0, 101)
        self.maxDets = [1, 10, 100]
        self.areaRng: list[Any] = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]
        self.areaRngLbl = ["all", "small", "medium", "large"]
        self.occRng: list[Any] = [[0, 1]]
        self.occRngLbl = ["all"]
        self.useCats = 1
        self.useSegm: int | None = None


class VideoCells:
    """The tracks of one video, and their matches in each category."""

    def __init__(self, p: Params, video: Any, truth: list[Json], found: list[Json]) -> None:
        self.p, self.video = p, video
        self.truth, self.found = _by_category(truth, p), _by_category(found, p)
        for tracks in self.found.values():
            # Ties keep the file's order; a score that is no number comes last.
            order = np.argsort([-track["score"] for track in tracks], kind="stable")
            tracks[:] = [tracks[k] for k in order[: p.maxDets[-1]].tolist()]

    def read(self, truth: YTVOS, found: YTVOS) -> None:
        """Reads the masks or boxes of all tracks, and decides which count in each subset."""
        p = self.p
        objects = [track for group in self.truth.values() for track in group]
        predictions = [track for group in self.found.values() for track in group]
        self.objects = read_tracks(truth, objects, p.iouType, "annotation")
        self.predictions = read_tracks(found, predictions, p.iouType, "track")
        keys = list(dict.fromkeys((*self.truth, *self.found)))
        groups = _groups(self.found, keys), _groups(self.truth, keys)
        self.iou = track_iou(self.predictions, self.objects, groups)
        area, found_area = _areas(objects, self.objects), _areas(predictions, self.predictions)
        divided = len(p.occRng) > 1
        hidden = np.array([occlusion(g) if divided else 0.0 for g in objects])
        self.subsets = [(a, o) for a in p.areaRng for o in p.occRng]
        self.crowd = np.array([bool(g.get("iscrowd", 0)) for g in objects], bool)
        self.ignore = np.array(
            [self.crowd | _out(area, a) | _out(hidden, o) for a, o in self.subsets]
        )
        self.outside = np.array([_out(found_area, a) for a, _ in self.subsets])

    def evaluate(self, category: Any) -> tuple[Any, list[Json | None]]:
        """IoU of one category's tracks, and a record of their matches for each subset."""
        objects, predictions = self.truth.get(category, []), self.found.get(category, [])
        if not objects and not predictions:
            return [], [None] * len(self.subsets)
        rows, columns = _rows(self.found, category), _rows(self.truth, category)
        iou, ignore = self.iou[rows, columns], self.ignore[:, columns]
        flags = self.crowd[columns], ignore, self.outside[:, rows]
        prediction_ids, ids = [d["id"] for d in predictions], [g["id"] for g in objects]
        thresholds = np.asarray(self.p.iouThrs, float)
        matches = match(iou, thresholds, prediction_ids, ids, flags)
        scores = [d["score"] for d in predictions]
        records: list[Json | None] = []
        for s, (area_range, _) in enumerate(self.subsets):
            order = np.argsort(ignore[s], kind="stable")
            records.append(
                {
                    "video_id": self.video,
                    "category_id": category,
                    "aRng": area_range,
                    "maxDet": self.p.maxDets[-1],
                    "dtIds": prediction_ids,
                    "gtIds": [ids[k] for k in order.tolist()],
                    "dtMatches": matches.predictions[s],
                    "gtMatches": matches.objects[s][:, order],
                    "dtScores": scores,
                    "gtIgnore": ignore[s][order].astype(np.int64),
                    "dtIgnore": matches.ignored[s],
                }
            )
        return iou, records


def _areas(tracks: list[Json], read: Tracks) -> NDArray[np.float64]:
    """Mean area of each track: that of its file, or its own where the file has none."""
    own = read.areas.sum(1) / np.maximum(1, (read.areas > 0).sum(1))
    given = [track.get("areas") is not None for track in tracks]
    return np.array(
        [
            average_area(t) if has else own[n]
            for n, (t, has) in enumerate(zip(tracks, given, strict=True))
        ]
    )


def read_tracks(source: YTVOS, tracks: list[Json], kind: str, what: str) -> Tracks:
    """The masks (segm) or boxes (bbox) of some tracks of one video.

    Raises:
        DatasetError: a malformed mask or box; its track, video and frame are named.
    """
    names = [f"{source.name}: {what} {t['id']} (video {t['video_id']})" for t in tracks]
    key = "segmentations" if kind == "segm" else "bboxes"
    for track, name in zip(tracks, names, strict=True):
        if not isinstance(track.get(key), list):
            raise DatasetError(f"{name}: expected a list of {key}, got {track.get(key)!r}")
    if kind == "bbox":
        return BoxTracks.read([track["bboxes"] for track in tracks], names)
    return MaskTracks.read([source.annToRLEs(track) for track in tracks])


def occlusion(annotation: Json) -> float:
    """OVIS' occlusion of an object, 0..1: the mean over the more occluded half of its frames; 0 without any.

    Raises:
        DatasetError: an unknown word.
    """
    try:
        degrees = sorted(OCCLUSION[o] for o in annotation.get("occlusion") or () if o is not None)
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"annotation {annotation['id']} (video {annotation['video_id']}): unknown occlusion {error};"
            f" known: {', '.join(OCCLUSION)}"
        ) from error
    top = degrees[len(degrees) - math.ceil(len(degrees) / 2) :]
    return sum(top) / len(top) if top else 0.0


def _by_category(tracks: list[Json], p: Params) -> dict[Any, list[Json]]:
    """Tracks by category id; without categories all under -1, in the order of the ids."""
    grouped: dict[Any, list[Json]] = defaultdict(list)
    for track in tracks:
        grouped[track["category_id"]].append(track)
    if p.useCats:
        return grouped
    return {-1: [track for category in p.catIds for track in grouped.get(category, ())]}


def _groups(tracks: dict[Any, list[Json]], keys: list[Any]) -> NDArray[np.int64]:
    """The place of each track's category among ``keys``."""
    sizes = [len(group) for group in tracks.values()]
    return np.repeat(np.array([keys.index(key) for key in tracks], np.int64), sizes)


def _rows(tracks: dict[Any, list[Json]], category: Any) -> slice:
    """Where the tracks of a category are among all of the video."""
    begin = 0
    for key, group in tracks.items():
        if key == category:
            return slice(begin, begin + len(group))
        begin += len(group)
    return slice(0, 0)


def _out(values: NDArray[np.float64], limits: Any) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = (values < limits[0]) | (values > limits[1])
    return out
