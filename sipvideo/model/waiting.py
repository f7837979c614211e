"""What keeps a host from waiting for a card in the middle of a training step.

A card works through what it was given while the host prepares more. Whatever asks for a value (a number, how many rows
fulfil a condition) stops the host until everything before is done, and then leaves the card idle.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_host(tensor: Tensor) -> bool:
    """Whether values of a tensor may be looked at for nothing."""
    return tensor.device.type == "cpu"


def sent(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor of the host on the device of another one, without waiting until it is there."""
    if is_host(like):
        return tensor
    # Only from pinned memory a card copies on its own. (Made-up devices of tests have none.)
    pinned = tensor.pin_memory() if torch.cuda.is_available() else tensor
    return pinned.to(like.device, non_blocking=True)


def rows_that_count(keep: Tensor) -> Tensor | None:
    """Where bool [N] is set, int64 [K]; None on a card, where all rows stay and must be weighed by ``keep``."""
    return keep.nonzero().squeeze(1) if is_host(keep) else None
