"""From dense maps to the few cells that may become detections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sipvideo.config import PostprocessConfig
from sipvideo.masks import BoolArray
from sipvideo.postprocess.outputs import DenseOutputs
from sipvideo.postprocess.sampling import cells, sigmoid
from sipvideo.structures import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Candidates:
    """The cells of one input that may become detections, all levels one after the other.

    Attributes:
        boxes: float32 [N, 4], model-input pixels, inside the resized frame.
        scores: float32 [N, C], the score that ranks and is reported.
        level, row, column: int64 [N], the cell.
        valid: bool [N, C], pairs above the threshold that the candidate rule admits.
    """

    boxes: FloatArray
    scores: FloatArray
    level: IntArray
    row: IntArray
    column: IntArray
    valid: BoolArray


def find(
    outputs: DenseOutputs,
    item: int,
    config: PostprocessConfig,
    steps: tuple[tuple[int, int], ...],
    resized_size: tuple[int, int],
) -> Candidates:
    """The best cells of every level of input ``item``; cells without a valid pair may be left out.

    Args:
        outputs: of the network.
        item: number in the batch.
        config: thresholds and rules.
        steps: of each level, model-input pixels per cell, and where in a cell its box distances start.
        resized_size: (height, width) of the frame in the model input.
    """
    levels = [_of_level(outputs, item, level, config) for level in range(len(outputs.class_logits))]
    cell = np.concatenate([one[0] for one in levels])
    level = np.repeat(np.arange(len(levels)), [len(one[0]) for one in levels])
    widths = np.array([logits.shape[3] for logits in outputs.class_logits])
    row, column = np.divmod(cell, widths[level])
    sides = np.concatenate(
        [
            distances[item].reshape(4, -1)[:, one[0]].T
            for distances, one in zip(outputs.box_distances, levels, strict=True)
        ]
    )
    stride, offset = np.array(steps)[level].T
    points = np.stack((column, row), 1) * stride[:, None] + offset[:, None]
    points = points.astype(np.float32)
    corners = np.concatenate((points - sides[:, :2], points + sides[:, 2:]), 1)
    limits = np.tile(np.array(resized_size[::-1], np.float32) - 1, 2)
    return Candidates(
        boxes=np.minimum(np.maximum(corners, 0), limits),
        scores=np.concatenate([one[1] for one in levels]),
        level=level,
        row=row,
        column=column,
        valid=np.concatenate([one[2] for one in levels]),
    )


def _of_level(
    outputs: DenseOutputs, item: int, level: int, config: PostprocessConfig
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Cells [N] of one level, their scores [N, C] and valid pairs [N, C]."""
    logits = cells(outputs.class_logits[level][item])
    centerness: FloatArray | None = None
    if outputs.centerness_logits:
        centerness = sigmoid(outputs.centerness_logits[level][item].reshape(-1))
    # The sigmoid is monotone: the largest logit of each cell is enough to rule most cells out.
    best = sigmoid(logits.max(1))
    if config.candidate_rule == "location":
        rank = best if centerness is None else best * centerness
        chosen = np.arange(len(rank))
        if config.threshold_on == "score":
            score = np.sqrt(rank) if config.score == "sqrt_product" else rank
            chosen = np.flatnonzero(score > config.score_threshold)
        chosen = chosen[_top(rank[chosen], config.candidates_per_level)]
    else:
        chosen = np.flatnonzero(best > config.score_threshold)
    probabilities = sigmoid(logits[chosen])
    product = probabilities if centerness is None else probabilities * centerness[chosen, None]
    scores = np.sqrt(product) if config.score == "sqrt_product" else product
    tested = probabilities if config.threshold_on == "class" else scores
    valid = tested > config.score_threshold
    if config.candidate_rule == "location_and_class":
        valid = _top_pairs(product, probabilities > config.score_threshold, config)
    return chosen, scores, valid


def _top_pairs(rank: FloatArray, above: BoolArray, config: PostprocessConfig) -> BoolArray:
    """FCOS tree: the best (location, class) pairs among those above the threshold."""
    pairs = np.flatnonzero(above)
    pairs = pairs[_top(rank.reshape(-1)[pairs], config.candidates_per_level)]
    valid = np.zeros(rank.shape, bool)
    valid.reshape(-1)[pairs] = True
    return valid


def _top(rank: FloatArray, most: int) -> IntArray:
    """Indices of the ``most`` largest, descending; all in order if there are no more."""
    if len(rank) <= most:
        return np.arange(len(rank))
    best = np.argpartition(-rank, most - 1)[:most]
    return best[np.argsort(-rank[best], kind="stable")]
