"""Raw outputs to detections in frame pixels: the one place where logits, distances and bases are converted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou, nms

from sipvideo.config import PostprocessConfig
from sipvideo.model.assembly import LowResMask, assemble, to_frame
from sipvideo.model.head import HeadOutputs, SipMaskHead
from sipvideo.structures import Detections
from sipvideo.transforms import Geometry


@dataclass(frozen=True, eq=False)
class Candidates:
    """The locations of one input that may become detections, all levels one after the other.

    Attributes:
        boxes: float [N, 4], model-input pixels, inside the resized frame.
        scores: float [N, C], the score that ranks and is reported.
        class_probabilities: float [N, C].
        level, row, column: int64 [N], the cell.
        allowed: bool [N, C] or None; pairs that the candidate rule admits (FCOS tree).
    """

    boxes: Tensor
    scores: Tensor
    class_probabilities: Tensor
    level: Tensor
    row: Tensor
    column: Tensor
    allowed: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Kept:
    """What survives non-maximum suppression: index into the candidates, label and score, all [n]."""

    index: Tensor
    label: Tensor
    score: Tensor


class Postprocess:
    """Candidates, suppression, masks and embeddings of one input of a batch.

    Args:
        config: post-processing configuration.
        head: reads coefficients and embeddings where they are needed.
    """

    def __init__(self, config: PostprocessConfig, head: SipMaskHead) -> None:
        self.config = config
        self.head = head

    def __call__(self, outputs: HeadOutputs, geometry: Geometry, item: int = 0) -> Detections:
        """Detections of input ``item``, frame pixels, by descending score."""
        candidates = self.candidates(outputs, geometry, item)
        # Published pipelines divide by the scale in float32 and multiply it back for the masks.
        scale = torch.from_numpy(geometry.box_scale()).to(candidates.boxes.device)
        frame_boxes = candidates.boxes / scale
        kept = self.suppress(candidates, frame_boxes)
        boxes = frame_boxes[kept.index]
        coefficients = self._coefficients(outputs, item, candidates, kept.index)
        probabilities = assemble(
            outputs.basis_masks[item],
            coefficients,
            boxes * scale / self.head.basis_stride,
            self.head.config.sub_regions,
        )
        basis_size = (outputs.basis_masks.shape[-2], outputs.basis_masks.shape[-1])
        mask_scores = None
        if self.head.config.rescoring:
            quality = self._rescored(probabilities, kept.label, basis_size)
            mask_scores = (kept.score * quality).float().cpu().numpy()
        elif self.config.mask_quality:
            quality = self._certainty(probabilities).to(kept.score)
            mask_scores = (kept.score * quality).float().cpu().numpy()
        return Detections(
            boxes=boxes.float().cpu().numpy(),
            scores=kept.score.float().cpu().numpy(),
            labels=kept.label.cpu().numpy(),
            masks=to_frame(
                probabilities,
                basis_size,
                geometry.upsampled_size(basis_size, self.head.basis_stride, self.config.mask_scale),
                geometry.frame_size,
                self.config.mask_threshold,
            ),
            embeddings=self.head.embeddings_at(outputs, item, boxes * scale).float().cpu().numpy(),
            mask_scores=mask_scores,
        )

    def candidates(self, outputs: HeadOutputs, geometry: Geometry, item: int) -> Candidates:
        """The best locations of every level by their best class score."""
        parts = [
            self._level_candidates(outputs, geometry, item, level)
            for level in range(len(outputs.class_logits))
        ]

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(part, name) for part in parts])

        return Candidates(
            boxes=joined("boxes"),
            scores=joined("scores"),
            class_probabilities=joined("class_probabilities"),
            level=joined("level"),
            row=joined("row"),
            column=joined("column"),
            allowed=None if parts[0].allowed is None else joined("allowed"),
        )

    def _level_candidates(
        self, outputs: HeadOutputs, geometry: Geometry, item: int, level: int
    ) -> Candidates:
        logits = outputs.class_logits[level][item].flatten(1)
        width = outputs.class_logits[level].shape[-1]
        centerness = None
        if outputs.centerness_logits:
            centerness = outputs.centerness_logits[level][item].flatten().sigmoid()
        if self.config.candidate_rule == "location":
            # The sigmoid is monotone: ranking by the largest logit needs one sigmoid per location.
            rank = logits.amax(0).sigmoid()
            rank = rank if centerness is None else rank * centerness
            cells, allowed = _top(rank, self.config.candidates_per_level), None
        else:
            cells, allowed = self._top_pairs(logits, centerness)
        probabilities = logits[:, cells].t().sigmoid()
        scores = probabilities
        if centerness is not None:
            scores = probabilities * centerness[cells, None]
        if self.config.score == "sqrt_product":
            scores = scores.sqrt()
        rows, columns = torch.div(cells, width, rounding_mode="floor"), cells % width
        boxes = self._boxes(outputs.box_distances[level][item], level, (rows, columns), geometry)
        levels = torch.full_like(cells, level)
        return Candidates(boxes, scores, probabilities, levels, rows, columns, allowed)

    def _top_pairs(self, logits: Tensor, centerness: Tensor | None) -> tuple[Tensor, Tensor]:
        """FCOS tree: the best (location, class) pairs above the threshold, as locations and a pair mask."""
        probabilities = logits.t().sigmoid()
        rank = probabilities if centerness is None else probabilities * centerness[:, None]
        pairs = torch.nonzero((probabilities > self.config.score_threshold).flatten()).squeeze(1)
        pairs = pairs[_top(rank.flatten()[pairs], self.config.candidates_per_level)]
        classes = logits.shape[0]
        cells, inverse = torch.unique(
            torch.div(pairs, classes, rounding_mode="floor"), return_inverse=True
        )
        allowed = torch.zeros(len(cells), classes, dtype=torch.bool, device=logits.device)
        allowed[inverse, pairs % classes] = True
        return cells, allowed

    def _boxes(
        self, distances: Tensor, level: int, cells: tuple[Tensor, Tensor], geometry: Geometry
    ) -> Tensor:
        stride = self.head.strides[level]
        rows, columns = cells
        x, y = columns * stride + stride // 2, rows * stride + stride // 2
        left, top, right, bottom = distances[:, rows, columns]
        height, width = geometry.resized_size
        return torch.stack(
            (
                (x - left).clamp(0, width - 1),
                (y - top).clamp(0, height - 1),
                (x + right).clamp(0, width - 1),
                (y + bottom).clamp(0, height - 1),
            ),
            1,
        )

    def suppress(self, candidates: Candidates, frame_boxes: Tensor) -> Kept:
        """Non-maximum suppression per class over boxes float [N, 4], then the best by score."""
        config = self.config
        tested = (
            candidates.class_probabilities if config.threshold_on == "class" else candidates.scores
        )
        valid = tested > config.score_threshold
        if candidates.allowed is not None:
            valid = candidates.allowed
        if config.nms == "fast":
            index, label = _fast_nms(frame_boxes, candidates.scores, valid, config.nms_iou)
        else:
            # The FCOS tree suppresses before it returns to frame pixels.
            boxes = frame_boxes if candidates.allowed is None else candidates.boxes
            index, label = _classwise_nms(boxes, candidates.scores, valid, config)
        score = candidates.scores[index, label]
        order = score.argsort(descending=True, stable=True)[: config.max_detections]
        return Kept(index[order], label[order], score[order])

    def _coefficients(
        self, outputs: HeadOutputs, item: int, candidates: Candidates, index: Tensor
    ) -> Tensor:
        """Coefficients only of the survivors: float [n, k * k * bases]."""
        head = self.head
        result = outputs.basis_masks.new_zeros(len(index), head.coefficient_count)
        levels = candidates.level[index]
        for level in sorted(set(levels.tolist())):
            here = torch.nonzero(levels == level).squeeze(1)
            rows, columns = candidates.row[index[here]], candidates.column[index[here]]
            result[here] = head.coefficients_at(outputs, item, level, rows, columns)
        return result

    def _certainty(self, masks: list[LowResMask]) -> Tensor:
        """Mean probability of each mask's pixels, 0 for an empty mask: float [n]."""
        means = []
        for mask in masks:
            inside = mask.probability > self.config.mask_threshold
            total = (mask.probability * inside).sum()
            means.append(total / inside.sum().clamp(min=1))
        return torch.stack(means) if means else torch.zeros(0)

    def _rescored(
        self, masks: list[LowResMask], labels: Tensor, basis_size: tuple[int, int]
    ) -> Tensor:
        """Expected mask IoU of each detection's own class (SipMask++): float [n]."""
        scores = []
        # One at a time: the scoring network sees a whole low-resolution map per object.
        for mask, label in zip(masks, labels, strict=True):
            height, width = mask.probability.shape
            full = mask.probability.new_zeros(1, 1, *basis_size)
            full[0, 0, mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width] = mask.probability
            scores.append(self.head.mask_scoring(full)[0, label])
        return torch.stack(scores) if scores else labels.new_zeros(0, dtype=torch.float32)


