"""Batches made ahead of time: by threads, or by processes where one thread could not feed a GPU.

Who makes a batch does not change it: it depends on the stream's seed and its number alone.
"""

from __future__ import annotations

import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2

from sipvideo.data.batch import Batch, PackedBatch
from sipvideo.errors import SipVideoError

if TYPE_CHECKING:
    import torch

    from sipvideo.data.stream import ClipStream

MOST_PROCESSES = 16


def processes_for(device: torch.device, sharers: int = 1) -> int:
    """How many processes should make batches for a device, 0: a thread is enough.

    Args:
        device: where the network is.
        sharers: how many trainings share this machine's cores.
    """
    if device.type != "cuda":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(MOST_PROCESSES, (cores or 1) // sharers - 1))


def ahead_by_threads(
    make: Callable[[int], Batch | PackedBatch], numbers: Iterable[int], workers: int
) -> Generator[Batch | PackedBatch, None, None]:
    """Batches of these numbers in order, made ahead by threads.

    Closing the generator ends the threads.

    Raises:
        SipVideoError: a batch cannot be made; the batches before it came first.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="batches")
    coming: deque[tuple[int, Future[Batch | PackedBatch]]] = deque()
    left = iter(numbers)
    try:
        while True:
            for number in left:
                coming.append((number, pool.submit(make, number)))
                if len(coming) > workers:
                    break
            if not coming:
                return
            number, batch = coming.popleft()
            try:
                made = batch.result()
            except Exception as error:
                raise _cannot_be_made(number, error) from error
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def ahead_by_processes(
    stream: ClipStream, numbers: range, share: tuple[int, int], workers: int
) -> Generator[PackedBatch, None, None]:
    """Batches of these numbers in order, made ahead by processes.

    They are started anew (spawned), so the stream's sources must be picklable, and a program that trains needs the
    usual ``if __name__ == "__main__"``. Closing the generator ends them.

    Args:
        stream: what the batches are of.
        numbers: of the batches.
        share: rank and number of ranks, see :meth:`ClipStream.packed`.
        workers: how many processes.

    Raises:
        SipVideoError: a batch cannot be made (the batches before it came first), or a process died.
    """
    import torch
    from torch.utils.data import DataLoader

    with warnings.catch_warnings():
        # More of them than there are cores is the choice of whoever asked for them.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        steps: Any = _Steps(stream, share)
        loader: DataLoader[Any] = DataLoader(
            steps,
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            multiprocessing_context="spawn",
            worker_init_fn=_begin,
            # Its own random numbers decide nothing; torch's are left alone.
            generator=torch.Generator(),
        )
        made: Iterator[PackedBatch | SipVideoError] = iter(loader)
    for number in numbers:
        try:
            batch = next(made)
        except RuntimeError as error:
            raise _cannot_be_made(number, error) from error
        if isinstance(batch, SipVideoError):
            raise batch
        yield batch


class _Steps:
    """Number to batch, or to what is wrong with it: an error keeps its one line."""

    def __init__(self, stream: ClipStream, share: tuple[int, int]) -> None:
        self._stream, self._share = stream, share

    def __len__(self) -> int:
        return len(self._stream)

    def __getitem__(self, number: int) -> PackedBatch | SipVideoError:
        try:
            return self._stream.packed(number, *self._share)
        except Exception as error:
            return _cannot_be_made(number, error)


def _cannot_be_made(number: int, error: Exception) -> SipVideoError:
    if isinstance(error, SipVideoError):
        return error
    what = (str(error).splitlines() or [""])[0]
    return SipVideoError(
        f"training: the batch of step {number} cannot be made: {type(error).__name__}: {what}"
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin(worker: int) -> None:
    """Every process has a core; Ctrl-C is for the one that trains."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
