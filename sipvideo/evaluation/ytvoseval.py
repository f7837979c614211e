"""Average precision of tracks, as YouTube-VIS and OVIS define it.

Names of methods, attributes and parameters are the published API's, so that scripts written for it change one
import. The arithmetic is the published one to the last bit, quirks included.
"""

from __future__ import annotations

import copy
import datetime
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sipvideo.evaluation.cells import Params, VideoCells
from sipvideo.evaluation.files import Json
from sipvideo.evaluation.matching import curve
from sipvideo.evaluation.strict import check_strictly
from sipvideo.evaluation.ytvos import YTVOS

# The published names are camel case.
# ruff: noqa: N802, N803


class YTVOSeval:
    """Scores predicted tracks.

    Args:
        cocoGt: ground truth.
        cocoDt: predictions, from its ``loadRes``.
        iouType: segm compares masks, bbox boxes.
        mode: compat gives the published figures for anything; strict refuses what makes them silently wrong: lists
            of wrong length, masks of wrong size, unknown categories, annotation ids that are 0 or not unique.

    Attributes:
        params: what is evaluated.
        ious: (video id, category id) -> float64 [D, G], predictions by descending score.
        evalVids: matches, one dict or None for each category, area range and video, videos fastest.
        eval: arrays ``precision`` and ``scores`` [T, R, K, A, M] and ``recall`` [T, K, A, M], -1 where nothing
            is annotated.
        stats: the summary, float64 [12]: AP, AP50, AP75, APs, APm, APl, AR@1, AR@10, AR@100, ARs, ARm, ARl.
    """

    def __init__(
        self,
        cocoGt: YTVOS | None = None,
        cocoDt: YTVOS | None = None,
        iouType: str = "segm",
        mode: Literal["compat", "strict"] = "compat",
    ) -> None:
        if mode not in ("compat", "strict"):
            raise ValueError(f"mode: expected 'compat' or 'strict', got {mode!r}")
        self.cocoGt = cocoGt if cocoGt is not None else YTVOS()
        self.cocoDt = cocoDt if cocoDt is not None else YTVOS()
        self.mode = mode
        self.params = Params(iouType)
        self.params.vidIds = sorted(self.cocoGt.getVidIds())
        self.params.catIds = sorted(self.cocoGt.getCatIds())
        self.ious: dict[tuple[Any, Any], Any] = {}
        self.evalVids: list[Json | None] = []
        self.eval: Json = {}
        self.stats: NDArray[np.float64] = np.zeros(0)
        self._paramsEval: Params | None = None

    @property
    def evalImgs(self) -> list[Json | None]:
        """Another published name of ``evalVids``."""
        return self.evalVids

    def evaluate(self) -> None:
        """Matches the tracks of every video and category.

        Raises:
            DatasetError: malformed tracks; in strict mode whatever would make the figures silently wrong.
        """
        p = self.params
        if p.useSegm is not None:
            p.iouType = "segm" if p.useSegm == 1 else "bbox"
        p.vidIds = np.unique(p.vidIds).tolist()
        if p.useCats:
            p.catIds = np.unique(p.catIds).tolist()
        p.maxDets = sorted(p.maxDets)
        if self.mode == "strict":
            check_strictly(self.cocoGt, self.cocoDt, p.iouType)
        truth, found = self._by_video(self.cocoGt), self._by_video(self.cocoDt)
        categories = p.catIds if p.useCats else [-1]
        self.ious, self.eval = {}, {}
        cells: dict[tuple[int, int], list[Json | None]] = {}
        for v, video in enumerate(p.vidIds):
            cell_of = VideoCells(p, video, truth.pop(video, []), found.pop(video, []))
            cell_of.read(self.cocoGt, self.cocoDt)
            for k, category in enumerate(categories):
                self.ious[video, category], cells[k, v] = cell_of.evaluate(category)
        subsets = len(p.areaRng) * len(p.occRng)
        self.evalVids = [
            cells[k, v][s]
            for k in range(len(categories))
            for s in range(subsets)
            for v in range(len(p.vidIds))
        ]
        self._paramsEval = copy.deepcopy(p)

    def _by_video(self, tracks: YTVOS) -> dict[Any, list[Json]]:
        p = self.params
        chosen = tracks.getAnnIds(vidIds=p.vidIds, catIds=p.catIds if p.useCats else ())
        grouped: dict[Any, list[Json]] = defaultdict(list)
        for annotation in tracks.loadAnns(chosen):
            grouped[annotation["video_id"]].append(annotation)
        return grouped

    def accumulate(self, p: Params | None = None) -> None:
        """Computes precision and recall from the matches, by ``p`` or the parameters of ``evaluate()``."""
        done = self._paramsEval
        if done is None:
            raise RuntimeError("accumulate() needs evaluate() first")
        p = copy.copy(self.params if p is None else p)
        if not p.useCats:
            p.catIds = [-1]
        known = done.catIds if done.useCats else [-1]
        shape = len(p.catIds), len(p.areaRng) * len(p.occRng), len(p.maxDets)
        t, r = len(p.iouThrs), len(p.recThrs)
        precision, scores = -np.ones((t, r, *shape)), -np.ones((t, r, *shape))
        recall = -np.ones((t, *shape))
        # As published, the place of a category, range or video in p finds its matches, and the results move up
        # to fill the places of those that were not evaluated.
        categories = [n for n, c in enumerate(p.catIds) if c in set(known)]
        videos = [n for n, v in enumerate(p.vidIds) if v in set(done.vidIds)]
        limits = [m for m in p.maxDets if m in set(done.maxDets)]
        subsets = list(_shared_subsets(p, done))
        count = len(done.areaRng) * len(done.occRng)
        for k, at_category in enumerate(categories):
            for s, at_subset in subsets:
                begin = (at_category * count + at_subset) * len(done.vidIds)
                records = [e for e in (self.evalVids[begin + v] for v in videos) if e is not None]
                for m, limit in enumerate(limits):
                    found = curve(records, limit, p.recThrs)
                    if found is not None:
                        precision[:, :, k, s, m], scores[:, :, k, s, m], recall[:, k, s, m] = found
        self.eval = {
            "params": p,
            "date": datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            "precision": self._shaped(precision, p),
            "recall": self._shaped(recall, p),
            "scores": self._shaped(scores, p),
        }
        self.eval["counts"] = list(self.eval["precision"].shape)

    def _shaped(self, values: NDArray[np.float64], p: Params) -> NDArray[np.float64]:
        return values

    def _mean(
        self,
        what: str,
        limit: int,
        threshold: float | None = None,
        area: str = "all",
        occlusion: str = "all",
    ) -> float:
        """Mean precision (AP) or recall (AR) of one selection; -1 where nothing is annotated."""
        p = self.params
        values = self.eval["precision" if what == "AP" else "recall"]
        if threshold is not None:
            values = values[np.flatnonzero(np.asarray(p.iouThrs) == threshold)]
        areas = [i for i, name in enumerate(p.areaRngLbl) if name == area]
        limits = [i for i, m in enumerate(p.maxDets) if m == limit]
        values = values[self._selected(areas, occlusion, limits)]
        values = values[values > -1]
        return float(np.mean(values)) if values.size else -1.0

    def _selected(self, areas: list[int], occlusion: str, limits: list[int]) -> tuple[Any, ...]:
        return (..., areas, limits)

    def _figures(self) -> list[tuple[str, int, float | None, str, str]]:
        """The figures of ``stats``: AP or AR, tracks per video, IoU threshold, area, occlusion."""
        p = self.params
        # As published, AP itself is always that of 100 tracks, and the rest that of the third limit.
        at = [p.maxDets[min(k, len(p.maxDets) - 1)] for k in range(3)]
        sizes = ("small", "medium", "large")
        return [
            ("AP", 100, None, "all", "all"),
            ("AP", at[2], 0.5, "all", "all"),
            ("AP", at[2], 0.75, "all", "all"),
            *(("AP", at[2], None, size, "all") for size in sizes),
            *(("AR", limit, None, "all", "all") for limit in at),
            *(("AR", at[2], None, size, "all") for size in sizes),
        ]

    def summarize(self) -> None:
        """Computes ``stats`` and prints them.

        Raises:
            RuntimeError: before ``accumulate()``.
        """
        if not self.eval:
            raise RuntimeError("summarize() needs accumulate() first")
        self.stats = np.array([self._mean(*figure) for figure in self._figures()])
        iou = self.params.iouThrs
        for (what, limit, threshold, area, occlusion), value in zip(
            self._figures(), self.stats, strict=True
        ):
            title = "Average Precision  (AP)" if what == "AP" else "Average Recall     (AR)"
            span = f"{iou[0]:.2f}:{iou[-1]:.2f}" if threshold is None else f"{threshold:.2f}"
            occluded = f" occ={occlusion:>6s} |" if len(self.params.occRng) > 1 else ""
            print(
                f" {title} @[ IoU={span:<9} | area={area:>6s} |{occluded} maxDets={limit:>3d} ]"
                f" = {value:0.3f}"
            )


def _shared_subsets(p: Params, done: Params) -> Iterator[tuple[int, int]]:
    """Place in the new arrays and place among the matches of each range of area and occlusion in both."""
    areas = [n for n, a in enumerate(p.areaRng) if tuple(a) in set(map(tuple, done.areaRng))]
    degrees = [n for n, o in enumerate(p.occRng) if tuple(o) in set(map(tuple, done.occRng))]
    for a, at_area in enumerate(areas):
        for o, at_degree in enumerate(degrees):
            yield a * len(p.occRng) + o, at_area * len(done.occRng) + at_degree
