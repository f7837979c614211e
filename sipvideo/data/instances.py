"""What COCO's and YouTube-VIS' annotation files have in common: categories, segmentations, marks of their own.

Beyond the published formats a picture or video may name its ``split``, and in ``labelled_categories`` the
categories that were annotated in it where others were not; an annotation whose ``category_id`` is null marks an object
of unknown class. Category ids become labels here and nowhere else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from sipvideo.data.sample import UNKNOWN, Sample
from sipvideo.errors import DatasetError
from sipvideo.masks import from_rles

Size = tuple[int, int]


@dataclass(frozen=True, eq=False)
class AnnotationFile:
    """A parsed annotation file; may be given to a reader instead of its path."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def load(cls, where: str | Path | AnnotationFile) -> AnnotationFile:
        """Parses a file, once.

        Raises:
            DatasetError: it cannot be read, or is not a JSON object.
        """
        if isinstance(where, AnnotationFile):
            return where
        path = Path(where)
        try:
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise DatasetError(f"{path}: cannot read the annotations: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}: not valid JSON: {error}") from error
        if not isinstance(content, dict):
            raise DatasetError(f"{path}: expected a JSON object, got {type(content).__name__}")
        return cls(path, content)

    @property
    def of_videos(self) -> bool:
        """Whether it has YouTube-VIS' layout rather than COCO's."""
        return "videos" in self.content

    def entries(self, split: str | None) -> list[dict[str, Any]]:
        """The pictures or videos, of one split only unless that is None.

        Raises:
            DatasetError: there is no such split.
        """
        kind = "video" if self.of_videos else "picture"
        entries: list[dict[str, Any]] = self.content["videos" if self.of_videos else "images"]
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

    def __init__(self, categories: Sequence[Mapping[str, Any]], classes: Sequence[str] | None):
        names = {whole_number(c["id"]): str(c["name"]) for c in categories}
        self.names = tuple(classes) if classes is not None else tuple(names.values())
        self._label_of = {name: label for label, name in enumerate(self.names)}
        self._label_of_id = {key: self._label_of.get(name) for key, name in names.items()}
        id_of = {name: key for key, name in names.items()}
        self.category_ids = tuple(id_of.get(name) for name in self.names)

    def of(self, annotation: Mapping[str, Any], where: str) -> int | None:
        """The label of an annotation; UNKNOWN for an unknown class, None for a category without label.

        Raises:
            DatasetError: the category is not in the file's list; says ``where``.
        """
        key = annotation["category_id"]
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


def whole_number(value: Any, below: int = 2**62) -> int:
    """An id or a size as int.

    Raises:
        ValueError, TypeError, OverflowError: it is none, or ``below`` or more.
    """
    number = int(value)
    if abs(number) >= below:
        raise ValueError(f"expected a number below {below:.0e}, got {value}")
    return number


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


def to_rle(segmentation: Any, size: Size) -> dict[str, Any]:
    """A mask of (height, width) as compressed RLE, from polygons, an uncompressed or a compressed RLE, or JSON text.

    Raises:
        ValueError, KeyError, TypeError: it is malformed; the message says how.
    """
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
    if tuple(segmentation["size"]) != tuple(size):
        raise ValueError(f"expected a mask of {list(size)}, got {segmentation['size']}")
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if sum(counts) != size[0] * size[1] or min(counts) < 0:
            raise ValueError("the RLE's counts do not add up to the picture")
        rle = coco_mask.frPyObjects(segmentation, *size)
        return rle
    if not isinstance(counts, str):
        raise ValueError("counts must be a list or a text")
    if _run_lengths(counts) != size[0] * size[1]:
        raise ValueError("the RLE's counts do not add up to the picture")
    return {"size": list(size), "counts": counts}


def _run_lengths(counts: str) -> int:
    """Sum of the runs of a compressed RLE; pycocotools fills a mask whose runs are too few with what lies in memory.

    A run is written in characters of five bits each, low ones first, the sixth saying that more follow; from the
    third run on it is the difference to the run before the last.

    Raises:
        ValueError: the text is no RLE.
    """
    letters = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if not len(letters) or letters.min() < 0 or letters.max() > 63 or letters[-1] & 32:
        raise ValueError("the text is no compressed RLE")
    last = np.flatnonzero(~letters & 32)
    first = np.concatenate(([0], last[:-1] + 1))
    if (last - first).max() > 6:
        raise ValueError("the text is no compressed RLE")
    shift = 5 * (np.arange(len(letters)) - np.repeat(first, last - first + 1))
    runs = np.add.reduceat((letters & 31) << shift, first)
    runs -= np.where(letters[last] & 16, np.int64(1) << (shift[last] + 5), 0)
    # Runs 1, 3, 5... and 2, 4, 6... are sums of their own; the first run stands apart.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise ValueError("the text is no compressed RLE")
    return int(runs.sum())


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


def _rle(instance: Instance, size: Size, where: str) -> dict[str, Any]:
    try:
        return to_rle(instance.segmentation, size)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        what = f"key {error} is missing" if isinstance(error, KeyError) else error
        raise DatasetError(
            f"{where}: annotation {instance.id}: malformed segmentation: {what}"
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
