"""Training in several processes, one per GPU or machine, as ``torchrun`` starts them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sipvideo.data import Batch
from sipvideo.errors import ConfigError
from sipvideo.model.sipmask import SipMask

Objective = Callable[[SipMask, Batch], dict[str, Tensor]]
"""A model and a batch to named losses, whose sum is minimised."""

PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which alone validates."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: its number, 0..count-1; 0 writes and reports.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def mean(self, values: list[Tensor]) -> list[float]:
        """Scalars, averaged over the processes."""
        stacked = torch.stack([value.detach().float() for value in values])
        if self.count > 1:
            dist.all_reduce(stacked)
            stacked /= self.count
        result: list[float] = stacked.tolist()
        return result

    def shared(self, value: Any) -> Any:
        """What the first process has, in all of them."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]


@contextmanager
def joined(device: torch.device) -> Generator[tuple[Ranks, torch.device], None, None]:
    """Joins the processes that ``torchrun`` started; alone without it.

    Args:
        device: CUDA: each process takes the GPU of its local rank.

    Yields:
        This process' rank, and its device.

    Raises:
        ConfigError: the other processes cannot be reached.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks(), device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise ConfigError(f"torchrun: cannot join the other processes: {reason}") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()


class Losses(nn.Module):
    """Model and objective as one module, so that every use of a parameter lies inside its forward.

    Args:
        model: the network.
        objective: what is minimised.
    """

    def __init__(self, model: SipMask, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch."""
        return self.objective(self.model, batch)


def losses_of(model: SipMask, objective: Objective, ranks: Ranks) -> nn.Module:
    """:class:`Losses`; with several processes, one whose gradients are averaged over them.

    What is frozen must be marked before.
    """
    losses = Losses(model, objective)
    if ranks.count == 1:
        return losses
    # The layout of 1x1 kernels is ambiguous; copying them costs nothing that can be measured.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    # A branch without objects in this process' share has no part in its losses.
    return DistributedDataParallel(losses, find_unused_parameters=True)
