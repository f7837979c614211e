"""The training criterion: raw outputs and annotated objects in, one loss per branch out.

The defaults are the published video model's rules; :class:`LossConfig` names the published variations and ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from sipvideo.errors import DatasetError
from sipvideo.model import losses
from sipvideo.model.head import EMBEDDING_STRIDE
from sipvideo.model.mask_crops import CropWindows, mask_logits
from sipvideo.model.predictions import Predictions
from sipvideo.model.targets import (
    GroundTruth,
    assign,
    boxes_at,
    centerness,
    locations,
    middle,
)

JITTER = 0.05
"""Largest shift of a reference box's centre, in box sides."""


@dataclass(frozen=True)
class LossConfig:
    """Rules and weights of the losses. Defaults: the published video model.

    The published COCO models differ in ``box_unit="stride"``. Those of the FCOS tree: ``box_loss="giou"``,
    ``box_unit="stride"``, ``class_normaliser="positives"``, ``mask_weight_epsilon=0``, ``mask_nms_iou=0.9`` and
    ``halve_large_mask_loss=True``.

    Attributes:
        radius: centre sampling, see :func:`sipvideo.model.targets.assign`.
        ranges: per level (low, high) in pixels; None: by the strides.
        class_loss: focal; or quality focal, where the target of a positive is the overlap of its predicted box
            (for models without centerness).
        class_normaliser: positives plus pictures of the batch, or positives (at least 1).
        box_loss: -ln(IoU), or 1 - GIoU.
        box_unit: the unit of the distances inside the box loss.
        box_pixel: added to both sides of boxes (iou), or to intersection and union (giou).
        mask_loss: binary cross-entropy, or its sum with the dice loss.
        mask_alignment: weigh each mask by class score times box overlap (mask alignment weighting); else equally.
        mask_weight_epsilon: added to the sum that these weights are divided by.
        mask_nms_iou: masks are learnt only at positives that survive this non-maximum suppression.
        halve_large_mask_loss: a mask loss above 1 is halved.
        class_weight, box_weight, centerness_weight, mask_weight, track_weight, rescoring_weight: factors.
    """

    radius: float = 1.5
    ranges: tuple[tuple[float, float], ...] | None = None
    class_loss: Literal["focal", "quality"] = "focal"
    class_normaliser: Literal["positives_and_pictures", "positives"] = "positives_and_pictures"
    box_loss: Literal["iou", "giou"] = "iou"
    box_unit: Literal["pixel", "stride"] = "pixel"
    box_pixel: float = 1.0
    mask_loss: Literal["bce", "bce_and_dice"] = "bce"
    mask_alignment: bool = True
    mask_weight_epsilon: float = 1e-4
    mask_nms_iou: float | None = None
    halve_large_mask_loss: bool = False
    class_weight: float = 1.0
    box_weight: float = 1.0
    centerness_weight: float = 1.0
    mask_weight: float = 1.0
    track_weight: float = 1.0
    rescoring_weight: float = 10.0


