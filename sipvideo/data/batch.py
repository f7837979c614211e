"""Views as they travel, in bytes, and as the network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sipvideo.data.sample import Sample
from sipvideo.transforms import FrameTransform

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """B views of one size as the network takes them; crowds are no objects.

    Pictures and masks are on the device. The few numbers that say how many objects are where stay on the host, which
    decides by them what the device is to do, without waiting for it.

    Attributes:
        images: float32 [B, 3, H, W], normalised, padded with 0 at right and bottom.
        boxes: per view float32 [N, 4], input pixels, on the host.
        labels: per view int64 [N], on the host.
        masks: per view bool [N, H, W].
        object_ids: per view int64 [N], on the host.
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
        """The batch with pictures and masks on a device."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            images=self.images.to(device, non_blocking=True),
            masks=[one.to(device, non_blocking=True) for one in self.masks],
            ignored=[one.to(device, non_blocking=True) for one in self.ignored],
        )


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """A batch on its way from whoever made it to the device: a quarter of the bytes, in few pieces.

    Attributes:
        images: uint8 [B, 3, H, W], channels in the network's order, anything at right and bottom of a view.
        sizes: (height, width) of each view.
        mean, std: float32 [3], of the normalisation.
        masks: bool [N, H, W], view after view.
        ignored: bool [B, H, W], see :class:`Batch`.
        boxes, labels, object_ids: per view, see :class:`Batch`.
        labelled: see :class:`Batch`.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    masks: Tensor
    ignored: Tensor
    boxes: list[NDArray[np.float32]]
    labels: list[NDArray[np.int64]]
    object_ids: list[NDArray[np.int64]]
    labelled: list[frozenset[int] | None]

    def pin_memory(self) -> PackedBatch:
        """The batch in memory that a GPU reads by itself."""
        pinned = {k: getattr(self, k).pin_memory() for k in ("images", "masks", "ignored")}
        return replace(self, **pinned)

    def to(self, device: torch.device) -> Batch:
        """The batch as the network takes it, on a device: normalised and parted there."""
        import torch

        images, masks, ignored = (
            one.to(device, non_blocking=True) for one in (self.images, self.masks, self.ignored)
        )
        inputs = images.to(torch.float32)
        for channel, mean, std in zip(inputs.unbind(1), self.mean, self.std, strict=True):
            channel.sub_(float(mean)).div_(float(std))
        for one, (height, width) in zip(inputs, self.sizes, strict=True):
            one[:, height:].zero_()
            one[:, :height, width:].zero_()
        counts = [len(labels) for labels in self.labels]
        return Batch(
            inputs,
            [torch.from_numpy(one) for one in self.boxes],
            [torch.from_numpy(one) for one in self.labels],
            list(torch.split(masks, counts)),
            [torch.from_numpy(one) for one in self.object_ids],
            list(ignored),
            self.labelled,
        )


def pack(
    samples: Sequence[Sample], transform: FrameTransform, size: tuple[int, int] | None = None
) -> PackedBatch:
    """Puts views side by side, padded as ``transform`` pads frames; they are never resized.

    Args:
        samples: the views.
        transform: gives normalisation, channel order and the multiple that sides are padded to.
        size: (height, width) that the input has at least; by default that of the largest view.
    """
    import torch

    sizes = [(s.image.shape[0], s.image.shape[1]) for s in samples]
    height, width = padded([*sizes, size] if size else sizes, transform.config.pad_multiple)
    images = np.zeros((len(samples), 3, height, width), np.uint8)
    ignored = np.zeros((len(samples), height, width), bool)
    objects = [np.flatnonzero(~sample.crowd) for sample in samples]
    masks = np.zeros((sum(map(len, objects)), height, width), bool)
    at = 0
    for k, (sample, (h, w)) in enumerate(zip(samples, sizes, strict=True)):
        pixels = sample.image[..., :: -1 if transform.config.channel_order == "bgr" else 1]
        for plane, channel in zip(images[k], pixels.transpose(2, 0, 1), strict=True):
            plane[:h, :w] = channel
        _draw_ignored(sample, ignored[k])
        for mask, number in zip(masks[at : at + len(objects[k])], objects[k], strict=True):
            x0, y0, x1, y1 = sample.masks.windows[number]
            mask[y0:y1, x0:x1] = sample.masks.crop(int(number))
        at += len(objects[k])
    return PackedBatch(
        images=torch.from_numpy(images),
        sizes=sizes,
        mean=np.asarray(transform.mean, np.float32),
        std=np.asarray(transform.std, np.float32),
        masks=torch.from_numpy(masks),
        ignored=torch.from_numpy(ignored),
        boxes=[s.boxes[rows] for s, rows in zip(samples, objects, strict=True)],
        labels=[s.labels[rows] for s, rows in zip(samples, objects, strict=True)],
        object_ids=[s.object_ids[rows] for s, rows in zip(samples, objects, strict=True)],
        labelled=[s.labelled for s in samples],
    )


def padded(sizes: Sequence[tuple[int, int]], multiple: int) -> tuple[int, int]:
    """The smallest (height, width) in multiples that holds views of all these sizes."""
    height, width = (-(-max(s[axis] for s in sizes) // multiple) * multiple for axis in (0, 1))
    return height, width


def collate(
    samples: Sequence[Sample], transform: FrameTransform, size: tuple[int, int] | None = None
) -> Batch:
    """:func:`pack`, unpacked on the host: views as the network takes them."""
    import torch

    return pack(samples, transform, size).to(torch.device("cpu"))


def _draw_ignored(sample: Sample, ignored: NDArray[np.bool_]) -> None:
    """Sets in bool [H, W] where crowds are and no objects."""
    # Crowds come first, so that objects take their pixels back.
    for k in np.argsort(~sample.crowd, kind="stable").tolist() if sample.crowd.any() else ():
        x0, y0, x1, y1 = sample.masks.windows[k]
        ignored[y0:y1, x0:x1][sample.masks.crop(k)] = sample.crowd[k]
