"""What a training step minimises: a model and a batch of views to named losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from sipvideo.data import Batch
from sipvideo.model.head import EMBEDDING_STRIDE, HeadOutputs
from sipvideo.model.losses import box_centres, embeddings_at, ranks, sum_over_ranks
from sipvideo.model.mask_crops import mask_logits
from sipvideo.model.mask_maps import Windows, windows_of
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import boxes_at, locations, widened
from sipvideo.model.waiting import rows_that_count, sent
from sipvideo.training.identities import IdentityLoss
from sipvideo.training.precision import layers_in


@dataclass(frozen=True, eq=False)
class Places:
    """P cells of one picture from which masks are predicted.

    Attributes:
        objects: int64 [P], rows of the picture's objects.
        at: int64 [P], the cells, counted through all levels, row by row.
        boxes: float [P, 4], the boxes predicted there, input pixels.
        weights: float [P], class score times overlap with the object's box; 0 at cells that do not count (on cards).
    """

    objects: Tensor
    at: Tensor
    boxes: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class _Masks:
    """P masks of one view, float [P] each: their losses, those of their expected overlaps, and weights."""

    losses: Tensor
    quality: Tensor
    weights: Tensor


@torch.no_grad()
def _overlaps(logits: Tensor, targets: Tensor, windows: Windows, areas: Tensor) -> Tensor:
    """IoU float [P] of predicted masks, which end at their boxes, with whole objects of these areas (pixels, [P])."""
    predicted, wanted = logits > 0, targets > 0.5
    both = windows.sums((predicted & wanted).float())
    return both / (windows.sums(predicted.float()) + areas - both).clamp(min=1)


@dataclass(frozen=True)
class MasksOnFrozenDetector:
    """Masks and embeddings on top of a detector that already works and is not changed.

    Masks are learnt where that detector would read them: at the cells that rank first by class score times
    overlap, inside the boxes predicted there. Embeddings of an object must agree between the two views of its
    picture and differ from all other objects of the batch.

    Attributes:
        cells: most cells per object.
        min_iou: cells whose predicted box overlaps the object's box less are not used.
        mask_alignment: weigh masks by class score times overlap of boxes (section 3.3 of the paper); else equally.
        dice: weight of the dice loss beside binary cross-entropy.
        quality: weight of the loss of the masks' expected overlaps, where the model tells them.
        track: weight of the embedding loss; 0: views need not be pairs.
        identities: what embeddings are asked for.
        jitter: largest shift of a box's centre before its embedding is read, in box sides.
        box_noise: standard deviation by which predicted distances to the sides of boxes are scaled. A detector finds
            the pictures that it was trained on better than others: masks are to bear its errors.
        bfloat16: run the network's convolutions in this precision, faster on CPUs that support it.
    """

    cells: int = 3
    min_iou: float = 0.5
    mask_alignment: bool = True
    dice: float = 1.0
    quality: float = 0.3
    track: float = 0.5
    identities: IdentityLoss = field(default_factory=IdentityLoss)
    jitter: float = 0.1
    box_noise: float = 0.0
    bfloat16: bool = False

    def __call__(self, model: SipMask, batch: Batch) -> dict[str, Tensor]:
        """Losses "mask" and, for a model that has them, "quality" and "track".

        Args:
            model: the network.
            batch: views; views 2k and 2k + 1 show the same picture.
        """
        precision = "bfloat16" if self.bfloat16 else "single"
        with layers_in(precision, batch.images.device):
            outputs = model(batch.images).single()
        if self.box_noise:
            noisy = [d * (1 + self.box_noise * torch.randn_like(d)) for d in outputs.box_distances]
            outputs = replace(outputs, box_distances=noisy)
        views = range(len(batch.boxes))
        found = [self._masks(model, outputs, batch, k) for k in views]
        weight = torch.cat([one.weights for one in found])
        total = sum_over_ranks(weight.sum()).clamp(min=1e-4)
        terms = {
            "mask": (torch.cat([one.losses for one in found]) * weight).sum() / total * ranks()
        }
        if model.head.config.grid_quality:
            errors = torch.cat([one.quality for one in found])
            terms["quality"] = self.quality * (errors * weight).sum() / total * ranks()
        if outputs.embedding_features and self.track:
            maps = model.head.embedding_map(outputs.embedding_features)
            boxes = [jittered(sent(one, maps), self.jitter) for one in batch.boxes]
            terms["track"] = self.track * identity_term(self.identities, maps, batch, boxes)
        return terms

    def _masks(self, model: SipMask, outputs: HeadOutputs, batch: Batch, item: int) -> _Masks:
        """Losses and weights of the masks of one view."""
        places = self.places(model, outputs, batch, item)
        if not len(places.objects):
            nothing = outputs.basis_masks.sum().expand(1)[:0]
            return _Masks(nothing, nothing, places.weights)
        basis = outputs.basis_masks[item]
        stride = model.head.basis_stride
        head = model.head.config
        windows = windows_of(
            widened(places.boxes, head.mask_margin) / stride,
            (basis.shape[1], basis.shape[2]),
            head.sub_regions,
        )
        values = model.head.coefficients_in_row(outputs, item, places.at)
        count = head.coefficient_count
        logits = mask_logits(basis, values[:, :count], windows, head.map_side)
        # The share of each basis pixel that the object covers: its edge is known finer than the basis.
        covered = F.avg_pool2d(batch.masks[item].float().unsqueeze(0), stride)[0]
        targets = windows.cut(covered, places.objects)
        areas = windows.counts.clamp(min=1)
        errors = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        probabilities = logits.sigmoid()
        both = windows.sums(probabilities * targets)
        each = windows.sums(probabilities.square() + targets.square())
        losses = windows.sums(errors) / areas + self.dice * (1 - (2 * both + 1) / (each + 1))
        weights = places.weights
        weights = weights if self.mask_alignment else (weights > 0).to(weights.dtype)
        whole = (covered > 0.5).sum((1, 2)).index_select(0, places.objects)
        overlaps = _overlaps(logits, targets, windows, whole)
        quality = F.binary_cross_entropy_with_logits(
            values[:, count:], overlaps[:, None].expand(values[:, count:].shape), reduction="none"
        )
        return _Masks(losses, quality.sum(1), weights)

    @torch.no_grad()
    def places(self, model: SipMask, outputs: HeadOutputs, batch: Batch, item: int) -> Places:
        """The cells where the detector finds each object of one view; see :class:`Places`."""
        sizes = [(level.shape[2], level.shape[3]) for level in outputs.class_logits]
        offset = model.head.config.cell_offset
        points = locations(sizes, model.head.strides, outputs.basis_masks.device, offset)
        distances = torch.cat([d[item].flatten(1).t() for d in outputs.box_distances])
        logits = torch.cat([c[item].flatten(1) for c in outputs.class_logits], 1)
        boxes = boxes_at(torch.cat(points), distances)
        height, width = batch.images.shape[-2:]
        right, bottom = boxes[:, 0::2].clamp(0, width - 1), boxes[:, 1::2].clamp(0, height - 1)
        boxes = torch.stack((right, bottom), 2).flatten(1)
        overlap = box_iou(sent(batch.boxes[item], boxes), boxes)
        classes = sent(batch.labels[item], boxes)
        rank = logits.index_select(0, classes).sigmoid() * overlap * (overlap >= self.min_iou)
        best = rank.topk(min(self.cells, rank.shape[1]), 1)
        objects = torch.arange(len(rank), device=rank.device).repeat_interleave(
            best.values.shape[1]
        )
        at, weights = best.indices.flatten(), best.values.flatten()
        found = rows_that_count(weights > 0)
        if found is not None:
            objects, at, weights = objects[found], at[found], weights[found]
        return Places(objects, at, boxes[at], weights)


AMONG_LOOK_ALIKES = IdentityLoss(same_class=2.0)


@dataclass(frozen=True)
class IdentitiesOnFrozenDetector:
    """Embeddings alone, on top of a detector that already works and is not changed.

    They are learnt where they are read: at the centre of the box that the detector predicts for an object, and near
    that of the object itself where the detector misses it.

    Attributes:
        identities: what embeddings are asked for.
        min_iou: predicted boxes that overlap an object's box less are not of that object.
        jitter: largest shift of a missed object's centre, in box sides.
        bfloat16: run the network's convolutions in this precision, faster on CPUs that support it.
    """

    identities: IdentityLoss = AMONG_LOOK_ALIKES
    min_iou: float = 0.5
    jitter: float = 0.1
    bfloat16: bool = False

    def __call__(self, model: SipMask, batch: Batch) -> dict[str, Tensor]:
        """Loss "track".

        Args:
            model: a network with embeddings.
            batch: views; views 2k and 2k + 1 show the same picture, or two frames of a video.
        """
        precision = "bfloat16" if self.bfloat16 else "single"
        with layers_in(precision, batch.images.device):
            outputs = model(batch.images).single()
        maps = model.head.embedding_map(outputs.embedding_features)
        finder = MasksOnFrozenDetector(cells=1, min_iou=self.min_iou)
        boxes = []
        for item, annotated in enumerate(batch.boxes):
            places = finder.places(model, outputs, batch, item)
            # One cell at most for each object; an object without any keeps its own box.
            own = jittered(sent(annotated, maps), self.jitter)
            there = own.index_copy(0, places.objects, places.boxes.to(own.dtype))
            seen = torch.zeros_like(own[:, :1]).index_copy(
                0, places.objects, places.weights[:, None].to(own.dtype)
            )
            boxes.append(torch.where(seen > 0, there, own))
        return {"track": identity_term(self.identities, maps, batch, boxes)}


def jittered(boxes: Tensor, share: float) -> Tensor:
    """Boxes [N, 4], each moved by up to ``share`` of its sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + ((torch.rand_like(sides) * 2 - 1) * share * sides).repeat(1, 2)


def identity_term(
    loss: IdentityLoss, maps: Tensor, batch: Batch, boxes: Sequence[Tensor]
) -> Tensor:
    """The loss of embeddings read from maps float [B, E, h, w] at the centres of boxes, per view float [N, 4]."""
    found = [
        embeddings_at(one, box_centres(there), EMBEDDING_STRIDE)
        for one, there in zip(maps, boxes, strict=True)
    ]
    embeddings = torch.cat(found)
    if not len(embeddings):
        return maps.sum() * 0
    views = np.repeat(np.arange(len(batch.labels)), [len(ids) for ids in batch.object_ids])
    numbers = (torch.from_numpy(views), torch.cat(batch.object_ids), torch.cat(batch.labels))
    return loss(embeddings, *sent(torch.stack(numbers), embeddings))
