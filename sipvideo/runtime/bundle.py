"""The folder of an exported model, as far as the network goes: which engine reads it. Needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.postprocess.outputs import Runtime
from sipvideo.runtime import onnxruntime, openvino

FILES = {"openvino": "network.xml", "onnx": "network.onnx"}
"""Format, as ``sipvideo export --format`` says it, and its file."""
QUANTISED = "int8.xml"
"""The network in int8 that lies beside the default model's."""
ABSENT_INT8 = (
    f"--runtime {openvino.INT8}: only for the default model; sipvideo export --precision int8 makes the network of"
    " another one, which --runtime openvino runs"
)


def open_network(folder: Path, name: str = "auto", device: str = "auto") -> Runtime:
    """The runtime that runs an exported network.

    Args:
        folder: as ``sipvideo export`` writes it.
        name: of the runtime; "auto": the one of the folder's format that is installed. OpenVINO reads both formats.
        device: "cpu", "auto", or for ONNX Runtime also "cuda", ...

    Raises:
        CheckpointError: the folder has no network, or it cannot be read.
        ConfigError: the engine is not installed, does not read this format, or does not run on the device.
    """
    present = [kind for kind, file in FILES.items() if (folder / file).is_file()]
    if not present:
        raise CheckpointError(
            f"{folder}: no exported network in it (expected {' or '.join(FILES.values())})"
        )
    if name == "auto":
        foreign = "openvino" in present or not onnxruntime.available()
        name = "openvino" if foreign else "onnxruntime"
    if name in openvino.NAMES:
        openvino.check_device(device)
        quantised = name == openvino.INT8
        if quantised and not (folder / QUANTISED).is_file():
            raise ConfigError(ABSENT_INT8)
        file = QUANTISED if quantised else FILES[present[0]]
        network = openvino.read_network(folder / file)
        return openvino.OpenVINORuntime(network, name)
    if name in onnxruntime.NAMES and "onnx" in present:
        return onnxruntime.ONNXRuntime(folder / FILES["onnx"], device)
    wanted = " or ".join(openvino.NAMES if present == ["openvino"] else ("onnxruntime", "openvino"))
    raise ConfigError(f"--runtime {name}: cannot run the network of {folder}; take {wanted}")
