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
from sipvideo.forks import claim_threads
from sipvideo.model.head import HeadOutputs
from sipvideo.model.sipmask import SipMask
from sipvideo.postprocess.objects import ObjectHead, weight_shapes
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.structures import FloatArray

PRECISIONS = {"torch-bf16": torch.bfloat16, "torch-fp16": torch.float16}
NAMES = ("torch", *PRECISIONS, "torch-tf32", "torch-compile")
ONLY_CUDA = ("torch-fp16", "torch-tf32")


def available() -> list[str]:
    """Those of ``NAMES`` that can run here."""
    missing = set() if torch.cuda.is_available() else set(ONLY_CUDA)
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

    On CUDA this is for who wants raw outputs (and for ``torch-compile``); from frames to objects
    :class:`sipvideo.engine.cuda.CudaEngine` is the fast way.

    Args:
        model: the network, weights loaded; rearranged for inference in place (:meth:`SipMask.for_inference`).
        device: where it runs.
        name: one of ``NAMES``.

    Raises:
        ConfigError: a device other than the CPU and CUDA; "torch-fp16" or "torch-tf32" without CUDA; compilation
            without a C++ compiler.
    """

    def __init__(self, model: SipMask, device: torch.device, name: str = "torch") -> None:
        if device.type not in ("cpu", "cuda"):
            raise ConfigError(f"--device {device}: networks run on cpu or cuda")
        if name in ONLY_CUDA and device.type != "cuda":
            raise ConfigError(f"--runtime {name}: needs CUDA; on CPUs take torch-bf16 or torch")
        if device.type == "cuda":  # single precision means single precision
            torch.backends.cudnn.allow_tf32 = name == "torch-tf32"
            torch.backends.cuda.matmul.allow_tf32 = name == "torch-tf32"
        if name == "torch-compile" and device.type == "cpu" and not compiler():
            raise ConfigError(
                "--runtime torch-compile: needs a C++ compiler, and none is found "
                "(on Debian and Ubuntu: apt install g++)"
            )
        self.name, self.device, self._where = name, str(device), device
        self._claim_threads()
        self.dtype = PRECISIONS.get(name, torch.float32)
        self.model = model.for_inference().to(device).in_precision(self.dtype)
        self._network: Any = self.model
        self._lock = threading.Lock()
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
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs.

        Raises:
            SipVideoError: in a fork of the process in which PyTorch was used, where it would wait for ever.
        """
        self._claim_threads()
        with torch.inference_mode():
            tensor = torch.from_numpy(images).to(self._where, self.dtype)
            outputs: HeadOutputs = self._run(tensor)
            return as_arrays(_each(outputs.single(), Tensor.cpu))

    def _claim_threads(self) -> None:
        if torch.get_num_threads() > 1 or self._where.type != "cpu":
            claim_threads("PyTorch", ", or call torch.set_num_threads(1) after the fork")

    def _run(self, images: Tensor) -> HeadOutputs:
        images = images.contiguous(memory_format=torch.channels_last)
        if self.name != "torch-compile":
            result: HeadOutputs = self._network(images)
            return result
        # The first call with each size compiles, which is not for two threads at once.
        with self._lock:
            result = self._network(images)
        return result


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


def as_arrays(outputs: HeadOutputs) -> DenseOutputs:
    """The same memory as numpy arrays."""
    arrays = _each(outputs, Tensor.numpy)
    return DenseOutputs(**{f.name: getattr(arrays, f.name) for f in fields(DenseOutputs)})
