"""Objective "whole": the losses of the paper on every branch of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sipvideo.data import Batch
from sipvideo.model.criterion import JITTER, LossConfig, SipMaskLoss
from sipvideo.model.losses import ranks
from sipvideo.model.predictions import Predictions
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import GroundTruth
from sipvideo.training.precision import layers_in


@dataclass(frozen=True)
class WholeModel:
    """Class, box, centerness, mask, track and re-scoring losses (section 3 of the paper), where the model has them.

    Attributes:
        losses: their rules and weights.
        views: "references": odd views are the reference pictures of the even ones; "first": odd views are not used;
            "all": every view is a picture, there is no track loss.
        closed_boxes: x1, y1 of the boxes that are learnt are the last pixel inside, as published.
        crowds: crowds, objects of unknown class, and classes that were not annotated in a picture are "background", as
            published, or "ignored": nothing is learnt from them.
        precision: of the network's layers.
    """

    losses: LossConfig = field(default_factory=LossConfig)
    views: Literal["references", "first", "all"] = "references"
    closed_boxes: bool = True
    crowds: Literal["background", "ignored"] = "background"
    precision: Literal["single", "bfloat16", "half"] = "single"

    def __call__(self, model: SipMask, batch: Batch) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            model: the network.
            batch: views; 2k and 2k + 1 are a pair.
        """
        every = 1 if self.views == "all" else 2
        references = batch.images[1::2] if self.views == "references" else None
        with layers_in(self.precision, batch.images.device):
            predictions = Predictions.of(model, batch.images[::every], references)
        truths = [self._truth(batch, item) for item in range(0, len(batch.boxes), every)]
        head = model.head
        criterion = SipMaskLoss(
            head.strides,
            head.basis_stride,
            head.config.sub_regions,
            self.losses,
            map_side=head.config.map_side,
            mask_margin=head.config.mask_margin,
            offset=head.config.cell_offset,
        )
        return criterion(predictions, truths, self._jitters(truths)).terms

    def _truth(self, batch: Batch, item: int) -> GroundTruth:
        boxes, index = None, None
        if self.views == "references":
            boxes = self._boxes(batch.boxes[item + 1])
            here, there = (batch.object_ids[k].cpu().numpy() for k in (item, item + 1))
            same = here[:, None] == there
            # A column of its own for "not there" comes first.
            index = torch.from_numpy(np.c_[~same.any(1), same].argmax(1))
        return GroundTruth(
            self._boxes(batch.boxes[item]),
            batch.labels[item],
            batch.masks[item],
            boxes,
            index,
            batch.ignored[item] if self.crowds == "ignored" else None,
            batch.labelled[item] if self.crowds == "ignored" else None,
        )

    def _boxes(self, boxes: Tensor) -> Tensor:
        """What is learnt of boxes, on the host and as plain numbers: no operation of a device is behind them."""
        if not self.closed_boxes:
            return boxes
        return torch.from_numpy(boxes.cpu().numpy() - np.array([0, 0, 1, 1], np.float32))

    def _jitters(self, truths: list[GroundTruth]) -> list[Tensor] | None:
        """Shifts of the reference boxes, drawn per picture of the whole batch: processes do not change them."""
        if self.views != "references":
            return None
        rank = torch.distributed.get_rank() if ranks() > 1 else 0
        seed = torch.initial_seed() + rank * len(truths)
        jitters = []
        for item, truth in enumerate(truths):
            assert truth.reference_boxes is not None
            generator = torch.Generator().manual_seed((seed + item) % 2**63)
            jitter = torch.empty(truth.reference_boxes.shape)
            jitters.append(jitter.uniform_(-JITTER, JITTER, generator=generator))
        return jitters
