"""The dense network as an ONNX graph: the form that every engine but PyTorch reads."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import warnings
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sipvideo import __version__
from sipvideo.config import Config
from sipvideo.errors import ConfigError
from sipvideo.extras import absence
from sipvideo.model.sipmask import SipMask
from sipvideo.runtime.cache import Cache
from sipvideo.runtime.layout import INPUT, MULTIPLE, flat

OPSET = 19
"""The first one with deformable convolution."""
REVISION = 3
"""To be raised with every change of this file, of the layout or of a model's forward pass that changes the graph."""
LARGEST = 4096 // MULTIPLE


class _Flat(nn.Module):
    """The network with its outputs as a flat tuple."""

    def __init__(self, model: SipMask) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(value for _, value in flat(self.model(images)))


def onnx_graph(model: SipMask) -> bytes:
    """The network as a serialised ONNX model, float32, as :meth:`SipMask.simplified` has it, free batch and input size.

    The input is ``images`` float32 [B, 3, H, W]; outputs are named as in :mod:`sipvideo.runtime.layout`.

    Args:
        model: as loaded, not yet rearranged for inference; stays as it is.

    Raises:
        ConfigError: the packages for it are missing.
    """
    _require()
    model = copy.deepcopy(model).simplified()
    example = torch.zeros(2, 3, 6 * MULTIPLE, 8 * MULTIPLE)
    with torch.inference_mode():
        names = [name for name, _ in flat(model(example))]
    height, width = (torch.export.Dim(n, min=1, max=LARGEST) for n in ("height", "width"))
    sizes = {0: torch.export.Dim("batch", min=1, max=256), 2: 32 * height, 3: 32 * width}
    # With gradients on, deformable convolution takes its library form, which ONNX knows as one operation.
    with torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            _Flat(model).eval(),
            (example,),
            input_names=[INPUT],
            output_names=names,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            dynamic_shapes=(sizes,),
        )
    proto = program.model_proto
    _name_sizes(proto)
    _cut_weights(proto.graph)
    content: bytes = proto.SerializeToString()
    return content


def _require() -> None:
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise ConfigError(f"converting a network: {absence(package)}")


def _name_sizes(proto: Any) -> None:
    """Short names for the free sizes, and no trace of where the graph was made."""
    for dimension, name in zip(
        proto.graph.input[0].type.tensor_type.shape.dim,
        ("batch", "", "height", "width"),
        strict=True,
    ):
        if name:
            dimension.dim_param = name
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        del value.metadata_props[:]


def _cut_weights(graph: Any) -> None:
    """Weights that the network cuts into parts become parts: quantisation knows weights only as constants."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Split" and n.input[0] in stored]:
        whole = numpy_helper.to_array(stored[node.input[0]])
        (axis,) = (one.i for one in node.attribute if one.name == "axis")
        parts = np.split(whole, len(node.output), axis)
        for name, part in zip(node.output, parts, strict=True):
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(part), name))
        graph.node.remove(node)
        if not any(node.input[0] in other.input for other in graph.node):
            graph.initializer.remove(stored[node.input[0]])


def cached_onnx_graph(model: SipMask, config: Config, cache: Cache | None = None) -> bytes:
    """As :func:`onnx_graph`, but kept in the user's cache: the conversion takes seconds."""
    _require()  # the key has a version of theirs
    cache = cache or Cache()
    key = _key(model, config)
    content = cache.get(key)
    if content is None:
        content = onnx_graph(model)
        cache.put(key, content)
    return content


def known_graph(model: SipMask, config: Config) -> bytes | None:
    """The graph of a network that was converted before, from the user's cache; None without one."""
    return Cache().get(_key(model, config)) if importlib.util.find_spec("onnxscript") else None


def _key(model: SipMask, config: Config) -> str:
    """Names everything that the graph depends on."""
    digest = hashlib.sha256()
    parts = [config.backbone, config.neck, config.head]
    versions = [metadata.version("onnxscript"), torch.__version__, __version__]
    about = [REVISION, OPSET, *versions, *(part.model_dump_json() for part in parts)]
    digest.update(repr(about).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
