"""Which precisions a GPU may run in: one table, set by what ``make gpu-report`` measures on a card."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sipvideo.errors import ConfigError

LEAST_SAME_IDS = 0.98
"""A precision holds if so many frames have the same identities as in single precision, ..."""
LEAST_MASK_IOU = 0.98
"""... and the masks of the same object overlap by so much in the mean."""


@dataclass(frozen=True)
class Precision:
    """How a runtime computes on CUDA.

    Attributes:
        dtype: of the network.
        tf32: products of float32 numbers are rounded to ten bits first.
        holds: whether results agree with single precision (``LEAST_SAME_IDS``, ``LEAST_MASK_IOU``), as measured on a
            card with this code; None: not measured. What does not hold is refused; what was not measured is never
            chosen unasked.
    """

    dtype: torch.dtype
    tf32: bool = False
    holds: bool | None = None


PRECISIONS = {
    "torch-fp16": Precision(torch.float16),
    "torch-tf32": Precision(torch.float32, tf32=True),
    "torch-bf16": Precision(torch.bfloat16, holds=False),
    "torch": Precision(torch.float32, holds=True),
}
"""By runtime's name, the fastest first."""


def choose(name: str) -> str:
    """The runtime of that name for CUDA; "auto" is the fastest whose results are known to hold.

    Raises:
        ConfigError: results in that precision are known not to hold.
    """
    if name == "auto":
        return next(known for known, one in PRECISIONS.items() if one.holds)
    if PRECISIONS[name].holds is False:
        raise ConfigError(
            f"--runtime {name}: on CUDA it loses too many identities; take torch-fp16 or torch"
        )
    return name


def apply(precision: Precision) -> None:
    """Sets what products of float32 numbers are rounded to, for all of PyTorch."""
    torch.backends.cuda.matmul.allow_tf32 = precision.tf32
    torch.backends.cudnn.allow_tf32 = precision.tf32
