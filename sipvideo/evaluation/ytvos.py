"""The YouTube-VIS annotation API: videos, categories and tracks of one file, found by id.

Method and attribute names are the published API's, so that scripts written for it change one import.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.annotations import in_reach, to_rle, whole
from sipvideo.errors import DatasetError
from sipvideo.evaluation.files import Json, read_annotations, read_results
from sipvideo.evaluation.rle import check_masks, mask_areas, mask_boxes

# The published names are camel case.
# ruff: noqa: N802, N803, N806

BATCH = 500
"""Masks that are checked at once: bounds the memory."""


class YTVOS:
    """Annotated or predicted tracks of a set of videos.

    Args:
        annotation_file: path or content of a file in YouTube-VIS format; None for an empty set. The content is
            not changed.

    Attributes:
        dataset: the file's content.
        anns, cats, vids: annotation, category and video by id.
        vidToAnns: annotations by video id.
        catToVids: video ids by category id, one per annotation.

    Raises:
        DatasetError: the file cannot be read, or lacks something that the format demands.
    """

    def __init__(self, annotation_file: str | Path | Json | None = None) -> None:
        self.dataset: Json = {}
        self.name = "annotations"
        self._checked = self._read = False
        if annotation_file is not None:
            self.dataset, self.name = read_annotations(annotation_file)
            self._read = True
        self.createIndex()

    def createIndex(self) -> None:
        """Builds the look-up tables from ``dataset``, and checks its masks, once for all evaluations.

        Raises:
            DatasetError: something that the format demands is missing, or a compressed mask is damaged.
        """
        if not self._read:
            self.dataset, _ = read_annotations(self.dataset, self.name)
        self.anns: dict[Any, Json] = {}
        self.vidToAnns: dict[Any, list[Json]] = defaultdict(list)
        self.catToVids: dict[Any, list[Any]] = defaultdict(list)
        self.vids = {self._key(v, "id", "video"): v for v in self._entries("videos")}
        self.cats = {self._key(c, "id", "category"): c for c in self._entries("categories")}
        for annotation in self._entries("annotations"):
            self.anns[self._key(annotation, "id", "annotation")] = annotation
            self.vidToAnns[self._key(annotation, "video_id", "annotation")].append(annotation)
            self.catToVids[self._key(annotation, "category_id", "annotation")].append(
                annotation["video_id"]
            )
        if not self._checked:
            _check(self._entries("annotations"), f"{self.name}: annotation", raw=True)

    def _entries(self, key: str) -> list[Json]:
        return self.dataset.get(key) or []

    def _key(self, entry: Json, key: str, what: str) -> Any:
        if entry.get(key) is None:
            raise DatasetError(
                f"{self.name}: {what} {entry.get('id')!r}: expected a number as {key}, got"
                f" {entry.get(key)!r}"
            )
        return entry[key]

    def getAnnIds(
        self,
        vidIds: Any = (),
        catIds: Any = (),
        areaRng: Any = (),
        iscrowd: bool | None = None,
    ) -> list[Any]:
        """Ids of the annotations that pass every filter given.

        Args:
            vidIds: one video id or several.
            catIds: one category id or several.
            areaRng: low and high of the mean area in pixels, both exclusive.
            iscrowd: only crowds, or only what is no crowd.
        """
        vidIds, catIds = _several(vidIds), _several(catIds)
        found = self.dataset.get("annotations") or []
        if len(vidIds):
            found = [a for v in vidIds if v in self.vidToAnns for a in self.vidToAnns[v]]
        if len(catIds):
            wanted = set(catIds)
            found = [a for a in found if a["category_id"] in wanted]
        if len(areaRng):
            found = [a for a in found if areaRng[0] < average_area(a) < areaRng[1]]
        if iscrowd is not None:
            found = [a for a in found if a.get("iscrowd", 0) == iscrowd]
        return [a["id"] for a in found]

    def getCatIds(self, catNms: Any = (), supNms: Any = (), catIds: Any = ()) -> list[Any]:
        """Ids of the categories that pass every filter given: names, supercategories, ids."""
        found = self.dataset.get("categories") or []
        for key, wanted in (("name", catNms), ("supercategory", supNms), ("id", catIds)):
            wanted = [wanted] if isinstance(wanted, str) else _several(wanted)
            if len(wanted):
                found = [c for c in found if c.get(key) in wanted]
        return [c["id"] for c in found]

    def getVidIds(self, vidIds: Any = (), catIds: Any = ()) -> list[Any]:
        """Ids of all videos, or of those among ``vidIds`` that have annotations of every category given."""
        vidIds, catIds = _several(vidIds), _several(catIds)
        if not len(vidIds) and not len(catIds):
            return list(self.vids)
        ids = set(vidIds)
        for number, key in enumerate(catIds):
            with_key = set(self.catToVids.get(key, ()))
            ids = with_key if number == 0 and not ids else ids & with_key
        return list(ids)

    def loadAnns(self, ids: Any = ()) -> list[Json]:
        """Annotations with one id or several."""
        return [self.anns[key] for key in _several(ids)]

    def loadCats(self, ids: Any = ()) -> list[Json]:
        """Categories with one id or several."""
        return [self.cats[key] for key in _several(ids)]

    def loadVids(self, ids: Any = ()) -> list[Json]:
        """Videos with one id or several."""
        return [self.vids[key] for key in _several(ids)]

    def loadRes(self, resFile: str | Path | list[Json]) -> YTVOS:
        """Predicted tracks as a set of their own, numbered 1.. in the file's order.

        Args:
            resFile: path or content of a result file: a list of ``{"video_id", "category_id", "score"}`` with
                ``"segmentations"``, one compressed RLE or null per frame, or ``"bboxes"``, one x, y, width, height
                or null per frame. The content is not changed.

        Returns:
            The tracks with ``areas``, ``bboxes`` and ``avg_area`` filled in.

        Raises:
            DatasetError: the file cannot be read, a track is malformed, or its video does not exist.
        """
        results, name = read_results(resFile)
        loaded = YTVOS()
        loaded.name = name
        loaded.dataset = {
            "videos": list(self.dataset.get("videos") or []),
            "categories": copy.deepcopy(self.dataset.get("categories") or []),
            "annotations": [self._result(r, n, name) for n, r in enumerate(results, 1)],
        }
        _check(loaded.dataset["annotations"], f"{name}: track", raw=False)
        loaded._checked = True
        for track in loaded.dataset["annotations"]:
            if "segmentations" in track:
                boxes = track.get("bboxes") or ()
                track["areas"], track["bboxes"] = _areas_and_boxes(track["segmentations"], boxes)
            track["avg_area"] = average_area(track)
        loaded.createIndex()
        return loaded

    def _result(self, result: Json, number: int, name: str) -> Json:
        where = f"{name}: track {number}"
        for key in ("video_id", "category_id", "score"):
            if key not in result:
                raise DatasetError(f"{where}: key {key!r} is missing")
        if result["video_id"] not in self.vids:
            raise DatasetError(f"{where}: there is no video {result['video_id']!r}")
        where += f" (video {result['video_id']})"
        track: Json = {**result, "id": number, "iscrowd": 0}
        key = "segmentations" if "segmentations" in result else "bboxes"
        if not isinstance(result.get(key), list):
            raise DatasetError(
                f"{where}: expected a list of masks (segmentations) or boxes (bboxes)"
            )
        if key == "bboxes":
            track["areas"] = [b[2] * b[3] if b else None for b in result[key]]
        video = self.vids[result["video_id"]]
        if "height" in video and "width" in video:

            def refuse(field: str, what: str) -> None:
                raise DatasetError(f"{where}: {field}: {what}")

            shapes: Json = {n: result[n] for n in ("bbox", "bboxes") if n in result}
            in_reach(shapes, (video["height"], video["width"]), refuse)
        return track

    def annToRLE(self, ann: Json, frameId: int) -> Json:
        """A track's mask in one frame as compressed RLE; polygons are drawn at the video's size."""
        segmentation = ann["segmentations"][frameId]
        if not _is_raw(segmentation):
            return segmentation  # type: ignore[no-any-return]
        video = self.vids[ann["video_id"]]
        try:
            if isinstance(segmentation, list):
                size = video.get("height"), video.get("width")
            else:
                # Of another size than its video: the modes differ in what they make of it.
                size = tuple(segmentation["size"])
            return to_rle(segmentation, (whole(size[0], 1), whole(size[1], 1)))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{self.name}: annotation {ann.get('id')} (video {ann.get('video_id')}): frame {frameId}:"
                f" malformed segmentation: {error}"
            ) from error

    def annToRLEs(self, ann: Json) -> list[Json | None]:
        """A track's masks in all frames as compressed RLE, None or {} where there is none."""
        masks: list[Any] = ann["segmentations"]
        if self._checked or not any(map(_is_raw, masks)):
            return masks
        return [self.annToRLE(ann, t) if _is_raw(mask) else mask for t, mask in enumerate(masks)]

    def annToMask(self, ann: Json, frameId: int) -> NDArray[np.uint8]:
        """A track's mask in one frame, uint8 [H, W], 0 or 1."""
        rle = self.annToRLE(ann, frameId)
        check_masks([rle], lambda k: f"{self.name}: annotation {ann.get('id')}: frame {frameId}")
        mask: NDArray[np.uint8] = coco_mask.decode(rle)
        return mask


