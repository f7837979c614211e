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

__all__ = ["NAMES", "Runtime", "available", "check_name", "make_runtime"]

NAMES = ("torch", "torch-bf16", "torch-fp16", "torch-compile")


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
    return found


def make_runtime(name: str, network: SipMask | Path, config: Config, device: str) -> Runtime:
    """The runtime of that name, ready to run a network.

    Args:
        name: one of ``NAMES``, or "auto": the fastest one that is installed.
        network: a network with its weights, which is rearranged for inference; or the folder of an exported one.
        config: the network's configuration.
        device: "cpu", "cuda", ... or "auto".

    Raises:
        ConfigError: unknown name; a runtime that is not installed or cannot run here.
    """
    check_name(name)
    if isinstance(network, Path):
        raise ConfigError(f"{network}: no runtime for exported models is installed")
    from sipvideo.runtime import pytorch

    chosen = "torch" if name == "auto" else name
    return pytorch.TorchRuntime(network, pytorch.choose_device(device), chosen)
