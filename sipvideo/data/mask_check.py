"""Checks the masks of one annotation, and what it says about them."""

from __future__ import annotations

from typing import Any

from pycocotools import mask as coco_mask

from sipvideo.annotations import Json, read_segmentation, to_rle
from sipvideo.data.findings import Findings


class MaskCheck:
    """Looks at annotations and adds what is wrong with them to the findings.

    Args:
        findings: where to.
        videos: whether annotations have lists of masks.
    """

    def __init__(self, findings: Findings, videos: bool) -> None:
        self._findings = findings
        self._videos = videos

    def areas(
        self, annotation: Json, entry: Json, where: str, *, told: bool = False
    ) -> list[float] | None:
        """The areas of an annotation's masks, None if it has no list of masks; ``told``: a finding says why."""
        name, area = ("segmentations", "areas") if self._videos else ("segmentation", "area")
        if name not in annotation:
            if not told:
                self._findings.add("annotation malformed", f"{where}: {name}")
            return None
        if area not in annotation:
            self._findings.add("no area", where)
        if not self._videos:
            return self._check_mask(annotation, entry, where)
        masks, count = annotation["segmentations"], len(files(entry, self._videos))
        lists = {n: annotation.get(n) for n in ("segmentations", "areas", "bboxes", "occlusion")}
        for name, values in lists.items():
            if values is not None and len(values) != count:
                self._findings.add(
                    "length differs", f"{where}: {name} {len(values)}, file_names {count}"
                )
                lists[name] = None
        if not any(map(_visible, masks)):
            self._findings.add("never visible", where)
        areas: list[float] = []
        for k, mask in enumerate(masks):
            there = {
                n: v[k] for n in ("areas", "bboxes") if (v := lists[n]) is not None and k < len(v)
            }
            if any((value is None) == _visible(mask) for value in there.values()):
                self._findings.add("null disagrees", f"{where}, frame {k}")
            if _visible(mask):
                one = {
                    "segmentation": mask,
                    "area": there.get("areas"),
                    "bbox": there.get("bboxes"),
                }
                areas += self._check_mask(one, entry, f"{where}, frame {k}")
        return areas

    def _check_mask(self, one: Json, entry: Json, where: str) -> list[float]:
        """The area of one mask, nothing if it is malformed."""
        size = entry["height"], entry["width"]
        try:
            mask = read_segmentation(one["segmentation"], size)
        except ValueError as error:
            self._findings.add("mask malformed", f"{where}: {error}")
            return []
        if mask is not one["segmentation"]:
            self._findings.add("other type", f"{where}: segmentation")
        rle = to_rle(mask, size)
        area = float(coco_mask.area(rle))
        if not area:
            self._findings.add("mask empty", where)
        self._check_area(one.get("area"), area, where)
        if area and one.get("bbox") is not None:
            self._check_box(one["bbox"], coco_mask.toBbox(rle).tolist(), size, where)
        return [area]

    def _check_area(self, stated: float | None, area: float, where: str) -> None:
        if stated is None or not area:
            return
        if stated == 0:
            self._findings.add("zero area", where)
        elif abs(stated - area) > max(0.25 * area, 16):
            self._findings.add("area differs", f"{where}: {stated:g}, mask {area:g}")

    def _check_box(
        self, box: list[float], tight: list[float], size: tuple[int, int], where: str
    ) -> None:
        x, y, w, h = box
        inside = x > -1.5 and y > -1.5 and x + w < size[1] + 1.5 and y + h < size[0] + 1.5
        if not inside or w <= 0 or h <= 0:
            self._findings.add("box outside", f"{where}: {short(box)}")
        elif _apart([x, y, x + w, y + h], tight):
            self._findings.add("box differs", f"{where}: {short(box)}, mask {short(tight)}")


def _visible(mask: Any) -> bool:
    return mask is not None and mask != {}


def files(entry: Json, videos: bool) -> list[str]:
    """The names of a picture or of a video's frames."""
    names = entry.get("file_names")
    if not videos:
        return [str(entry["file_name"])]
    return [str(n) for n in (range(entry["length"]) if names is None else names)]


def short(value: Any) -> str:
    """A value as text of bounded length."""
    if isinstance(value, list):
        shown = ", ".join(f"{v:g}" for v in value[:6])
        return shown + (", ..." if len(value) > 6 else "")
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."


def _apart(corners: list[float], tight: list[float]) -> bool:
    """Whether a box x0, y0, x1, y1 is off by a third of a side and three pixels from x, y, width, height."""
    x, y, w, h = tight
    steps = zip(corners, (x, y, x + w, y + h), (w, h, w, h), strict=True)
    return any(abs(a - b) > max(side / 3, 3) for a, b, side in steps)
