"""Reads still pictures with instance masks: annotation files in COCO's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sipvideo.annotations import Json
from sipvideo.data.instances import (
    AnnotationFile,
    Instance,
    Labels,
    SampleCache,
    checked_mask,
    make_sample,
    needed,
    unique,
)
from sipvideo.data.pictures import find_pictures
from sipvideo.data.sample import Sample
from sipvideo.errors import DatasetError

CACHE_BYTES = 256 << 20
"""Decoded pictures that a reader keeps by default."""


@dataclass(frozen=True)
class _Picture:
    file_name: str
    size: tuple[int, int]
    labelled: frozenset[int] | None
    instances: list[Instance]


class CocoPictures:
    """The pictures of one COCO annotation file, or of one split of it, as clips that stand still.

    Args:
        annotations: path of the json file, or the file itself.
        images: folder, tar or zip file of the pictures; by default the usual places near the file.
        split: keep only pictures with this value of ``split``.
        classes: names in label order; categories with other names are left out. By default all
            categories in the file's order.
        cache_bytes: decoded pictures kept in memory take at most this much.
        upright: apply orientation marks also where a picture has the annotated size either way.

    Attributes:
        classes: names in label order.

    Raises:
        DatasetError: unreadable or inconsistent file, missing pictures, unknown split.
    """

    def __init__(
        self,
        annotations: str | Path | AnnotationFile,
        images: str | Path | None = None,
        split: str | None = None,
        classes: Sequence[str] | None = None,
        *,
        cache_bytes: int = CACHE_BYTES,
        upright: bool = True,
    ) -> None:
        file = AnnotationFile.load(annotations)
        self.path = file.path
        self._cache = SampleCache(cache_bytes)
        try:
            self._read(file, split, classes)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            what = f"key {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DatasetError(f"{self.path}: not a COCO instance file: {what}") from error
        example = self._pictures[0].file_name if self._pictures else ""
        self._files = find_pictures(self.path, images, example, split, upright=upright)
        self._files.expect([p.file_name for p in self._pictures], self.path, "pictures")

    def _read(self, file: AnnotationFile, split: str | None, classes: Sequence[str] | None) -> None:
        labels = Labels(file.content["categories"], classes)
        self.classes = labels.names
        unique(file.entries(None), "picture")
        self._pictures = [self._picture(entry, labels) for entry in file.entries(split)]
        chosen = {e["id"]: p for e, p in zip(file.entries(split), self._pictures, strict=True)}
        known = {entry["id"] for entry in file.entries(None)}
        annotations = file.content["annotations"]
        unique(annotations, "annotation")
        for annotation in annotations:
            where = f"{self.path}: annotation {annotation['id']}"
            owner = needed(annotation, "image_id", where)
            if owner not in known:
                raise DatasetError(f"{where}: there is no picture {owner}")
            label, picture = labels.of(annotation, where), chosen.get(owner)
            if label is None or picture is None:
                continue
            mask = needed(annotation, "segmentation", where)
            mask = checked_mask(mask, picture.size, where)
            crowd = bool(annotation.get("iscrowd", 0))
            picture.instances.append(Instance(annotation["id"], label, crowd, mask))

    def _picture(self, entry: Json, labels: Labels) -> _Picture:
        where = f"{self.path}: picture {entry['id']}"
        height, width, name = (needed(entry, k, where) for k in ("height", "width", "file_name"))
        return _Picture(name, (height, width), labels.labelled(entry), [])

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, index: int) -> str:
        """A picture's file name."""
        return self._pictures[index].file_name

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture, without reading it."""
        return self._pictures[index].size

    def count(self, index: int) -> int:
        """Number of annotated objects of a picture, crowds not counted."""
        return sum(i.is_object for i in self._pictures[index].instances)

    def __getitem__(self, index: int) -> Sample:
        """A picture and its masks.

        Raises:
            DatasetError: the picture cannot be decoded or has another size, or a mask is malformed.
        """
        return self._cache.get(index, self._sample)

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """The same sample twice."""
        sample = self[index]
        return sample, sample

    def _sample(self, index: int) -> Sample:
        picture = self._pictures[index]
        image = self._files.read(picture.file_name, picture.size)
        return make_sample(image, picture.instances, picture.labelled, str(self.path))
