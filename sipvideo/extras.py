"""Packages that the base installation does without, and the one line that says how each is had."""

from __future__ import annotations

PACKAGES = {
    "torch": ("PyTorch", "sipvideo[torch]"),
    "torchvision": ("torchvision", "sipvideo[torch]"),
    "tensorboard": ("TensorBoard", "sipvideo[train]"),
    "openvino": ("OpenVINO", "sipvideo[openvino]"),
    "onnxruntime": ("ONNX Runtime", "onnxruntime"),
    "onnx": ("onnx", "sipvideo[export]"),
    "onnxscript": ("onnxscript", "sipvideo[export]"),
    "nncf": ("nncf", "sipvideo[export]"),
    "cv2": ("OpenCV", "sipvideo[window]' or, where there is no screen, 'sipvideo[headless]"),
    "pyarrow": ("pyarrow", "sipvideo[parquet]"),
    "paho": ("paho-mqtt", "sipvideo[events]"),
    "panda3d": ("panda3d", "sipvideo[synth]"),
    "optuna": ("optuna", "sipvideo[tune]"),
    "ray": ("Ray", "sipvideo[ray]"),
    "supervision": ("supervision", "supervision"),
}
"""Module -> its name for people, and what pip is to install."""


def absence(package: str) -> str:
    """The line for people about a package of :data:`PACKAGES` that is not installed.

    >>> absence("torch")
    "PyTorch is not installed: pip install 'sipvideo[torch]'"
    """
    name, wanted = PACKAGES[package]
    return f"{name} is not installed: pip install '{wanted}'"


def absent(error: BaseException) -> str | None:
    """The same line, where this error is about such a package; None for every other error."""
    if not isinstance(error, ModuleNotFoundError):
        return None
    package = (error.name or "").partition(".")[0]
    return absence(package) if package in PACKAGES else None
