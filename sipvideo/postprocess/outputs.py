"""What runs the dense network, and what it hands over: the raw outputs as numpy arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sipvideo.structures import FloatArray


@dataclass(frozen=True, eq=False)
class DenseOutputs:
    """Raw outputs for a batch of B inputs, float32; lists are per level, finest first.

    Any strides will do; memory with the channels last is read most quickly.

    Attributes:
        class_logits: [B, C, h, w].
        centerness_logits: [B, 1, h, w], or an empty list for models without centerness.
        box_distances: [B, 4, h, w], left, top, right, bottom from the cell's point, model-input pixels.
        coefficient_features: [B, channels, h, w], what the coefficients are read from; there may be fewer levels than
            of the others: coarser cells read the last one.
        basis_masks: [B, bases, H / s, W / s], s = 8 / ``basis_upsample``.
        embedding_features: [B, channels, h, w] at strides 8, 16, 32; empty without tracking branch.
    """

    class_logits: list[FloatArray]
    centerness_logits: list[FloatArray]
    box_distances: list[FloatArray]
    coefficient_features: list[FloatArray]
    basis_masks: FloatArray
    embedding_features: list[FloatArray]


class Runtime(ABC):
    """Runs one dense network. May be called from several threads at once.

    Attributes:
        name: as ``--runtime`` says it.
        device: "cpu", "cuda:0", ...
        fixed: the only input shape (B, 3, H, W) that it takes; None: all.
        callers: threads that call at once with profit.
    """

    name: str
    device: str = "cpu"
    fixed: tuple[int, ...] | None = None
    callers: int = 1

    @property
    @abstractmethod
    def about(self) -> str:
        """For people: engine, version, precision, threads."""

    @abstractmethod
    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs."""

    def shared(self, callers: int) -> Runtime:
        """The same network set up for several threads that call at once, where that makes a difference."""
        return self
