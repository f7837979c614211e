"""What readers give and augmentation changes: a picture with its objects, and where such pictures come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sipvideo.masks import CompactMasks

UNKNOWN = -1
"""Label of an object whose class was not annotated; it is treated like a crowd."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A picture with its N annotated objects; augmentation turns samples into samples.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        masks: N compact masks on the picture, their windows tight.
        labels: int64 [N], 0..C-1.
        crowd: bool [N]; a crowd's mask covers several objects, or one of unknown class (its label is then
            ``UNKNOWN``): neither an object nor background.
        object_ids: int64 [N], the same number for the same object in every view of a clip.
        labelled: the labels that were annotated in this picture, None for all. Where a label is
            missing here its objects may be anywhere in the picture.
    """

    image: NDArray[np.uint8]
    masks: CompactMasks
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    object_ids: NDArray[np.int64]
    labelled: frozenset[int] | None = None

    def __post_init__(self) -> None:
        expected, got = self.masks.frame_size, self.image.shape[:2]
        if expected != got:
            raise ValueError(f"Sample.masks: expected a frame of {got}, got {expected}")
        for name in ("labels", "crowd", "object_ids"):
            if getattr(self, name).shape != (len(self.masks),):
                raise ValueError(
                    f"Sample.{name}: expected [{len(self.masks)}], got {getattr(self, name).shape}"
                )

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The masks' tight boxes, float32 [N, 4], pixels, x0, y0, x1, y1 with x1, y1 exclusive."""
        return self.masks.windows.astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Sample:
        """The same picture with some of its objects only."""
        return replace(
            self,
            masks=self.masks[chosen],
            labels=self.labels[chosen],
            crowd=self.crowd[chosen],
            object_ids=self.object_ids[chosen],
        )

    @property
    def nbytes(self) -> int:
        """Memory that the picture and its masks take, bytes."""
        return self.image.nbytes + sum(bits.nbytes for bits in self.masks.bits)


class ClipSource(Protocol):
    """Annotated clips: still pictures, or the frames of videos."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in label order."""
        ...

    def __len__(self) -> int:
        """Number of clips: pictures, or frames of all videos."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of a clip, without reading it."""
        ...

    def count(self, index: int) -> int:
        """Number of objects of a clip's first sample, crowds not counted, without reading it."""
        ...

    def pair(self, index: int, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Two samples with the same ``object_ids`` for the same objects.

        A still picture gives the same sample twice; a video gives the frame and another one of it.

        Raises:
            DatasetError: a picture cannot be read, or a mask is malformed.
        """
        ...
