"""Engines that run the dense network, behind one small interface; one file per engine."""

from __future__ import annotations

from typing import Protocol

from sipvideo.postprocess.outputs import DenseOutputs
from sipvideo.structures import FloatArray


class Runtime(Protocol):
    """Runs one dense network. May be called from several threads at once.

    Attributes:
        name: as ``--runtime`` says it.
        about: for people: engine, version, precision, threads.
    """

    name: str
    about: str

    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs."""
