"""In which numbers the network's layers calculate while losses and weights stay in single precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

DTYPES = {"bfloat16": torch.bfloat16, "half": torch.float16}


def layers_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Autocast for "bfloat16" and "half", nothing for "single"."""
    if precision == "single":
        return nullcontext()
    return torch.autocast(device.type, DTYPES[precision])
