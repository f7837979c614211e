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

from sipvideo.model import losses
from sipvideo.model.flat import Flat, Learners, Rule
from sipvideo.model.head import EMBEDDING_STRIDE
from sipvideo.model.mask_crops import mask_logits
from sipvideo.model.mask_maps import Windows, windows_of
from sipvideo.model.predictions import Predictions
from sipvideo.model.targets import (
    GroundTruth,
    boxes_at,
    centerness,
    middle,
    widened,
)
from sipvideo.model.waiting import rows_that_count, sent

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
        references: float [2], how many objects' references were found, and how many were looked for.
    """

    terms: dict[str, Tensor]
    references: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()

    @property
    def track_accuracy(self) -> float | None:
        """Percent of objects whose reference was found, for logging; None if there was none to find."""
        if self.references is None:
            return None
        found, count = self.references.tolist()
        return 100 * found / count if count else None


@dataclass(frozen=True, eq=False)
class _Masks:
    """The N masks that one picture learns, at positives whose predicted boxes have an area."""

    learners: Learners  # N
    keep: Tensor  # bool [N], which of them there are
    boxes: Tensor  # [N, 4], predicted, input pixels, no gradient
    loss: Tensor  # [N], already weighted
    probabilities: Tensor  # as windows keep values
    targets: Tensor
    windows: Windows
    areas: Tensor  # [N], of the annotated masks, basis pixels


class SipMaskLoss:
    """All losses of a SipMask model.

    Args:
        strides: of the levels, input pixels per cell.
        basis_stride: input pixels per pixel of the basis masks.
        sub_regions: k, parts per side of a box.
        config: rules and weights.
        map_side: side of the objects' own maps; 0: they have none.
        mask_margin: how far masks may reach beyond their boxes, in box sides.
        offset: :meth:`HeadConfig.cell_offset` of the model; by default stride // 2.
    """

    def __init__(
        self,
        strides: Sequence[int],
        basis_stride: int = 2,
        sub_regions: int = 2,
        config: LossConfig | None = None,
        *,
        map_side: int = 0,
        mask_margin: float = 0.0,
        offset: Callable[[int], int] = middle,
    ) -> None:
        self.map_side, self.mask_margin = map_side, mask_margin
        self.basis_stride = basis_stride
        self.sub_regions = sub_regions
        self.config = LossConfig() if config is None else config
        self.rule = Rule(tuple(strides), self.config.ranges, self.config.radius, offset)

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
        flat = Flat.of(predictions, truths, self.rule)
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
        references = None
        if predictions.reference_embeddings is not None:
            track_loss, references = self._track_loss(predictions, truths, masks, jitters)
            terms["track"] = track_loss * self.config.track_weight
        return LossValues(terms, references)

    def _detection_terms(self, flat: Flat) -> dict[str, Tensor]:
        """Class, box and centerness losses, those of FCOS."""
        config = self.config
        at, target = flat.together.at, flat.together.distances
        count = losses.sum_over_ranks(target.new_full((), len(at)))
        central = centerness(target)
        scale = flat.strides[at % len(flat.strides)].unsqueeze(1)
        scale = scale if config.box_unit == "stride" else torch.ones_like(scale)
        # Around a common point, distances are boxes.
        origin = target.new_zeros(2)
        boxes = boxes_at(origin, flat.distances.flatten(0, 1).index_select(0, at) / scale)
        target_boxes = boxes_at(origin, target / scale)
        box_loss = losses.iou_loss if config.box_loss == "iou" else losses.giou_loss
        box = (box_loss(boxes, target_boxes, config.box_pixel) * central).sum()
        if config.class_loss == "focal":
            classes = losses.focal_loss(flat.class_logits.flatten(0, 1), flat.labels.flatten())
        else:
            overlap = losses.aligned_iou(boxes.detach(), target_boxes, config.box_pixel)
            nowhere = torch.zeros_like(flat.distances[..., 0]).flatten()
            classes = losses.quality_focal_loss(
                flat.class_logits.flatten(0, 1),
                flat.labels.flatten(),
                nowhere.index_copy(0, at, overlap.clamp(0, 1)),
            )
        if flat.known is not None:
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
                flat.centerness_logits.flatten().index_select(0, at), central, reduction="sum"
            )
            terms["centerness"] = loss / count.clamp(min=1) * ranks * config.centerness_weight
        return terms

    def _masks(self, flat: Flat, item: int, basis: Tensor, truth: GroundTruth) -> _Masks:
        """Masks of one picture (section 3.1) and their losses, weighted by mask alignment."""
        learners, boxes, weights, keep = self._mask_positives(flat, item)
        in_basis = widened(boxes / self.basis_stride, self.mask_margin)
        size = (basis.shape[1], basis.shape[2])
        windows = windows_of(in_basis, size, self.sub_regions)
        coefficients = flat.coefficients(item, learners.at)
        # The box grid may tell one number more, of the mask's quality.
        parts, own = self.sub_regions**2, self.map_side**2
        count = (coefficients.shape[1] - own) // parts * parts + own
        logits = mask_logits(basis, coefficients[:, :count], windows, self.map_side)
        probabilities = logits.sigmoid()
        annotated = losses.mask_targets(sent(truth.masks, basis), self.basis_stride, size)
        targets = windows.cut(annotated, learners.objects)
        loss = losses.mask_bce(probabilities, targets, windows, in_basis)
        if self.config.mask_loss == "bce_and_dice":
            loss = loss + losses.mask_dice(probabilities, targets, windows)
        return _Masks(
            learners=learners,
            keep=keep,
            boxes=boxes,
            loss=loss * weights / keep.sum().clamp(min=1),
            probabilities=probabilities,
            targets=targets,
            windows=windows,
            areas=annotated.sum((1, 2)).index_select(0, learners.objects),
        )

    def _mask_positives(self, flat: Flat, item: int) -> tuple[Learners, Tensor, Tensor, Tensor]:
        """The positives that learn a mask; predicted boxes [N, 4] in input pixels, weights [N], which there are [N]."""
        learners = flat.learners[item]
        boxes = boxes_at(flat.points[learners.at], flat.distances[item, learners.at].detach())
        # Two inverted sides pass, as published; such a box has no pixels.
        areas = ((boxes[:, 2:] - boxes[:, :2]) / self.basis_stride).prod(1)
        keep = (areas > 1.0) & boxes.isfinite().all(1)
        rows = rows_that_count(keep)
        if rows is not None:
            learners, boxes, keep = learners[rows], boxes[rows], keep[rows]
        else:  # those that do not count get a box with which nothing goes wrong: 0, 0, one basis pixel
            harmless = torch.arange(4, device=boxes.device) // 2 * self.basis_stride
            boxes = torch.where(keep[:, None], boxes, harmless.to(boxes.dtype))
        scores = flat.class_logits[item, learners.at, learners.labels].sigmoid().detach()
        weights = keep.to(scores.dtype)
        if self.config.mask_alignment:
            annotated = learners.boxes / self.basis_stride
            overlaps = losses.aligned_iou(annotated, boxes / self.basis_stride)
            weights = losses.mask_alignment_weights(
                scores, overlaps, self.config.mask_weight_epsilon, keep
            )
        if self.config.mask_nms_iou is not None:
            # How many are left only the device knows: it is waited for.
            kept = nms(boxes, torch.where(keep, scores, -1.0), self.config.mask_nms_iou)
            learners, boxes, weights, keep = learners[kept], boxes[kept], weights[kept], keep[kept]
        return learners, boxes, weights, keep

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
            weight = weight * one.keep
            scores = mask_scoring(one.windows.paste(probabilities).unsqueeze(1))
            score = scores.gather(1, one.learners.labels.unsqueeze(1)).squeeze(1)
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
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each predicted object against the reference picture's; see ``LossValues.references``."""
        assert predictions.embeddings is not None
        assert predictions.reference_embeddings is not None
        total = predictions.embeddings[..., :0].float().sum()
        references = total.new_zeros(2)
        for item, (truth, one) in enumerate(zip(truths, masks, strict=True)):
            if truth.reference_boxes is None or truth.reference_index is None or not len(one.boxes):
                continue
            boxes = truth.reference_boxes
            jitter = (
                torch.empty(boxes.shape).uniform_(-JITTER, JITTER)
                if jitters is None
                else jitters[item]
            )
            here, there = (
                losses.embeddings_at(embedding_map[item].float(), centres, EMBEDDING_STRIDE)
                for embedding_map, centres in (
                    (predictions.embeddings, losses.box_centres(one.boxes)),
                    (
                        predictions.reference_embeddings,
                        sent(losses.box_centres(boxes, jitter), total),
                    ),
                )
            )
            logits, wanted = losses.track_logits(here, there), one.learners.wanted
            errors = F.cross_entropy(logits, wanted, reduction="none")
            count = one.keep.sum()
            total = total + (errors * one.keep).sum() / count.clamp(min=1)
            right = ((logits.argmax(1) == wanted) & one.keep).sum()
            references = references + torch.stack((right, count))
        return total / len(masks), references.detach()
