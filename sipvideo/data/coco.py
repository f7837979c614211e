"""Reads still pictures with instance masks: annotation files in COCO's format.

Category ids become labels here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from sipvideo.data.sample import Sample
from sipvideo.errors import DatasetError
from sipvideo.masks import from_rles


@dataclass(frozen=True)
class _Picture:
    file_name: str
    size: tuple[int, int]
    labelled: frozenset[int] | None
    annotations: list[dict[str, Any]]


class CocoPictures:
    """The pictures of one COCO annotation file, or of one split of it.

    The file may say two things that COCO's own files do not: per picture ``split``, and
    ``labelled_categories`` (names), where only those categories were annotated in that picture.

    Args:
        annotations: path of the json file.
        images: folder of the pictures; by default ``images`` beside the file.
        split: keep only pictures with this value of ``split``.
        classes: names in label order; categories with other names are left out. By default all
            categories in the file's order.

    Attributes:
        classes: names in label order.

    Raises:
        DatasetError: unreadable or inconsistent file, missing pictures, unknown split.
    """

    def __init__(
        self,
        annotations: str | Path,
        images: str | Path | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.path = Path(annotations)
        self.folder = Path(images) if images is not None else self.path.parent / "images"
        content = _load(self.path)
        try:
            self._read(content, split, classes)
        except (KeyError, TypeError, ValueError) as error:
            what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{self.path}: not a COCO instance file: {what}") from error
        missing = [p.file_name for p in self._pictures if not (self.folder / p.file_name).is_file()]
        if missing:
            raise DatasetError(
                f"{self.path}: {len(missing)} of {len(self._pictures)} pictures are missing in"
                f" {self.folder}, the first is {missing[0]}"
            )

    def _read(
        self, content: dict[str, Any], split: str | None, classes: Sequence[str] | None
    ) -> None:
        names = {int(c["id"]): str(c["name"]) for c in content["categories"]}
        self.classes = tuple(classes) if classes is not None else tuple(names.values())
        label_of = {name: label for label, name in enumerate(self.classes)}
        label_of_id = {key: label_of.get(name) for key, name in names.items()}
        entries = {int(image["id"]): image for image in content["images"]}
        if split is not None and not any(i.get("split") == split for i in entries.values()):
            known = sorted({str(i["split"]) for i in entries.values() if "split" in i})
            raise DatasetError(
                f"{self.path}: no picture of split {split!r}; splits: {', '.join(known) or 'none'}"
            )
        annotations: dict[int, list[dict[str, Any]]] = {key: [] for key in entries}
        for annotation in content["annotations"]:
            where = f"{self.path}: annotation {annotation.get('id')}"
            if annotation["image_id"] not in entries:
                raise DatasetError(f"{where}: there is no picture {annotation['image_id']}")
            if annotation["category_id"] not in names:
                raise DatasetError(f"{where}: there is no category {annotation['category_id']}")
            label = label_of_id[annotation["category_id"]]
            if label is not None:
                annotations[annotation["image_id"]].append(
                    {
                        "label": label,
                        "id": int(annotation["id"]),
                        "crowd": bool(annotation.get("iscrowd", 0)),
                        "segmentation": annotation["segmentation"],
                    }
                )
        self._pictures = [
            _Picture(
                str(image["file_name"]),
                (int(image["height"]), int(image["width"])),
                _labelled(image, label_of),
                annotations[key],
            )
            for key, image in entries.items()
            if split is None or image.get("split") == split
        ]

    def __len__(self) -> int:
        return len(self._pictures)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture, without reading it."""
        return self._pictures[index].size

    def count(self, index: int) -> int:
        """Number of annotated objects of a picture, crowds not counted."""
        return sum(not a["crowd"] for a in self._pictures[index].annotations)

    def __getitem__(self, index: int) -> Sample:
        """Reads a picture and its masks.

        Raises:
            DatasetError: the picture cannot be decoded or has another size, or a mask is malformed.
        """
        picture = self._pictures[index]
        path = self.folder / picture.file_name
        # Annotations belong to the stored pixels, whatever orientation the metadata asks for.
        image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            raise DatasetError(f"{path}: cannot decode the picture")
        if image.shape[:2] != picture.size:
            raise DatasetError(
                f"{path}: expected {picture.size[1]} x {picture.size[0]} pixels,"
                f" got {image.shape[1]} x {image.shape[0]}"
            )
        rles = [self._rle(a, picture.size) for a in picture.annotations]
        return Sample(
            image=np.asarray(image, np.uint8),
            masks=from_rles(rles, picture.size),
            labels=np.array([a["label"] for a in picture.annotations], np.int64),
            crowd=np.array([a["crowd"] for a in picture.annotations], bool),
            object_ids=np.array([a["id"] for a in picture.annotations], np.int64),
            labelled=picture.labelled,
        )

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """The same sample twice."""
        sample = self[index]
        return sample, sample

    def _rle(self, annotation: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
        """The mask as compressed RLE, from polygons, an uncompressed or a compressed RLE."""
        where = f"{self.path}: annotation {annotation['id']}"
        try:
            segmentation = annotation["segmentation"]
            if isinstance(segmentation, str):
                segmentation = json.loads(segmentation)
            if isinstance(segmentation, list):
                if any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
                    raise ValueError("a polygon needs three or more x, y pairs")
                if not segmentation:
                    raise ValueError("expected a polygon or an RLE, got an empty list")
                parts = coco_mask.frPyObjects(segmentation, *size)
                rle: dict[str, Any] = coco_mask.merge(parts)
                return rle
            if tuple(segmentation["size"]) != size:
                raise ValueError(f"expected a mask of {list(size)}, got {segmentation['size']}")
            if isinstance(segmentation["counts"], list):
                if sum(segmentation["counts"]) != size[0] * size[1]:
                    raise ValueError("the RLE's counts do not add up to the picture")
                rle = coco_mask.frPyObjects(segmentation, *size)
                return rle
            if not isinstance(segmentation["counts"], str):
                raise ValueError("counts must be a list or a text")
            return {"size": segmentation["size"], "counts": segmentation["counts"]}
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{where}: malformed segmentation: {error}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: cannot read the annotations: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _labelled(image: dict[str, Any], label_of: dict[str, int]) -> frozenset[int] | None:
    names = image.get("labelled_categories")
    return None if names is None else frozenset(label_of[n] for n in names if n in label_of)
