"""What the losses read of a network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from sipvideo.model.sipmask import SipMask


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a training step's losses read, for B pictures; lists are per level, finest first.

    Attributes:
        class_logits: float [B, C, h, w].
        centerness_logits: float [B, 1, h, w]; empty for models without centerness.
        box_distances: float [B, 4, h, w], left, top, right, bottom in input pixels.
        coefficients: float [B, k * k * K, h, w], block row * k + column belongs to that sub-region; or a function
            that gives them, float [N, k * k * K], only at locations int64 [N] of picture number int.
        basis_masks: float [B, K, Hm, Wm].
        embeddings: float [B, E, H / 8, W / 8], or None without tracking branch.
        reference_embeddings: the same of the reference pictures, or None: no track loss.
        mask_scoring: mask probabilities float [N, 1, Hm, Wm] to expected overlaps [N, C] (SipMask++), or None.
    """

    class_logits: Sequence[Tensor]
    centerness_logits: Sequence[Tensor]
    box_distances: Sequence[Tensor]
    coefficients: Sequence[Tensor] | Callable[[int, Tensor], Tensor]
    basis_masks: Tensor
    embeddings: Tensor | None = None
    reference_embeddings: Tensor | None = None
    mask_scoring: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(cls, model: SipMask, images: Tensor, references: Tensor | None = None) -> Predictions:
        """Runs the model on pictures float [B, 3, H, W] and, if it can track, on their reference pictures."""
        head = model.head
        outputs = model(images)
        embeddings, reference_embeddings = None, None
        if references is not None and outputs.embedding_features:
            embeddings = head.embedding_map(outputs.embedding_features)
            pyramid, _ = model.pyramid(references)
            reference_embeddings = head.embedding_map(head.track_features(pyramid))
        return cls(
            outputs.class_logits,
            outputs.centerness_logits,
            outputs.box_distances,
            (
                # Called later, where nothing mixes precisions.
                partial(head.coefficients_in_row, outputs.single())
                if head.config.alignment == "box_grid"
                else head.coefficient_maps(outputs)
            ),
            outputs.basis_masks,
            embeddings,
            reference_embeddings,
            head.mask_scoring if head.config.rescoring else None,
        )
