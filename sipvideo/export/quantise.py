"""Networks in 8-bit integers: post-training quantisation, calibrated on frames of the user's own video."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import re
import warnings
from collections.abc import Sequence
from typing import Any

from sipvideo.errors import ConfigError
from sipvideo.runtime.layout import INPUT
from sipvideo.structures import FloatArray

KEPT = ("class_logits", "box_distances", "basis_masks")
"""Outputs whose last convolutions stay in single precision: there are few products in them, and what they give is
read as it is."""


def quantised(network: Any, images: Sequence[FloatArray], kept: Sequence[str]) -> Any:
    """A network with 8-bit convolutions.

    Args:
        network: an ``openvino.Model`` or an ``onnx.ModelProto``.
        images: model inputs float32 [1, 3, H, W] of real frames, of the network's size.
        kept: names of nodes that stay in single precision, see :func:`last_convolutions`.

    Raises:
        ConfigError: the package for it is missing.
    """
    if importlib.util.find_spec("nncf") is None:
        raise ConfigError("quantisation needs nncf: pip install 'sipvideo[export]'")
    # Its reports on its use stay off: nothing leaves this machine.
    os.environ.setdefault("NNCF_CI", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nncf

        nncf.set_log_level(logging.ERROR)
        named = not hasattr(network, "get_ops")
        data = nncf.Dataset(list(images), (lambda x: {INPUT: x}) if named else None)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            return nncf.quantize(
                network,
                data,
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(images),
                ignored_scope=nncf.IgnoredScope(
                    patterns=[f"{re.escape(name)}(/.*)?" for name in kept], validate=False
                ),
            )


def last_convolutions(content: bytes, outputs: Sequence[str] = KEPT) -> list[str]:
    """Names of the convolutions that outputs are read from, without others in between.

    Args:
        content: the dense network as ONNX.
        outputs: beginnings of the outputs' names.
    """
    import onnx

    graph = onnx.load_from_string(content).graph
    maker = {name: node for node in graph.node for name in node.output}
    found = []
    open_ends = [o.name for o in graph.output if o.name.startswith(tuple(outputs))]
    while open_ends:
        node = maker.get(open_ends.pop())
        if node is None:
            continue
        if node.op_type == "Conv":
            found.append(node.name)
        else:
            open_ends += node.input
    return sorted(set(found))
