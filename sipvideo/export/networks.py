"""Network files of the formats and precisions that are exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.errors import SinkError
from sipvideo.runtime.bundle import FILES
from sipvideo.runtime.openvino import read_network

FORMATS = tuple(FILES)
PRECISIONS = ("fp32", "fp16", "int8")
LEAST_HALVED = 256
"""Numbers; smaller tensors are not worth a node of their own."""


def open_graph(content: bytes, form: str, size: tuple[int, int] | None) -> Any:
    """The network in memory, as its format has it.

    Args:
        content: ONNX, free sizes.
        form: one of ``FORMATS``.
        size: (height, width) and a batch of one, fixed; None: they stay free.
    """
    if form == "openvino":
        network = read_network(content)
        if size is not None:
            network.reshape([1, 3, *size])
        return network
    import onnx

    proto = onnx.load_from_string(content)
    if size is not None:
        for dimension, length in zip(
            proto.graph.input[0].type.tensor_type.shape.dim, (1, 3, *size), strict=True
        ):
            dimension.dim_value = length
        # The rest follows from the input; what was reckoned for free sizes would contradict.
        del proto.graph.value_info[:]
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        proto = onnx.shape_inference.infer_shapes(proto)
    return proto


def write_network(network: Any, form: str, precision: str, folder: Path) -> Path:
    """Saves a network; half precision is that of the stored weights, computed is in single.

    Raises:
        SinkError: it cannot be written.
    """
    path = folder / FILES[form]
    try:
        if form == "openvino":
            import openvino

            openvino.save_model(network, path, compress_to_fp16=precision == "fp16")
        else:
            if precision == "fp16":
                _halve(network.graph)
            path.write_bytes(network.SerializeToString())
    except (OSError, RuntimeError) as error:
        raise SinkError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from error
    return path


def _halve(graph: Any) -> None:
    """Weights stored in half precision, and brought back by a cast that engines do once, when they load."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for index, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST_HALVED:
            continue
        name = tensor.name
        half = numpy_helper.to_array(tensor).astype(np.float16)
        graph.initializer[index].CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *rest])
