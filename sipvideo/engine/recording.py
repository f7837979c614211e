"""Steps recorded as CUDA graphs: in the background, for what comes often, a few at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from sipvideo.engine.tensors.step import Found, FrameStep

TIMES = 3
"""A kind of batch is recorded once it has come so often: a folder of pictures of any size records nothing."""
MOST = 12
"""Recordings that are kept; each holds memory of the GPU."""
WARM_UPS = 2
COUNTED = 256
"""Kinds of batches that are counted."""

Key = TypeVar("Key", bound=Hashable)
Recording = TypeVar("Recording")
PoolHandle = Any
"""What PyTorch calls a pool of memory; its type is private."""


class Recordings(Generic[Key, Recording]):
    """What was recorded, by kind of batch. May be used from several threads.

    Args:
        record: makes a recording; runs in a thread of its own, one at a time.
        most: recordings that are kept, those used last.
        failed: told, once per kind, that it could not be recorded; it is not tried again.
    """

    def __init__(
        self,
        record: Callable[[Key], Recording],
        most: int = MOST,
        failed: Callable[[Key, Exception], None] | None = None,
    ) -> None:
        self._record, self._most, self._failed = record, most, failed
        self._kept: OrderedDict[Key, Recording] = OrderedDict()
        self._came: OrderedDict[Key, int] = OrderedDict()
        self._given_up: set[Key] = set()
        self._wanted: list[Key] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def get(self, key: Key) -> Recording | None:
        """The recording of a kind of batch that has just come; None: there is none (yet)."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            self._came[key] = self._came.pop(key, 0) + 1
            if len(self._came) > COUNTED:
                self._came.popitem(last=False)
            often = self._came[key] >= TIMES
        if often:
            self.want(key)
        return None

    def want(self, key: Key) -> None:
        """Has a kind of batch recorded, unless it is or could not be; returns at once."""
        with self._lock:
            if key in self._given_up or key in self._kept or key in self._wanted:
                return
            self._wanted.append(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recording")
                self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being recorded."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def clear(self) -> None:
        """Gives the memory of all recordings back."""
        with self._lock:
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _work(self) -> None:
        """Records what is wanted until nothing is."""
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                key = self._wanted[0]
                while len(self._kept) >= self._most:
                    self._kept.popitem(last=False)
            self._make(key)

    def _make(self, key: Key) -> None:
        recording: Recording | None = None
        failure: Exception | None = None
        try:
            recording = self._record(key)
        except Exception as error:  # whatever a driver may say: there is always the way without
            failure = error
        with self._lock:
            self._wanted.remove(key)
            self._came.pop(key, None)
            if recording is None:
                self._given_up.add(key)
            else:
                self._kept[key] = recording
        if failure is not None and self._failed is not None:
            self._failed(key, failure)


class Execution(Protocol):
    """One way to run a step for batches of some size."""

    def __call__(self, frames: Tensor) -> Found:
        """Frames uint8 [B, H, W, 3] on the host to what is found; valid until the next call."""

    def bits(self, start: int) -> Tensor:
        """Bytes of the masks of the last call from byte ``start`` on, uint8 [B', n], B' >= B."""


class Eager:
    """Runs a step as it is written.

    Args:
        step: for frames of one size.
        device: where it runs.
    """

    def __init__(self, step: FrameStep, device: torch.device) -> None:
        self.step, self.device = step, device
        self._found: Found | None = None

    def __call__(self, frames: Tensor) -> Found:
        """As :class:`Execution` says."""
        self._found = self.step(frames.to(self.device, non_blocking=True))
        return self._found

    def bits(self, start: int) -> Tensor:
        """As :class:`Execution` says."""
        assert self._found is not None, "bits of nothing"
        begin = torch.full((1,), start, dtype=torch.int64, device=self.device)
        return self.step.bits(self._found, begin)


class Graph:
    """A step recorded as two CUDA graphs: the step itself, and further bytes of its masks.

    Recording runs nothing but the warm-up, in a stream of its own, so that other threads may go on meanwhile.

    Args:
        step: for frames of one size.
        batch: frames of a call; fewer are padded with what was there before.
        device: where it runs.
        pool: memory that recordings of one network share: what they leave is read before another one runs.
    """

    def __init__(self, step: FrameStep, batch: int, device: torch.device, pool: PoolHandle) -> None:
        # A stream per recording: libraries keep workspaces by stream, and recordings refer to them.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.cuda.device(device), torch.cuda.stream(stream):
            size = step.geometry.frame_size
            self.frames = torch.zeros((batch, *size, 3), dtype=torch.uint8, device=device)
            self.start = torch.zeros(1, dtype=torch.int64, device=device)
            for _ in range(WARM_UPS):  # libraries set themselves up outside the recording
                step.bits(step(self.frames), self.start)
            stream.synchronize()
            self._step, self._bits = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            record = partial(
                torch.cuda.graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            )
            with record(self._step):
                self.found = step(self.frames)
            with record(self._bits):
                self.further = step.bits(self.found, self.start)

    def __call__(self, frames: Tensor) -> Found:
        """As :class:`Execution` says."""
        self.frames[: len(frames)].copy_(frames, non_blocking=True)
        self._step.replay()
        return self.found

    def bits(self, start: int) -> Tensor:
        """As :class:`Execution` says."""
        self.start.fill_(start)
        self._bits.replay()
        return self.further
