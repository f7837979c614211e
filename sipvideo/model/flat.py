"""Outputs and targets of a batch with all levels in one row: what the losses are taken from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from sipvideo.errors import DatasetError
from sipvideo.model.predictions import Predictions
from sipvideo.model.targets import GroundTruth, Positives, assign, locations
from sipvideo.model.waiting import sent


@dataclass(frozen=True)
class Rule:
    """Which locations predict an object; see :func:`sipvideo.model.targets.assign`.

    Attributes:
        strides: of the levels, input pixels per cell.
        ranges: per level (low, high) in pixels; None: by the strides.
        radius: centre sampling.
        offset: of a cell's point, by stride.
    """

    strides: tuple[int, ...]
    ranges: tuple[tuple[float, float], ...] | None
    radius: float
    offset: Callable[[int], int]


@dataclass(frozen=True, eq=False)
class Learners:
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

    def __getitem__(self, rows: Tensor | slice) -> Learners:
        """Some of them."""
        return Learners(*(value[rows] for value in vars(self).values()))

    @classmethod
    def of(
        cls, assigned: Sequence[Positives], truths: Sequence[GroundTruth], like: Tensor
    ) -> Learners:
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
class Flat:
    """Outputs and targets of a batch with all levels in one row: P locations, in level and then raster order."""

    points: Tensor  # [P, 2]
    strides: Tensor  # [P]
    class_logits: Tensor  # [B, P, C]
    centerness_logits: Tensor | None  # [B, P]
    distances: Tensor  # [B, P, 4]
    coefficients: Callable[[int, Tensor], Tensor]  # picture, locations [N] -> [N, k * k * K]
    learners: Sequence[Learners]  # per picture
    together: Learners  # of the batch
    labels: Tensor  # [B, P], -1 for background
    known: Tensor | None  # bool [B, P, C], class answers that the annotation gives; None: all

    @classmethod
    def of(cls, predictions: Predictions, truths: Sequence[GroundTruth], rule: Rule) -> Flat:
        """Assigns the objects of B pictures to locations.

        Raises:
            DatasetError: a label that the model does not have.
        """
        logits = _in_a_row(predictions.class_logits)
        batch, locations_count, classes = logits.shape
        for known in (truth.labels.cpu().numpy() for truth in truths):
            if len(known) and not 0 <= known.min() <= known.max() < classes:
                raise DatasetError(
                    f"labels: expected 0..{classes - 1}, the model's classes, got {known.tolist()}"
                )
        sizes = [(level.shape[2], level.shape[3]) for level in predictions.class_logits]
        assigned = [
            assign(sizes, rule.strides, truth, rule.ranges, rule.radius, rule.offset)
            for truth in truths
        ]
        together = Learners.of(assigned, truths, logits)
        ends = np.cumsum([0, *(len(one.at) for one in assigned)]).tolist()
        learners = [together[slice(start, stop)] for start, stop in pairwise(ends)]
        through = [one.at + item * locations_count for item, one in enumerate(learners)]
        together = replace(together, at=torch.cat(through))
        points = locations(sizes, rule.strides, logits.device, rule.offset)
        per_level = zip(points, rule.strides, strict=True)
        coefficients = predictions.coefficients
        if not callable(coefficients):
            maps = _in_a_row(coefficients)

            def coefficients(item: int, at: Tensor) -> Tensor:
                return maps[item, at]

        nowhere = torch.full((batch * locations_count,), -1, device=logits.device)
        labels = nowhere.index_copy(0, together.at, together.labels).view(batch, -1)
        return cls(
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


def _known(
    truths: Sequence[GroundTruth],
    points: Tensor,
    together: Learners,
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