@dataclass(frozen=True, eq=False)
class LossValues:
    """The losses of one batch.

    Attributes:
        terms: scalar tensors, already weighted: "class", "box", "mask" and, where the model has the branch,
            "centerness", "track", "rescoring".
        track_accuracy: percent of objects whose reference was found, for logging; None if there was none to find.
    """

    terms: dict[str, Tensor]
    track_accuracy: float | None

    @property
    def total(self) -> Tensor:
        """Sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


@dataclass(frozen=True, eq=False)
class _Flat:
    """Outputs and targets of a batch with all levels in one row: P locations, in level and then raster order."""

    points: Tensor  # [P, 2]
    strides: Tensor  # [P]
    class_logits: Tensor  # [B, P, C]
    centerness_logits: Tensor | None  # [B, P]
    distances: Tensor  # [B, P, 4]
    coefficients: Callable[[int, Tensor], Tensor]  # picture, locations [N] -> [N, k * k * K]
    labels: Tensor  # [B, P], -1 for background
    objects: Tensor  # [B, P], -1 for background
    target_distances: Tensor  # [B, P, 4]
    known: Tensor  # bool [B, P, C], class answers that the annotation gives


@dataclass(frozen=True, eq=False)
class _Masks:
    """The N masks that one picture learns, at positives whose predicted boxes have an area."""

    objects: Tensor  # int64 [N], rows of the ground truth
    labels: Tensor  # int64 [N]
    boxes: Tensor  # [N, 4], predicted, input pixels, no gradient
    loss: Tensor  # [N], already weighted
    probabilities: Tensor  # [T]
    targets: Tensor  # [T]
    windows: CropWindows
    areas: Tensor  # [N], of the annotated masks, basis pixels


class SipMaskLoss:
    """All losses of a SipMask model.

    Args:
        strides: of the levels, input pixels per cell.
        basis_stride: input pixels per pixel of the basis masks.
        sub_regions: k, parts per side of a box.
        config: rules and weights.
        offset: :meth:`HeadConfig.cell_offset` of the model; by default stride // 2.
    """

    def __init__(
        self,
        strides: Sequence[int],
        basis_stride: int = 2,
        sub_regions: int = 2,
        config: LossConfig | None = None,
        *,
        offset: Callable[[int], int] = middle,
    ) -> None:
        self.strides = tuple(strides)
        self.basis_stride = basis_stride
        self.sub_regions = sub_regions
        self.config = LossConfig() if config is None else config
        self.offset = offset

    def __call__(
        self,
        predictions: Predictions,
        truths: Sequence[GroundTruth],
        jitters: Sequence[Tensor] | None = None,
    ) -> LossValues:
        """Losses of a batch of B pictures; pictures without objects and batches without positives are fine.

        Args:
            predictions: the model's outputs.
            truths: the objects of the B pictures.
            jitters: per picture float [R, 4], shifts of the reference boxes' centres (columns 0, 1) in box sides.
                By default they are drawn from torch's generator, uniformly in +-0.05, one draw for each picture
                that learns a mask, as published.

        Raises:
            DatasetError: a label that the model does not have.
        """
        flat = self._flatten(predictions, truths)
        terms = self._detection_terms(flat)
        masks = [
            self._masks(flat, item, predictions.basis_masks[item].float(), truth)
            for item, truth in enumerate(truths)
        ]
        mask_loss = torch.stack([one.loss.sum() for one in masks]).sum() / len(masks)
        if self.config.halve_large_mask_loss:
            large = losses.sum_over_ranks(mask_loss) / losses.ranks() > 1
            mask_loss = torch.where(large, mask_loss / 2, mask_loss)
        terms["mask"] = mask_loss * self.config.mask_weight
        if predictions.mask_scoring is not None:
            scoring = self._rescoring_loss(predictions.mask_scoring, masks)
            terms["rescoring"] = scoring * self.config.rescoring_weight
        accuracy = None
        if predictions.reference_embeddings is not None:
            track_loss, accuracy = self._track_loss(predictions, truths, masks, jitters)
            terms["track"] = track_loss * self.config.track_weight
        return LossValues(terms, accuracy)

    def _flatten(self, predictions: Predictions, truths: Sequence[GroundTruth]) -> _Flat:
        logits = _in_a_row(predictions.class_logits)
        classes = logits.shape[2]
        for labels in (truth.labels for truth in truths):
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
                raise DatasetError(
                    f"labels: expected 0..{classes - 1}, the model's classes, got {labels.tolist()}"
                )
        sizes = [(level.shape[2], level.shape[3]) for level in predictions.class_logits]
        points = locations(sizes, self.strides, logits.device, self.offset)
        assigned = [
            assign(points, self.strides, truth, self.config.ranges, self.config.radius)
            for truth in truths
        ]
        per_level = zip(points, self.strides, strict=True)
        coefficients = predictions.coefficients
        if not callable(coefficients):
            maps = _in_a_row(coefficients)

            def coefficients(item: int, at: Tensor) -> Tensor:
                return maps[item, at]

        return _Flat(
            points=torch.cat(points),
            strides=torch.cat(
                [level.new_full((len(level),), stride) for level, stride in per_level]
            ),
            class_logits=logits,
            centerness_logits=(
                _in_a_row(predictions.centerness_logits).squeeze(2)
                if predictions.centerness_logits
                else None
            ),
            distances=_in_a_row(predictions.box_distances),
            coefficients=coefficients,
            labels=torch.stack([one.labels for one in assigned]),
            objects=torch.stack([one.objects for one in assigned]),
            target_distances=torch.stack([one.distances for one in assigned]),
            known=torch.stack(
                [
                    _known(truth, torch.cat(points), one.labels, classes)
                    for truth, one in zip(truths, assigned, strict=True)
                ]
            ),
        )

    def _detection_terms(self, flat: _Flat) -> dict[str, Tensor]:
        """Class, box and centerness losses, those of FCOS."""
        config = self.config
        positive = flat.labels >= 0
        count = losses.sum_over_ranks(positive.sum())
        target = flat.target_distances[positive]
        central = centerness(target)
        scale = flat.strides.expand_as(positive)[positive].unsqueeze(1)
        scale = scale if config.box_unit == "stride" else torch.ones_like(scale)
        # Around a common point, distances are boxes.
        origin = target.new_zeros(2)
        boxes = boxes_at(origin, flat.distances[positive] / scale)
        target_boxes = boxes_at(origin, target / scale)
        box_loss = losses.iou_loss if config.box_loss == "iou" else losses.giou_loss
        box = (box_loss(boxes, target_boxes, config.box_pixel) * central).sum()
        if config.class_loss == "focal":
            classes = losses.focal_loss(flat.class_logits.flatten(0, 1), flat.labels.flatten())
        else:
            quality = torch.zeros_like(flat.strides).repeat(len(flat.labels), 1)
            overlap = losses.aligned_iou(boxes.detach(), target_boxes, config.box_pixel)
            quality[positive] = overlap.clamp(0, 1)
            classes = losses.quality_focal_loss(
                flat.class_logits.flatten(0, 1), flat.labels.flatten(), quality.flatten()
            )
        classes = torch.where(flat.known.flatten(0, 1), classes, 0.0)
        ranks = losses.ranks()
        pictures = len(flat.labels) * ranks * (config.class_normaliser == "positives_and_pictures")
        central_sum = losses.nonzero(losses.sum_over_ranks(central.sum()))
        terms = {
            "class": classes.sum() / (count + pictures).clamp(min=1) * ranks * config.class_weight,
            "box": box / central_sum * ranks * config.box_weight,
        }
        if flat.centerness_logits is not None:
            loss = F.binary_cross_entropy_with_logits(
                flat.centerness_logits[positive], central, reduction="sum"
            )
            terms["centerness"] = loss / count.clamp(min=1) * ranks * config.centerness_weight
        return terms

    def _masks(self, flat: _Flat, item: int, basis: Tensor, truth: GroundTruth) -> _Masks:
        """Masks of one picture (section 3.1) and their losses, weighted by mask alignment."""
        at, boxes, weights = self._mask_positives(flat, item, truth)
        in_basis = boxes / self.basis_stride
        size = (basis.shape[1], basis.shape[2])
        windows = CropWindows.of(in_basis, size, self.sub_regions)
        coefficients = flat.coefficients(item, at)
        # The box grid may tell one number more, of the mask's quality.
        coefficients = coefficients[
            :, : coefficients.shape[1] // self.sub_regions**2 * self.sub_regions**2
        ]
        logits = mask_logits(basis, coefficients, windows)
        probabilities = logits.sigmoid()
        annotated = losses.mask_targets(truth.masks.to(basis.device), self.basis_stride, size)
        objects = flat.objects[item, at]
        targets = windows.cut(annotated, objects)
        loss = losses.mask_bce(probabilities, targets, windows, in_basis)
        if self.config.mask_loss == "bce_and_dice":
            loss = loss + losses.mask_dice(probabilities, targets, windows)
        return _Masks(
            objects=objects,
            labels=flat.labels[item, at],
            boxes=boxes,
            loss=loss * weights / max(len(at), 1),
            probabilities=probabilities,
            targets=targets,
            windows=windows,
            areas=annotated.sum((1, 2))[objects],
        )

    def _mask_positives(
        self, flat: _Flat, item: int, truth: GroundTruth
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The positives that learn a mask: location int64 [N], predicted box [N, 4] in input pixels, weight [N]."""
        at = (flat.labels[item] >= 0).nonzero().squeeze(1)
        boxes = boxes_at(flat.points[at], flat.distances[item, at].detach())
        # Two inverted sides pass, as published; such a box has no pixels.
        areas = ((boxes[:, 2:] - boxes[:, :2]) / self.basis_stride).prod(1)
        keep = (areas > 1.0) & boxes.isfinite().all(1)
        at, boxes = at[keep], boxes[keep]
        scores = flat.class_logits[item, at, flat.labels[item, at]].sigmoid().detach()
        weights = torch.ones_like(scores)
        if self.config.mask_alignment:
            annotated = truth.boxes.to(boxes)[flat.objects[item, at]]
            overlaps = losses.aligned_iou(annotated / self.basis_stride, boxes / self.basis_stride)
            weights = losses.mask_alignment_weights(
                scores, overlaps, self.config.mask_weight_epsilon
            )
        if self.config.mask_nms_iou is not None:
            kept = nms(boxes, scores, self.config.mask_nms_iou)
            at, boxes, weights = at[kept], boxes[kept], weights[kept]
        return at, boxes, weights

    @staticmethod
    def _rescoring_loss(
        mask_scoring: Callable[[Tensor], Tensor], masks: Sequence[_Masks]
    ) -> Tensor:
        """Squared error of the predicted mask overlaps (SipMask++), the mean over the objects that count."""
        errors, weights = [], []
        for one in masks:
            probabilities = one.probabilities.detach()
            overlaps, weight = losses.rescoring_targets(
                probabilities, one.targets, one.windows, one.areas
            )
            scores = mask_scoring(one.windows.paste(probabilities).unsqueeze(1))
            score = scores.gather(1, one.labels.unsqueeze(1)).squeeze(1)
            errors.append((weight * (score - overlaps).square()).sum())
            weights.append(weight.sum())
        counted = losses.sum_over_ranks(torch.stack(weights).sum())
        return torch.stack(errors).sum() / (0.1 + counted) * losses.ranks()

    @staticmethod
    def _track_loss(
        predictions: Predictions,
        truths: Sequence[GroundTruth],
        masks: Sequence[_Masks],
        jitters: Sequence[Tensor] | None,
    ) -> tuple[Tensor, float | None]:
        """Cross-entropy of each predicted object against the reference picture's, and the accuracy in percent."""
        assert predictions.embeddings is not None
        assert predictions.reference_embeddings is not None
        total, right, count = predictions.embeddings[..., :0].float().sum(), 0, 0
        for item, (truth, one) in enumerate(zip(truths, masks, strict=True)):
            if truth.reference_boxes is None or truth.reference_index is None or not len(one.boxes):
                continue
            boxes = truth.reference_boxes.to(one.boxes)
            jitter = (
                torch.empty(boxes.shape).uniform_(-JITTER, JITTER)
                if jitters is None
                else jitters[item]
            )
            here, there = (
                losses.embeddings_at(embedding_map[item].float(), centres, EMBEDDING_STRIDE)
                for embedding_map, centres in (
                    (predictions.embeddings, losses.box_centres(one.boxes)),
                    (predictions.reference_embeddings, losses.box_centres(boxes, jitter)),
                )
            )
            logits = losses.track_logits(here, there)
            wanted = truth.reference_index.to(one.objects)[one.objects]
            total = total + F.cross_entropy(logits, wanted)
            right += int((logits.argmax(1) == wanted).sum())
            count += len(wanted)
        return total / len(masks), 100 * right / count if count else None


def _known(truth: GroundTruth, points: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Which classes the annotation answers for at each location of a picture, bool [P, C]."""
    known = torch.ones(len(points), classes, dtype=torch.bool, device=points.device)
    if truth.ignored is not None:
        height, width = truth.ignored.shape
        x, y = points.long().unbind(1)
        inside = truth.ignored.to(points.device)[y.clamp(max=height - 1), x.clamp(max=width - 1)]
        known[inside & (labels < 0)] = False
    if truth.labelled is not None:
        known[:, [k for k in range(classes) if k not in truth.labelled]] = False
        # Objects pasted from other pictures may have any class.
        known[labels >= 0, labels[labels >= 0]] = True
    return known


def _in_a_row(levels: Sequence[Tensor]) -> Tensor:
    """Levels [B, C, h, w] to float32 [B, P, C]."""
    return torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2).float()
