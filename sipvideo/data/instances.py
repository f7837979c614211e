"""What COCO's and YouTube-VIS' annotation files have in common: categories, segmentations, marks of their own.

Beyond the published formats a picture or video may name its ``split``, and in ``labelled_categories`` the
categories that were annotated in it where others were not; an annotation whose ``category_id`` is null marks an object
of unknown class. Category ids become labels here and nowhere else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.annotations import (
    Json,
    Problem,
    read_content,
    read_json,
    read_segmentation,
    to_rle,
)
from sipvideo.data.sample import UNKNOWN, Sample
from sipvideo.errors import DatasetError
from sipvideo.masks import from_rles

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """A parsed annotation file, its fields read; may be given to a reader instead of its path."""

    path: Path
    content: Json

    @classmethod
    def load(
        cls,
        where: str | Path | AnnotationFile,
        problem: Problem | None = None,
        changed: Problem | None = None,
    ) -> AnnotationFile:
        """Parses a file, once.

        Args:
            where: path of the json file.
            problem: told every field that cannot be read, which is then left out; by default the first one is an error.
            changed: told every field that was read otherwise than it is written.

        Raises:
            DatasetError: it cannot be read, is not a JSON object, or a field of it is not what it should be.
        """
        if isinstance(where, AnnotationFile):
            return where
        path = Path(where)
        content = read_json(path, "annotations")
        if not isinstance(content, dict):
            raise DatasetError(f"{path}: expected a JSON object, got {type(content).__name__}")

        def refuse(name: str, where: str, what: str) -> None:
            raise DatasetError(f"{path}: {where}: {what}")

        def pass_over(name: str, where: str, what: str) -> None:
            """What is read as it can only be meant is nobody's concern but the check's."""

        return cls(path, read_content(content, problem or refuse, changed or pass_over))

    @property
    def of_videos(self) -> bool:
        """Whether it has YouTube-VIS' layout rather than COCO's."""
        several = self.content
        return bool(several.get("videos")) or ("videos" in several and not several.get("images"))

    def entries(self, split: str | None) -> list[Json]:
        """The pictures or videos, of one split only unless that is None.

        Raises:
            DatasetError: there is no such split.
        """
        kind = "video" if self.of_videos else "picture"
        name = "videos" if self.of_videos else "images"
        entries: list[Json] | None = self.content.get(name)
        if entries is None:
            raise DatasetError(f"{self.path}: key {name!r} is missing")
        chosen = [e for e in entries if split is None or e.get("split") == split]
        if split is not None and not chosen:
            known = sorted({str(e["split"]) for e in entries if "split" in e})
            raise DatasetError(
                f"{self.path}: no {kind} of split {split!r}; splits: {', '.join(known) or 'none'}"
            )
        return chosen


class Labels:
    """Categories of a file and the labels 0..C-1 that they get.

    Args:
        categories: the file's list.
        classes: names in label order; categories with other names have no label. By default all
            categories in the file's order.

    Attributes:
        names: in label order.
        category_ids: the file's id of each label, None where the file has no such category.
    """

    def __init__(self, categories: Sequence[Json], classes: Sequence[str] | None):
        id_of = {k: c["id"] for k, c in unique(categories, "category", "name").items()}
        names = {k: c["name"] for k, c in unique(categories, "category").items()}
        self.names = tuple(classes) if classes is not None else tuple(names.values())
        self._label_of = {name: label for label, name in enumerate(self.names)}
        self._label_of_id = {key: self._label_of.get(name) for key, name in names.items()}
        self.category_ids = tuple(id_of.get(name) for name in self.names)

    def of(self, annotation: Json, where: str) -> int | None:
        """The label of an annotation; UNKNOWN for an unknown class, None for a category without label.

        Raises:
            DatasetError: the category is not in the file's list; says ``where``.
        """
        key = needed(annotation, "category_id", where)
        if key is None:
            return UNKNOWN
        if key not in self._label_of_id:
            raise DatasetError(f"{where}: there is no category {key}")
        return self._label_of_id[key]

    def labelled(self, entry: Mapping[str, Any]) -> frozenset[int] | None:
        """The labels that were annotated in a picture or video, None for all."""
        names = entry.get("labelled_categories")
        if names is None:
            return None
        return frozenset(self._label_of[n] for n in names if n in self._label_of)


def unique(entries: Iterable[Json], what: str, key: str = "id") -> dict[Any, Json]:
    """Entries by their id, or by another field.

    Raises:
        ValueError: one lacks it, or two have the same: what belongs to one would fall on the other.
    """
    found: dict[Any, Json] = {}
    for place, entry in enumerate(entries):
        if key not in entry:
            raise ValueError(
                f"{what} {entry.get('id', f'at place {place}')}: key {key!r} is missing"
            )
        if entry[key] in found:
            raise ValueError(f"{what} {key} {entry[key]!r:.60} is there twice")
        found[entry[key]] = entry
    return found


def needed(entry: Json, key: str, where: str) -> Any:
    """A field that must be there.

    Raises:
        DatasetError: it is not; says ``where``.
    """
    if key not in entry:
        raise DatasetError(f"{where}: key {key!r} is missing")
    return entry[key]


@dataclass(frozen=True)
class Instance:
    """One object in one picture, as its file has it.

    Attributes:
        id: the annotation's number.
        label: 0..C-1 or UNKNOWN.
        crowd: whether it stands for several objects.
        segmentation: polygons or RLE.
    """

    id: int
    label: int
    crowd: bool
    segmentation: Any

    @property
    def is_object(self) -> bool:
        """Whether it is one object of a known class."""
        return not self.crowd and self.label != UNKNOWN


def checked_mask(segmentation: Any, size: Size, where: str) -> Any:
    """A segmentation that can be drawn on a picture of (height, width).

    Raises:
        DatasetError: it is malformed; says ``where``.
    """
    try:
        return read_segmentation(segmentation, size)
    except ValueError as error:
        raise DatasetError(f"{where}: malformed segmentation: {error}") from error


def make_sample(
    image: NDArray[np.uint8],
    instances: Sequence[Instance],
    labelled: frozenset[int] | None,
    where: str,
) -> Sample:
    """A picture with its objects.

    Raises:
        DatasetError: a mask is malformed; says ``where``.
    """
    size = (image.shape[0], image.shape[1])
    rles = [_rle(instance, size, where) for instance in instances]
    return Sample(
        image=image,
        masks=from_rles(rles, size),
        labels=np.array([i.label for i in instances], np.int64),
        crowd=np.array([not i.is_object for i in instances], bool),
        object_ids=np.array([i.id for i in instances], np.int64),
        labelled=labelled,
    )


def _rle(instance: Instance, size: Size, where: str) -> Json:
    try:
        return to_rle(instance.segmentation, size)
    except ValueError as error:
        raise DatasetError(
            f"{where}: annotation {instance.id}: malformed segmentation: {error}"
        ) from error


class SampleCache:
    """Keeps samples in memory up to a bound; safe for threads.

    What came first stays: data that is read again and again in a new order gains from exactly the share that fits,
    while keeping the latest would gain next to nothing.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._samples: dict[int, Sample] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[SampleCache], tuple[int]]:
        """Another process begins with an empty one."""
        return SampleCache, (self.limit,)

    def get(self, index: int, read: Callable[[int], Sample]) -> Sample:
        """The kept sample, or the one that ``read`` gives."""
        kept = self._samples.get(index)
        if kept is not None:
            return kept
        sample = read(index)
        with self._lock:
            if index not in self._samples and self.used + sample.nbytes <= self.limit:
                self._samples[index] = sample
                self.used += sample.nbytes
        return sample
