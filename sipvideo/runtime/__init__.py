"""Engines that run the dense network, behind one small interface; one file per engine."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from sipvideo.errors import ConfigError
from sipvideo.postprocess.outputs import Runtime

if TYPE_CHECKING:
    from sipvideo.config import Config
    from sipvideo.model.sipmask import SipMask

__all__ = [
    "EXPORT_NAMES",
    "NAMES",
    "TORCH_NAMES",
    "Runtime",
    "available",
    "check_name",
    "make_runtime",
]

TORCH_NAMES = ("torch", "torch-bf16", "torch-fp16", "torch-tf32", "torch-compile")
OPENVINO_NAMES = ("openvino", "openvino-bf16", "openvino-int8")
EXPORT_NAMES = (*OPENVINO_NAMES, "onnxruntime")
"""Engines that run exported networks."""
NAMES = (*TORCH_NAMES, *EXPORT_NAMES)


def check_name(name: str) -> None:
    """Raises ConfigError, with the names that there are, if there is no runtime of that name."""
    if name not in ("auto", *NAMES):
        raise ConfigError(f"--runtime {name}: unknown; known: {', '.join(('auto', *NAMES))}")


def available() -> list[str]:
    """Names of the runtimes whose packages are installed, "auto" first."""
    found = ["auto"]
    if importlib.util.find_spec("torch"):
        from sipvideo.runtime import pytorch

        found += pytorch.available()
    if importlib.util.find_spec("openvino"):
        found += OPENVINO_NAMES
    if importlib.util.find_spec("onnxruntime"):
        found.append("onnxruntime")
    return found


def make_runtime(name: str, network: SipMask | Path, config: Config, device: str) -> Runtime:
    """The runtime of that name, ready to run a network.

    Args:
        name: one of ``NAMES``, or "auto": PyTorch on CUDA; on CPUs the fastest one that is ready for this network.
            On CUDA, PyTorch has an engine of its own, that needs no runtime: :mod:`sipvideo.engine.cuda`.
        network: a network with its weights, which is rearranged for inference; or the folder of an exported one.
        config: the network's configuration.
        device: "cpu", "cuda", ... or "auto".

    Raises:
        ConfigError: unknown name; a runtime that is not installed or cannot run here.
    """
    check_name(name)
    if isinstance(network, Path):
        from sipvideo.runtime import bundle

        return bundle.open_network(network, name, device)
    if name not in ("auto", *TORCH_NAMES):
        return _converted(name, network, config, device)
    from sipvideo.runtime import pytorch

    where = pytorch.choose_device(device)
    if name == "auto":
        name = "torch" if where.type == "cuda" else _fastest(network, config)
        if name not in TORCH_NAMES:
            return _converted(name, network, config, device)
    return pytorch.TorchRuntime(network, where, name)


def _fastest(network: SipMask, config: Config) -> str:
    """Name of the fastest runtime on CPUs that can start at once.

    A conversion takes up to a minute, so nobody gets one unasked: engines other than PyTorch take part once
    ``--runtime openvino`` or ``--runtime onnxruntime`` has converted this network.
    """
    from sipvideo.runtime import graph

    installed = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]
    return installed[0] if installed and graph.known_graph(network, config) else "torch"


def _converted(name: str, network: SipMask, config: Config, device: str) -> Runtime:
    """An engine that reads ONNX, given a network of PyTorch."""
    from sipvideo.runtime import bundle, graph, onnxruntime, openvino

    if name == openvino.INT8:
        raise ConfigError(bundle.ABSENT_INT8)
    if name not in OPENVINO_NAMES:
        onnxruntime.require()
        return onnxruntime.ONNXRuntime(graph.cached_onnx_graph(network, config), device)
    openvino.require()
    openvino.check_device(device)
    content = graph.cached_onnx_graph(network, config)
    return openvino.OpenVINORuntime(openvino.read_network(content), name)
