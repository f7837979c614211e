"""The training criterion: raw outputs and annotated objects in, one loss per branch out.

The defaults are the published video model's rules; :class:`LossConfig` names the published variations and ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from sipvideo.errors import DatasetError
from sipvideo.model import losses
from sipvideo.model.head import EMBEDDING_STRIDE
from sipvideo.model.mask_crops import mask_logits
from sipvideo.model.mask_maps import Windows, windows_of
from sipvideo.model.predictions import Predictions
from sipvideo.model.targets import (
    GroundTruth,
    Positives,
    assign,
    boxes_at,
    centerness,
    locations,
    middle,
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
class _Learners:
    """N locations that predict an object, of one picture or, one picture after the other, of a batch.

    Attributes:
        at: int64 [N], the location, counted within the picture or through the batch.
        objects: int64 [N], rows of the picture's objects.
        labels: int64 [N].
        wanted: int64 [N], the object's ``GroundTruth.reference_index``; 0 without reference pictures.
        distances: float [N, 4], to be predicted.
        boxes: float [N, 4], of the objects, input pixels.
    """

    at: Tensor
    objects: Tensor
    labels: Tensor
    wanted: Tensor
    distances: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Tensor | slice) -> _Learners:
        """Some of them."""
        return _Learners(*(value[rows] for value in vars(self).values()))

    @classmethod
    def of(
        cls, assigned: Sequence[Positives], truths: Sequence[GroundTruth], like: Tensor
    ) -> _Learners:
        """Those of a batch, with ``at`` counted within each picture, on the device of a tensor."""
        numbers, places = [], []
        for one, truth in zip(assigned, truths, strict=True):
            index = truth.reference_index
            rows = 0 * one.at if index is None else index.cpu().numpy()[one.objects]
            numbers.append(np.stack((one.at, one.objects, one.labels, rows)))
            boxes = truth.boxes.detach().cpu().numpy()[one.objects]
            places.append(np.concatenate((one.distances, boxes.astype(np.float32)), 1))
        integers = sent(torch.from_numpy(np.concatenate(numbers, 1)), like)
        floats = sent(torch.from_numpy(np.concatenate(places)), like)
        at, objects, labels, wanted = integers.unbind(0)
        return cls(at, objects, labels, wanted, floats[:, :4], floats[:, 4:])


@dataclass(frozen=True, eq=False)
class _Flat:
    """Outputs and targets of a batch with all levels in one row: P locations, in level and then raster order."""

    points: Tensor  # [P, 2]
    strides: Tensor  # [P]
    class_logits: Tensor  # [B, P, C]
    centerness_logits: Tensor | None  # [B, P]
    distances: Tensor  # [B, P, 4]
    coefficients: Callable[[int, Tensor], Tensor]  # picture, locations [N] -> [N, k * k * K]
    learners: Sequence[_Learners]  # per picture
    together: _Learners  # of the batch
    labels: Tensor  # [B, P], -1 for background
    known: Tensor | None  # bool [B, P, C], class answers that the annotation gives; None: all


@dataclass(frozen=True, eq=False)
class _Masks:
    """The N masks that one picture learns, at positives whose predicted boxes have an area."""

    learners: _Learners  # N
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
        references = None
        if predictions.reference_embeddings is not None:
            track_loss, references = self._track_loss(predictions, truths, masks, jitters)
            terms["track"] = track_loss * self.config.track_weight
        return LossValues(terms, references)

    def _flatten(self, predictions: Predictions, truths: Sequence[GroundTruth]) -> _Flat:
        logits = _in_a_row(predictions.class_logits)
        batch, locations_count, classes = logits.shape
        for known in (truth.labels.cpu().numpy() for truth in truths):
            if len(known) and not 0 <= known.min() <= known.max() < classes:
                raise DatasetError(
                    f"labels: expected 0..{classes - 1}, the model's classes, got {known.tolist()}"
                )
        sizes = [(level.shape[2], level.shape[3]) for level in predictions.class_logits]
        config = self.config
        assigned = [
            assign(sizes, self.strides, truth, config.ranges, config.radius, self.offset)
            for truth in truths
        ]
        together = _Learners.of(assigned, truths, logits)
        ends = np.cumsum([0, *(len(one.at) for one in assigned)]).tolist()
        learners = [together[slice(start, stop)] for start, stop in pairwise(ends)]
        through = [one.at + item * locations_count for item, one in enumerate(learners)]
        together = replace(together, at=torch.cat(through))
        points = locations(sizes, self.strides, logits.device, self.offset)
        per_level = zip(points, self.strides, strict=True)
        coefficients = predictions.coefficients
        if not callable(coefficients):
            maps = _in_a_row(coefficients)

            def coefficients(item: int, at: Tensor) -> Tensor:
                return maps[item, at]

        nowhere = torch.full((batch * locations_count,), -1, device=logits.device)
        labels = nowhere.index_copy(0, together.at, together.labels).view(batch, -1)
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
            learners=learners,
            together=together,
            labels=labels,
            known=_known(truths, torch.cat(points), together, labels, classes),
        )

    def _detection_terms(self, flat: _Flat) -> dict[str, Tensor]:
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

    def _masks(self, flat: _Flat, item: int, basis: Tensor, truth: GroundTruth) -> _Masks:
        """Masks of one picture (section 3.1) and their losses, weighted by mask alignment."""
        learners, boxes, weights, keep = self._mask_positives(flat, item)
        in_basis = boxes / self.basis_stride
        size = (basis.shape[1], basis.shape[2])
        windows = windows_of(in_basis, size, self.sub_regions)
        coefficients = flat.coefficients(item, learners.at)
        # The box grid may tell one number more, of the mask's quality.
        coefficients = coefficients[
            :, : coefficients.shape[1] // self.sub_regions**2 * self.sub_regions**2
        ]
        logits = mask_logits(basis, coefficients, windows)
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

    def _mask_positives(self, flat: _Flat, item: int) -> tuple[_Learners, Tensor, Tensor, Tensor]:
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


def _known(
    truths: Sequence[GroundTruth],
    points: Tensor,
    together: _Learners,
    labels: Tensor,
    classes: int,
) -> Tensor | None:
    """Which classes the annotations answer for at each location, bool [B, P, C]; None: all of them.

    Args:
        truths: of B pictures.
        points: float [P, 2].
        together: the locations that predict an object: they know its class, which may be any, as objects are
            pasted from other pictures.
        labels: int64 [B, P], -1 for background.
        classes: C.
    """
    if all(truth.ignored is None and truth.labelled is None for truth in truths):
        return None
    answered = [
        [truth.labelled is None or k in truth.labelled for k in range(classes)] for truth in truths
    ]
    known = sent(torch.tensor(answered), points)[:, None].repeat(1, len(points), 1)
    x, y = points.long().unbind(1)
    for item, truth in enumerate(truths):
        if truth.ignored is not None:
            height, width = truth.ignored.shape
            ignored = sent(truth.ignored, points)
            inside = ignored[y.clamp(max=height - 1), x.clamp(max=width - 1)]
            known[item] &= ~(inside & (labels[item] < 0))[:, None]
    own = together.at * classes + together.labels
    return known.view(-1).index_fill(0, own, 1).view_as(known)


def _in_a_row(levels: Sequence[Tensor]) -> Tensor:
    """Levels [B, C, h, w] to float32 [B, P, C]."""
    return torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2).float()