def _top(rank: Tensor, most: int) -> Tensor:
    """Indices of the ``most`` largest, descending; all in order if there are no more."""
    if len(rank) <= most:
        return torch.arange(len(rank), device=rank.device)
    return rank.topk(most).indices


def _fast_nms(boxes: Tensor, scores: Tensor, valid: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """YOLACT's suppression: a pair goes if any better one of its class overlaps it, kept or not.

    Pairs that are not valid could only suppress worse pairs, which are not valid either, so they are left
    out. Boxes float [N, 4], scores float [N, C], valid bool [N, C]; gives index and label, int64 [n].
    """
    most = int(valid.sum(0).max()) if valid.numel() else 0
    most = min(most, 200)
    order = scores.masked_fill(~valid, -1).t().topk(most, dim=1, sorted=True).indices
    overlap = box_iou(boxes, boxes)[order[:, :, None], order[:, None, :]]
    # NaN (two boxes without area) counts as an overlap, as in the published comparison.
    better = torch.ones(most, most, dtype=torch.bool, device=boxes.device).triu(1)
    suppressed = (~(overlap <= iou) & better).any(1)
    labels = torch.arange(len(order), device=boxes.device)[:, None].expand_as(order)
    keep = valid[order, labels] & ~suppressed
    return order[keep], labels[keep]


def _classwise_nms(
    boxes: Tensor, scores: Tensor, valid: Tensor, config: PostprocessConfig
) -> tuple[Tensor, Tensor]:
    """Ordinary suppression within each class; index and label int64 [n], class by class."""
    # Closed pixel boxes: one more pixel at the far sides gives the same widths and overlaps.
    boxes = boxes + boxes.new_tensor([0, 0, config.nms_pixel, config.nms_pixel])
    indices, labels = [], []
    for label in torch.nonzero(valid.any(0)).flatten().tolist():
        members = torch.nonzero(valid[:, label]).flatten()
        kept = nms(boxes[members], scores[members, label], config.nms_iou).sort().values
        indices.append(members[kept])
        labels.append(torch.full_like(kept, label))
    none = torch.zeros(0, dtype=torch.int64, device=boxes.device)
    return torch.cat([none, *indices]), torch.cat([none, *labels])
