"""The dense network in ONNX Runtime: on CPUs, or on whatever GPU its installed build knows."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.extras import absence
from sipvideo.machine import usable_cores
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.runtime.layout import INPUT, gathered, in_singles, problem
from sipvideo.structures import FloatArray

NAMES = ("onnxruntime",)
_GPU = ("TensorrtExecutionProvider", "CUDAExecutionProvider")


def available() -> bool:
    """Whether the package is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def require() -> None:
    """Raises ConfigError, with the install command, where the package is missing."""
    if not available():
        raise ConfigError(absence(NAMES[0]))


class ONNXRuntime(Runtime):
    """Runs a network in ONNX Runtime. May be called from several threads at once.

    Args:
        network: ONNX content, or an ``.onnx`` file; sizes may be free or fixed.
        device: "cpu", "cuda", "cuda:1", ... or "auto": TensorRT or CUDA where the installed build has them.
        threads: of the engine; by default one per core.
        callers: threads that will call at once; more than 1 divides the engine's threads among them.

    Raises:
        ConfigError: ONNX Runtime is not installed, or has no such device.
        CheckpointError: the network cannot be read, or is none of ours.
    """

    name = NAMES[0]

    def __init__(
        self,
        network: bytes | str | Path,
        device: str = "cpu",
        threads: int | None = None,
        callers: int = 1,
    ) -> None:
        require()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = (
            4  # what goes wrong is raised, what it warns of is its own choice of kernels
        )
        if callers > 1 and not threads:
            threads = max(1, usable_cores() // callers)
        if threads:
            options.intra_op_num_threads = threads
        # Threads that spin while they wait for work take the cores from decoding, drawing and encoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        where = self._where = "network" if isinstance(network, bytes) else str(network)
        content = network if isinstance(network, bytes) else str(network)
        providers = _providers(device)
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=providers)
        except Exception as error:  # its errors have no other common base
            reason = str(error).strip().splitlines()[-1]
            raise CheckpointError(f"{where}: ONNX Runtime cannot read it: {reason}") from error
        self.names = [output.name for output in self._session.get_outputs()]
        fault = problem(self.names)
        if fault:
            raise CheckpointError(f"{where}: not the dense network of a sipvideo model: {fault}")
        shape = self._session.get_inputs()[0].shape
        free = any(not isinstance(n, int) for n in shape)
        self.fixed = None if free else tuple(shape)
        self.device = _device(self._session.get_providers()[0])
        self._network, self._threads, self.callers = network, threads, callers

    @property
    def about(self) -> str:
        """For people: engine, version, where, threads."""
        import onnxruntime

        provider = self._session.get_providers()[0].removesuffix("ExecutionProvider")
        threads = f"{self._threads} threads" if self._threads else "as many threads as cores"
        return f"ONNX Runtime {onnxruntime.__version__}, {provider}, {threads}"

    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs.

        Raises:
            ConfigError: the network has a fixed size, and it is another one.
            CheckpointError: the network is damaged.
        """
        if self.fixed is not None and images.shape != self.fixed:
            return in_singles(self, images, self.fixed)
        try:
            outputs = self._session.run(None, {INPUT: np.ascontiguousarray(images)})
        except Exception as error:  # its errors have no other common base
            reason = str(error).strip().splitlines()[-1]
            raise CheckpointError(f"{self._where}: ONNX Runtime cannot run it: {reason}") from error
        return gathered(dict(zip(self.names, outputs, strict=True)))

    def shared(self, callers: int) -> ONNXRuntime:
        """The same network set up for several threads that call at once."""
        if self.device != "cpu":
            return self
        return ONNXRuntime(self._network, "cpu", callers=callers)


def _providers(device: str) -> list[Any]:
    """The engine's parts to use, best first.

    Raises:
        ConfigError: there is no such device here.
    """
    import onnxruntime

    kind, _, index = device.partition(":")
    present = [name for name in _GPU if name in onnxruntime.get_available_providers()]
    if kind not in ("auto", "cpu", "cuda") or (kind == "cuda" and not present):
        raise ConfigError(
            f"--device {device}: not available here with ONNX Runtime; it has "
            f"{', '.join(onnxruntime.get_available_providers())}"
        )
    chosen = [] if kind == "cpu" else present
    return [*((name, {"device_id": index or "0"}) for name in chosen), "CPUExecutionProvider"]


def _device(provider: str) -> str:
    """Where the first choice of the providers computes."""
    return "cpu" if provider == "CPUExecutionProvider" else "cuda"