def average_area(annotation: Json) -> float:
    """Mean of a track's areas in pixels, frames without area left out; 0 when there is none."""
    try:
        areas = list(filter(None, annotation["areas"]))
        total = sum(areas)
    except TypeError as error:
        raise DatasetError(
            f"annotation {annotation.get('id')}: expected areas to be a list of numbers and nulls"
        ) from error
    # Whole numbers add up exactly; others as published, since the order of summing may show in the last bit.
    return total / len(areas) if type(total) is int and areas else float(np.mean(areas or [0.0]))


def _check(tracks: Iterable[Json], what: str, raw: bool) -> None:
    """Refuses damaged masks; if ``raw`` ones are allowed, polygons and lists of runs, they are left for later."""
    found: list[tuple[Json, int, Any]] = []

    def check() -> None:
        def where(k: int) -> str:
            track, t, _ = found[k]
            return f"{what} {track['id']} (video {track['video_id']}): frame {t}"

        check_masks([mask for _, _, mask in found], where)
        found.clear()

    for track in tracks:
        masks = track.get("segmentations")
        for t, mask in enumerate(masks if isinstance(masks, list) else ()):
            if mask and not (raw and _is_raw(mask)):
                found.append((track, t, mask))
        if len(found) > BATCH:
            check()
    check()


def _is_raw(mask: Any) -> bool:
    return isinstance(mask.get("counts") if isinstance(mask, dict) else mask, list)


def _areas_and_boxes(segmentations: list[Any], boxes: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Area and box of each mask, None where there is none; boxes that exist stay."""
    present = [t for t, rle in enumerate(segmentations) if rle]
    rles = [segmentations[t] for t in present]
    areas: list[Any] = [None] * len(segmentations)
    if rles:
        for t, area in zip(present, mask_areas(rles).tolist(), strict=True):
            areas[t] = area
    filled = list(boxes)
    missing = [(t, segmentations[t]) for t in present if t >= len(filled)]
    begin = len(filled)
    filled += [None] * (len(segmentations) - begin)
    if missing:
        tight = mask_boxes([rle for _, rle in missing]).tolist()
        for (t, _), box in zip(missing, tight, strict=True):
            filled[t] = box
    return areas, filled


def _several(value: Any) -> Any:
    """A list of ids from one id or several."""
    return value if hasattr(value, "__iter__") and hasattr(value, "__len__") else [value]
