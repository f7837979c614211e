"""What every runtime hands over: the raw outputs of the dense network as numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

from sipvideo.structures import FloatArray


@dataclass(frozen=True, eq=False)
class DenseOutputs:
    """Raw outputs for a batch of B inputs, float32 with any strides; lists are per level, finest first.

    Attributes:
        class_logits: [B, C, h, w].
        centerness_logits: [B, 1, h, w], or an empty list for models without centerness.
        box_distances: [B, 4, h, w], left, top, right, bottom from the cell's point, model-input pixels.
        coefficient_features: [B, channels, h, w], what the coefficients are read from.
        basis_masks: [B, bases, H / s, W / s], s = 8 / ``basis_upsample``.
        embedding_features: [B, channels, h, w] at strides 8, 16, 32; empty without tracking branch.
    """

    class_logits: list[FloatArray]
    centerness_logits: list[FloatArray]
    box_distances: list[FloatArray]
    coefficient_features: list[FloatArray]
    basis_masks: FloatArray
    embedding_features: list[FloatArray]
