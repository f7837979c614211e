"""What kinds of mistakes tracks make, and what mending each kind would give (after TIDE, Bolya et al., ECCV 2020)."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sipvideo.evaluation.cells import Params, VideoCells
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.matching import match, precision_at
from sipvideo.evaluation.tracks import Tracks, frame_iou, track_iou
from sipvideo.evaluation.ytvos import YTVOS

Kind = Literal[
    "class",
    "duplicate",
    "identity_switch",
    "fragmentation",
    "localisation",
    "class_and_localisation",
    "background",
    "missed",
]

KINDS: dict[Kind, str] = {
    "class": "the right place under another class (IoU at least 0.5)",
    "duplicate": "an object that a better prediction has already found",
    "identity_switch": "follows two or more objects of the class, each for a tenth of its frames or more",
    "fragmentation": "right while it lasts (IoU at least 0.5 in its own frames), but only a part of the object's time",
    "localisation": "the right class, but too little overlap (IoU 0.1 to 0.5)",
    "class_and_localisation": "another class, and too little overlap (IoU 0.1 to 0.5)",
    "background": "overlaps no object",
    "missed": "an object that no prediction came near",
}
"""Kinds of mistakes in the order in which they are looked for: a prediction has one."""

FOUND, NEAR = 0.5, 0.1
"""IoU of a match, and least IoU of a near miss."""


@dataclass(frozen=True)
class Mistake:
    """How often a mistake was made, and the AP50 that mending it alone would add."""

    count: int
    gain: float


@dataclass(frozen=True)
class Mistakes:
    """The mistakes of one run at an IoU of 0.5.

    Attributes:
        ap50: average precision at that IoU.
        kinds: every kind of mistake.
        classes: category id -> kind -> count; the prediction's class, for missed objects theirs.
        without_truth: predictions in categories that have no object anywhere: they cost nothing in AP.
        empty: predictions without a mask in any frame: false positives in all and small, ignored elsewhere.
        on_crowds: predictions ignored because a crowd covers them, that still use up places among the tracks of
            their video and category.
    """

    ap50: float
    kinds: dict[Kind, Mistake]
    classes: dict[Any, dict[Kind, int]]
    without_truth: int
    empty: int
    on_crowds: int

    def warnings(self) -> list[str]:
        """What a reader of the figures should know."""
        notes = (
            (self.without_truth, "in categories without ground truth: they cost nothing in AP"),
            (self.empty, "have no mask in any frame: they count as false positives"),
            (self.on_crowds, "match crowds: ignored, but they use up places in AR@1 and AR@10"),
        )
        return [f"{count} predictions {what}" for count, what in notes if count]

    def to_json(self) -> Json:
        """The same as plain values."""
        return {**asdict(self), "classes": {str(key): dict(c) for key, c in self.classes.items()}}


@dataclass(frozen=True)
class _Prediction:
    """A prediction that counts: right, or with its kind of mistake; the object that it found or should have found."""

    score: float
    category: Any
    kind: Kind | None
    targets: tuple[tuple[Any, int], ...]


def find_mistakes(truth: YTVOS, found: YTVOS, params: Params) -> Mistakes:
    """Sorts all false positives and misses by kind.

    Args:
        truth: ground truth.
        found: predictions, from ``truth.loadRes``.
        params: videos, categories, kind of overlap and number of tracks, as in the evaluation.

    Raises:
        DatasetError: a malformed track.
    """
    predictions: list[_Prediction] = []
    objects: dict[tuple[Any, int], Any] = {}
    empty = on_crowds = 0
    categories = set(params.catIds)
    for video in params.vidIds:
        scene = _Scene(
            params,
            video,
            [a for a in truth.vidToAnns.get(video, ()) if a["category_id"] in categories],
            [p for p in found.vidToAnns.get(video, ()) if p["category_id"] in categories],
        )
        scene.cells.read(truth, found)
        scene.sort()
        predictions += scene.result
        objects |= scene.targets
        empty += int((~scene.cells.predictions.present.any(1)).sum())
        on_crowds += scene.on_crowds
    with_truth = set(objects.values())
    hit = {key for p in predictions if p.kind is None for key in p.targets}
    near = {key for p in predictions for key in p.targets}
    missed = objects.keys() - near
    classes: dict[Any, Counter[Kind]] = defaultdict(Counter)
    for p in predictions:
        if p.kind is not None:
            classes[p.category][p.kind] += 1
    for key in missed:
        classes[objects[key]]["missed"] += 1
    ap50 = _ap50(predictions, objects)
    kinds = {}
    for kind in KINDS:
        left = {k: c for k, c in objects.items() if kind != "missed" or k not in missed}
        gain = _ap50(_mended(predictions, kind, hit, objects), left) - ap50
        kinds[kind] = Mistake(sum(c[kind] for c in classes.values()), gain)
    return Mistakes(
        ap50,
        kinds,
        {key: {kind: classes[key][kind] for kind in KINDS} for key in sorted(classes)},
        sum(p.category not in with_truth for p in predictions),
        empty,
        on_crowds,
    )


def _mended(
    predictions: list[_Prediction], kind: Kind, hit: set[Any], objects: dict[tuple[Any, int], Any]
) -> list[_Prediction]:
    """The predictions after mending: the best of a kind takes its object if it is free, the others vanish."""
    taken = set(hit)
    result = []
    for p in sorted(predictions, key=lambda p: -p.score):
        if p.kind != kind:
            result.append(p)
            continue
        free = next((key for key in p.targets if key not in taken), None)
        if free is not None:
            taken.add(free)
            result.append(replace(p, kind=None, category=objects[free]))
    return result


def _ap50(predictions: list[_Prediction], objects: dict[tuple[Any, int], Any]) -> float:
    """Mean over classes with objects of the average precision; -1 without any object."""
    by_class: dict[Any, list[_Prediction]] = defaultdict(list)
    for p in sorted(predictions, key=lambda p: -p.score):
        by_class[p.category].append(p)
    values = []
    for category, count in Counter(objects.values()).items():
        right = np.array([[p.kind is None for p in by_class[category]]], bool)
        precision, _, _ = precision_at(right, ~right, count, np.linspace(0, 1, 101))
        values.append(precision.mean())
    return float(np.mean(values)) if values else -1.0


class _Scene:
    """One video's tracks, its false positives sorted by kind into ``result``."""

    def __init__(self, p: Params, video: Any, truth: list[Json], found: list[Json]) -> None:
        self.cells = VideoCells(p, video, truth, found)
        self.video = video
        self.result: list[_Prediction] = []
        self.on_crowds = 0

    def sort(self) -> None:
        """Fills ``result`` and ``targets``: the objects that count, and their categories."""
        truth = [g for group in self.cells.truth.values() for g in group]
        found = [d for group in self.cells.found.values() for d in group]
        crowd = np.array([bool(g.get("iscrowd", 0)) for g in truth], bool)
        self.targets = {
            (self.video, n): g["category_id"] for n, g in enumerate(truth) if not crowd[n]
        }
        classes = np.array([g["category_id"] for g in truth])
        evidence = _Evidence(self.cells.predictions, self.cells.objects)
        for category in self.cells.found:
            rows = [n for n, d in enumerate(found) if d["category_id"] == category]
            same = classes == category if len(truth) else np.zeros(0, bool)
            matched = self._matched(evidence.iou[rows][:, same], crowd[same])
            places = np.flatnonzero(same)
            for row, hit in zip(rows, matched.tolist(), strict=True):
                kind: Kind | None = None
                if hit < 0:
                    kind, targets = evidence.kind(row, same & ~crowd, ~same & ~crowd)
                elif crowd[places[hit]]:
                    self.on_crowds += 1
                    continue
                else:
                    targets = [int(places[hit])]
                keys = tuple((self.video, n) for n in targets)
                self.result.append(_Prediction(float(found[row]["score"]), category, kind, keys))

    def _matched(self, iou: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The object that each prediction matches, -1 for none."""
        d, g = iou.shape
        flags = crowd, crowd[None], np.zeros((1, d), bool)
        matches = match(iou, np.array([FOUND]), range(1, d + 1), range(1, g + 1), flags)
        places: NDArray[np.int64] = matches.predictions[0, 0].astype(np.int64) - 1
        return places


class _Evidence:
    """How predictions and objects of one video go together.

    Attributes:
        iou: float64 [D, G], spatio-temporal.
        lasting: float64 [D, G], the same over the prediction's own frames alone.
        followed: float64 [D, G], share of the prediction's frames in which it is on the object.
    """

    def __init__(self, predictions: Tracks, objects: Tracks) -> None:
        self.iou = track_iou(predictions, objects)
        d, g = self.iou.shape
        frames = min(predictions.present.shape[1], objects.present.shape[1])
        own = predictions.areas.sum(1)[:, None]
        under = predictions.present[:, :frames].astype(float) @ objects.areas[:, :frames].T
        total = own + objects.areas.sum(1)
        inter = self.iou * total / (1 + self.iou)
        union = own + under - inter
        self.lasting = np.divide(inter, union, out=np.zeros((d, g)), where=union > 0)
        meets = frame_iou(predictions, objects)
        good = meets.area >= FOUND
        count = np.bincount(meets.mine[good] * g + meets.theirs[good], minlength=d * g)
        seen = np.maximum(1, predictions.present.sum(1))[:, None]
        self.followed = count.reshape(d, g) / seen

    def kind(
        self, row: int, same: NDArray[np.bool_], other: NDArray[np.bool_]
    ) -> tuple[Kind, list[int]]:
        """The mistake of an unmatched prediction, and the objects that it should have been, likeliest first.

        Args:
            row: the prediction.
            same: bool [G], objects of its class.
            other: bool [G], objects of other classes.
        """
        best, value = _best(self.iou[row], same)
        wrong, wrong_value = _best(self.iou[row], other)
        lasting, lasting_value = _best(self.lasting[row], same)
        followed = self.followed[row] * same
        if value >= FOUND:
            return "duplicate", best
        if wrong_value >= FOUND:
            return "class", wrong
        if (followed >= NEAR).sum() > 1:
            order = np.argsort(-followed, kind="stable")
            return "identity_switch", order[followed[order] >= NEAR].tolist()
        if lasting_value >= FOUND:
            return "fragmentation", lasting
        if value >= NEAR:
            return "localisation", best
        if wrong_value >= NEAR:
            return "class_and_localisation", []
        return "background", []


def _best(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[list[int], float]:
    """The place of the largest chosen value, and that value."""
    if not chosen.any():
        return [], 0.0
    best = int(np.argmax(np.where(chosen, values, -1.0)))
    return [best], float(values[best])
