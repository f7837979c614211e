"""What a training step minimises: a model and a batch of views to named losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from sipvideo.data import Batch
from sipvideo.model.head import EMBEDDING_STRIDE, HeadOutputs
from sipvideo.model.losses import box_centres, embeddings_at, ranks, sum_over_ranks
from sipvideo.model.mask_crops import CropWindows, mask_logits
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import boxes_at, locations
from sipvideo.training.identities import IdentityLoss


@dataclass(frozen=True, eq=False)
class Places:
    """P cells of one picture from which masks are predicted.

    Attributes:
        objects: int64 [P], rows of the picture's objects.
        level, row, column: int64 [P], the cells.
        boxes: float [P, 4], the boxes predicted there, input pixels.
        weights: float [P], class score times overlap with the object's box.
    """

    objects: Tensor
    level: Tensor
    row: Tensor
    column: Tensor
    boxes: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False)
class _Masks:
    """P masks of one view, float [P] each: their losses, those of their expected overlaps, and weights."""

    losses: Tensor
    quality: Tensor
    weights: Tensor


@torch.no_grad()
def _overlaps(logits: Tensor, targets: Tensor, windows: CropWindows, areas: Tensor) -> Tensor:
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
    bfloat16: bool = False

    def __call__(self, model: SipMask, batch: Batch) -> dict[str, Tensor]:
        """Losses "mask" and, for a model that has them, "quality" and "track".

        Args:
            model: the network.
            batch: views; views 2k and 2k + 1 show the same picture.
        """
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.bfloat16):
            outputs = model(batch.images).single()
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
            boxes = [jittered(one, self.jitter) for one in batch.boxes]
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
        windows = CropWindows.of(
            places.boxes / stride,
            (basis.shape[1], basis.shape[2]),
            model.head.config.sub_regions,
        )
        values = torch.cat(
            [
                model.head.coefficients_at(
                    outputs, item, level, places.row[chosen], places.column[chosen]
                )
                for level in range(len(model.head.strides))
                if (chosen := places.level == level).any()
            ]
        )
        count = model.head.config.coefficient_count
        logits = mask_logits(basis, values[:, :count], windows)
        # The share of each basis pixel that the object covers: its edge is known finer than the basis.
        covered = F.avg_pool2d(batch.masks[item].float().unsqueeze(0), stride)[0]
        targets = windows.cut(covered, places.objects)
        areas = torch.tensor(windows.areas, device=logits.device).clamp(min=1)
        errors = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        probabilities = logits.sigmoid()
        both = windows.sums(probabilities * targets)
        each = windows.sums(probabilities.square() + targets.square())
        losses = windows.sums(errors) / areas + self.dice * (1 - (2 * both + 1) / (each + 1))
        weights = places.weights if self.mask_alignment else torch.ones_like(places.weights)
        overlaps = _overlaps(logits, targets, windows, (covered > 0.5).sum((1, 2))[places.objects])
        quality = F.binary_cross_entropy_with_logits(
            values[:, count:], overlaps[:, None].expand(values[:, count:].shape), reduction="none"
        )
        return _Masks(losses, quality.sum(1), weights)

    @torch.no_grad()
    def places(self, model: SipMask, outputs: HeadOutputs, batch: Batch, item: int) -> Places:
        """The cells where the detector finds each object of one view, level by level."""
        sizes = [(level.shape[2], level.shape[3]) for level in outputs.class_logits]
        offset = model.head.config.cell_offset
        points = locations(sizes, model.head.strides, outputs.basis_masks.device, offset)
        cells = [
            torch.stack((torch.full_like(i, level), i.div(w, rounding_mode="floor"), i % w))
            for level, (h, w) in enumerate(sizes)
            for i in [torch.arange(h * w, device=outputs.basis_masks.device)]
        ]
        level, row, column = torch.cat(cells, 1)
        distances = torch.cat([d[item].flatten(1).t() for d in outputs.box_distances])
        logits = torch.cat([c[item].flatten(1) for c in outputs.class_logits], 1)
        boxes = boxes_at(torch.cat(points), distances)
        height, width = batch.images.shape[-2:]
        boxes = boxes.minimum(boxes.new_tensor([width, height] * 2) - 1).clamp(min=0)
        overlap = box_iou(batch.boxes[item], boxes)
        rank = logits[batch.labels[item]].sigmoid() * overlap * (overlap >= self.min_iou)
        best = rank.topk(min(self.cells, rank.shape[1]), 1)
        objects, which = torch.nonzero(best.values > 0, as_tuple=True)
        at = best.indices[objects, which]
        order = level[at].argsort(stable=True)
        objects, at = objects[order], at[order]
        weights = rank[objects, at]
        return Places(objects, level[at], row[at], column[at], boxes[at], weights)


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
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=self.bfloat16):
            outputs = model(batch.images).single()
        maps = model.head.embedding_map(outputs.embedding_features)
        finder = MasksOnFrozenDetector(cells=1, min_iou=self.min_iou)
        boxes = []
        for item, annotated in enumerate(batch.boxes):
            places = finder.places(model, outputs, batch, item)
            boxes.append(jittered(annotated, self.jitter))
            boxes[-1][places.objects] = places.boxes
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
    counts = torch.tensor([len(ids) for ids in batch.object_ids], device=maps.device)
    views = torch.arange(len(counts), device=maps.device).repeat_interleave(counts)
    return loss(embeddings, views, torch.cat(batch.object_ids), torch.cat(batch.labels))
