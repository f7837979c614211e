"""From dense maps to the best (cell, class) pairs, a fixed number of them, best first."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from sipvideo.config import PostprocessConfig
from sipvideo.engine.tensors.maps import Cells, taken
from sipvideo.model.head import HeadOutputs

NO_SCORE = -1.0
"""Takes the place of the score of a pair that does not take part."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """The best M (cell, class) pairs of each of B inputs, best first; equal ones by label, then by cell.

    Attributes:
        boxes: float32 [B, M, 4], model-input pixels, inside the resized frame.
        scores: float32 [B, M]; ``NO_SCORE`` where there are fewer pairs.
        labels, cell: int64 [B, M]; the cell is counted through all levels.
        valid: bool [B, M].
        complete: bool [B], there are no more valid pairs than these.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    cell: Tensor
    valid: Tensor
    complete: Tensor


def find(
    outputs: HeadOutputs, config: PostprocessConfig, cells: Cells, limits: Tensor, most: int
) -> Pairs:
    """The best pairs, by the rules of :mod:`sipvideo.postprocess.candidates`.

    Args:
        outputs: of the network, float32.
        config: thresholds and rules.
        cells: of the levels.
        limits: float32 [4], the largest x0, y0, x1, y1 of a box, model-input pixels.
        most: pairs that are looked at, M at most.
    """
    logits = cells.rows(outputs.class_logits)
    centerness = None
    if outputs.centerness_logits:
        centerness = cells.rows(outputs.centerness_logits).sigmoid()
    rule = _all_classes_of_cells if config.candidate_rule == "location" else _single_pairs
    scores, code = rule(logits, centerness, config, cells)
    complete = (scores > NO_SCORE).sum(1) <= most
    best = scores.topk(min(most, scores.shape[1]), sorted=False).indices
    # By label and cell first, so that the stable sort by score leaves equal ones in that order.
    code, order = code.gather(1, best).sort(1)
    scores = scores.gather(1, best.gather(1, order))
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    code = code.gather(1, order)
    labels, cell = code // logits.shape[1], code % logits.shape[1]
    sides = taken(cells.rows(outputs.box_distances), cell)
    points = cells.points[cell]
    corners = torch.cat((points - sides[..., :2], points + sides[..., 2:]), 2)
    boxes = torch.minimum(corners.clamp(min=0), limits)
    return Pairs(boxes, scores, labels, cell, scores > NO_SCORE, complete)


def _all_classes_of_cells(
    logits: Tensor, centerness: Tensor | None, config: PostprocessConfig, cells: Cells
) -> tuple[Tensor, Tensor]:
    """The best cells of every level with all their classes: scores [B, P] and codes label * T + cell [B, P]."""
    # The sigmoid is monotone: the largest logit of each cell is enough to rank it.
    rank = logits.amax(2).sigmoid()
    if centerness is not None:
        rank = rank * centerness[..., 0]
    if config.threshold_on == "score":
        score = rank.sqrt() if config.score == "sqrt_product" else rank
        rank = torch.where(score > config.score_threshold, rank, NO_SCORE)
    else:
        rank = rank.nan_to_num(nan=NO_SCORE)
    chosen = _best_of_levels(rank, cells, 1, config.candidates_per_level)
    probabilities = taken(logits, chosen).sigmoid()
    product = probabilities
    if centerness is not None:
        product = probabilities * taken(centerness, chosen)
    scores = product.sqrt() if config.score == "sqrt_product" else product
    tested = probabilities if config.threshold_on == "class" else scores
    scores = torch.where(tested > config.score_threshold, scores, NO_SCORE)
    label = torch.arange(logits.shape[2], device=logits.device)
    code = label * logits.shape[1] + chosen[..., None]
    return scores.flatten(1), code.flatten(1)


def _single_pairs(
    logits: Tensor, centerness: Tensor | None, config: PostprocessConfig, cells: Cells
) -> tuple[Tensor, Tensor]:
    """FCOS tree: the best (cell, class) pairs of every level above the threshold; results as above."""
    probabilities = logits.sigmoid()
    product = probabilities if centerness is None else probabilities * centerness
    rank = torch.where(probabilities > config.score_threshold, product, NO_SCORE).flatten(1)
    classes = logits.shape[2]
    chosen = _best_of_levels(rank, cells, classes, config.candidates_per_level)
    rank = rank.gather(1, chosen)
    scores = rank.clamp(min=0).sqrt() if config.score == "sqrt_product" else rank
    scores = torch.where(rank > NO_SCORE, scores, NO_SCORE)
    return scores, chosen % classes * logits.shape[1] + chosen // classes


def _best_of_levels(rank: Tensor, cells: Cells, per_cell: int, most: int) -> Tensor:
    """Numbers of the ``most`` best of every level among rank [B, T * per_cell], level after level: int64 [B, P]."""
    found = []
    for begin, end in pairwise(cells.starts):
        level = rank[:, begin * per_cell : end * per_cell]
        if level.shape[1] > most:
            here = level.topk(most, sorted=False).indices
        else:
            here = torch.arange(level.shape[1], device=rank.device).expand_as(level)
        found.append(here + begin * per_cell)
    return torch.cat(found, 1)
