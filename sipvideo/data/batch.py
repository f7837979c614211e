"""Views as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sipvideo.data.sample import Sample
from sipvideo.transforms import FrameTransform

if TYPE_CHECKING:  # who reads data sets only to check, convert or score them needs no PyTorch
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """B views of one size as the network takes them; crowds are no objects.

    Attributes:
        images: float32 [B, 3, H, W], normalised, padded with 0 at right and bottom.
        boxes: per view float32 [N, 4], input pixels.
        labels: per view int64 [N].
        masks: per view bool [N, H, W].
        object_ids: per view int64 [N].
        ignored: per view bool [H, W]: covered by a crowd or an object of unknown class, and by no object.
        labelled: per view the labels that were annotated, None for all.
    """

    images: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]
    masks: list[Tensor]
    object_ids: list[Tensor]
    ignored: list[Tensor] = field(default_factory=list)
    labelled: list[frozenset[int] | None] = field(default_factory=list)

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        if device.type == "cpu":
            return self

        def moved(value: Any) -> Any:
            if isinstance(value, list):
                return [moved(one) for one in value]
            return value.to(device, non_blocking=True) if hasattr(value, "to") else value

        return replace(self, **{f.name: moved(getattr(self, f.name)) for f in fields(self)})


def collate(
    samples: Sequence[Sample], transform: FrameTransform, size: tuple[int, int] | None = None
) -> Batch:
    """Normalises and pads views as ``transform`` does with frames, but never resizes them.

    Args:
        samples: the views.
        transform: gives normalisation, channel order and the multiple that sides are padded to.
        size: (height, width) that the input has at least; by default that of the largest view.
    """
    import torch

    multiple = transform.config.pad_multiple
    sizes = [s.image.shape[:2] for s in samples] + ([size] if size else [])
    height, width = (-(-max(s[axis] for s in sizes) // multiple) * multiple for axis in (0, 1))
    images = np.zeros((len(samples), 3, height, width), np.float32)
    batch = Batch(torch.from_numpy(images), [], [], [], [])
    for sample, target in zip(samples, images, strict=True):
        h, w = sample.image.shape[:2]
        pixels = sample.image[..., :: -1 if transform.config.channel_order == "bgr" else 1]
        np.subtract(pixels.transpose(2, 0, 1), transform.mean[:, None, None], target[:, :h, :w])
        target[:, :h, :w] /= transform.std[:, None, None]
        objects = np.flatnonzero(~sample.crowd)
        masks = torch.from_numpy(_dense(sample, objects, (height, width)))
        batch.boxes.append(torch.from_numpy(sample.boxes[objects]))
        batch.labels.append(torch.from_numpy(sample.labels[objects]))
        batch.masks.append(masks)
        batch.object_ids.append(torch.from_numpy(sample.object_ids[objects]))
        batch.ignored.append(torch.from_numpy(_ignored(sample, (height, width))))
        batch.labelled.append(sample.labelled)
    return batch


def _dense(sample: Sample, rows: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.bool_]:
    masks = np.zeros((len(rows), *size), bool)
    for mask, k in zip(masks, rows.tolist(), strict=True):
        x0, y0, x1, y1 = sample.masks.windows[k]
        mask[y0:y1, x0:x1] = sample.masks.crop(k)
    return masks


def _ignored(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where crowds are and no objects, bool [H, W]."""
    ignored = np.zeros(size, bool)
    # Crowds come first, so that objects take their pixels back.
    for k in np.argsort(~sample.crowd, kind="stable").tolist() if sample.crowd.any() else ():
        x0, y0, x1, y1 = sample.masks.windows[k]
        ignored[y0:y1, x0:x1][sample.masks.crop(k)] = sample.crowd[k]
    return ignored
