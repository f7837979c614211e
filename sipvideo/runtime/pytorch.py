"""The network in PyTorch: eager or compiled, single or half precision, on CPUs and CUDA."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from sipvideo.config import Config
from sipvideo.errors import ConfigError
from sipvideo.model.head import HeadOutputs
from sipvideo.model.sipmask import SipMask
from sipvideo.postprocess.objects import ObjectHead, weight_shapes
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.structures import FloatArray

PRECISIONS = {"torch-bf16": torch.bfloat16, "torch-fp16": torch.float16}
NAMES = ("torch", *PRECISIONS, "torch-compile")
SIZES = 32
"""Input shapes whose graphs are kept: each holds memory of the GPU, and a folder of pictures may have any number."""


def available() -> list[str]:
    """Those of ``NAMES`` that can run here."""
    missing = set() if torch.cuda.is_available() else {"torch-fp16"}
    if not compiler():
        missing.add("torch-compile")
    return [name for name in NAMES if name not in missing]


def object_head(model: SipMask, config: Config) -> ObjectHead:
    """A network's per-object weights for the post-processing; to be taken before any change of precision."""
    state = model.head.state_dict()
    weights = {name: state[name].float().cpu().numpy() for name in weight_shapes(config)}
    return ObjectHead(config, weights)


def choose_device(name: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU.

    Raises:
        ConfigError: unknown or absent device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {name}: not available here") from error
    return device


class TorchRuntime(Runtime):
    """Runs a network in PyTorch. May be called from several threads at once.

    On CUDA the kernels of a step are recorded once per input shape (the last ``SIZES`` are kept) as a graph and
    replayed, and all outputs come to the host in one go, through pinned memory, with one synchronisation.

    Args:
        model: the network, weights loaded; rearranged for inference in place (:meth:`SipMask.for_inference`).
        device: where it runs.
        name: one of ``NAMES``.

    Raises:
        ConfigError: a device other than the CPU and CUDA; half precision ("torch-fp16") without CUDA; compilation
            without a C++ compiler.
    """

    def __init__(self, model: SipMask, device: torch.device, name: str = "torch") -> None:
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"--device {device}: networks run on cpu or cuda")
        if name == "torch-fp16" and device.type != "cuda":
            raise ConfigError("--runtime torch-fp16: needs CUDA; on CPUs take torch-bf16 or torch")
        if name == "torch-compile" and device.type == "cpu" and not compiler():
            raise ConfigError(
                "--runtime torch-compile: needs a C++ compiler, and none is found "
                "(on Debian and Ubuntu: apt install g++)"
            )
        self.name, self.device, self._where = name, str(device), device
        self.dtype = PRECISIONS.get(name, torch.float32)
        self.model = model.for_inference().to(device).in_precision(self.dtype)
        self._network: Any = self.model
        self._lock = threading.Lock()
        self._graphs: dict[torch.Size, _Graph] = {}
        if name == "torch-compile":
            self._network = _compiled(self.model)

    @property
    def about(self) -> str:
        """For people: engine, version, precision, where."""
        precision = str(self.dtype).removeprefix("torch.")
        where = self.device
        if where == "cpu":
            where += f", {torch.get_num_threads()} threads"
        return f"PyTorch {torch.__version__}, {precision}, {where}"

    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs."""
        tensor = torch.from_numpy(images)
        with torch.inference_mode():
            if self._where.type == "cuda":
                return self._on_cuda(tensor)
            outputs: HeadOutputs = self._run(tensor.to(self.dtype))
            return as_arrays(outputs.single())

    def _run(self, images: Tensor) -> HeadOutputs:
        images = images.contiguous(memory_format=torch.channels_last)
        if self.name != "torch-compile":
            result: HeadOutputs = self._network(images)
            return result
        # The first call with each size compiles, which is not for two threads at once.
        with self._lock:
            result = self._network(images)
        return result

    def _on_cuda(self, images: Tensor) -> DenseOutputs:
        """One transfer in, one graph, one transfer out; the lock keeps the graph's memory to one caller."""
        with self._lock, torch.cuda.device(self._where):
            pinned = torch.empty_like(images, pin_memory=True).copy_(images)
            if self.name == "torch-compile":
                moved = pinned.to(self._where, self.dtype, non_blocking=True)
                outputs: HeadOutputs = self._network(moved)
            else:
                if images.shape not in self._graphs:
                    if len(self._graphs) == SIZES:
                        del self._graphs[next(iter(self._graphs))]
                    self._graphs[images.shape] = _Graph(self.model, pinned, self._where, self.dtype)
                outputs = self._graphs[images.shape](pinned)
            host = _each(outputs.single(), _pinned_copy)
            torch.cuda.current_stream().synchronize()
        return as_arrays(host)


class _Graph:
    """The recorded kernels of one input size."""

    def __init__(
        self, model: SipMask, images: Tensor, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.images = images.to(device, dtype, memory_format=torch.channels_last)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # libraries set themselves up outside the recording
            for _ in range(3):
                model(self.images)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs: HeadOutputs = model(self.images)

    def __call__(self, images: Tensor) -> HeadOutputs:
        self.images.copy_(images, non_blocking=True)
        self.graph.replay()
        return self.outputs


def compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would use, if there is one."""
    return next(
        (c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c)), None
    )


def _compiled(model: SipMask) -> Any:
    """The network compiled with its weights as constants."""
    return torch.compile(model, dynamic=False, options={"freezing": True})


def _each(outputs: HeadOutputs, change: Any) -> HeadOutputs:
    def changed(value: Tensor | list[Tensor]) -> Any:
        return change(value) if isinstance(value, Tensor) else [change(one) for one in value]

    return HeadOutputs(**{f.name: changed(getattr(outputs, f.name)) for f in fields(outputs)})


def _pinned_copy(tensor: Tensor) -> Tensor:
    host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    return host.copy_(tensor, non_blocking=True)


def as_arrays(outputs: HeadOutputs) -> DenseOutputs:
    """The same memory as numpy arrays."""
    arrays = _each(outputs, Tensor.numpy)
    return DenseOutputs(**{f.name: getattr(arrays, f.name) for f in fields(DenseOutputs)})
