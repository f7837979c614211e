"""The dense network in OpenVINO, on CPUs: single precision, bfloat16, or as quantised as the network is."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from sipvideo.errors import CheckpointError, ConfigError
from sipvideo.extras import absence
from sipvideo.forks import claim_threads
from sipvideo.postprocess.outputs import DenseOutputs, Runtime
from sipvideo.runtime.layout import gathered, in_singles, problem
from sipvideo.structures import FloatArray

PRECISIONS = {"openvino": "f32", "openvino-bf16": "bf16", "openvino-int8": "f32"}
"""Of what is not quantised."""
INT8 = "openvino-int8"
"""Runs the network in int8 that comes with the default model."""
NAMES = tuple(PRECISIONS)
ONNX_VERSION = 0x08
"""The first field of every ONNX file, as Protocol Buffers write it."""
SIZES = 4
"""Input sizes whose compiled networks are kept."""


def require() -> None:
    """Raises ConfigError, with the install command, where the package is missing; keeps it from telling of its use."""
    if importlib.util.find_spec("openvino") is None:
        raise ConfigError(absence("openvino"))
    if "openvino" not in sys.modules:
        # When imported, it writes a number for this user to the home folder and reports to its makers, unless the
        # package for that is missing.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def check_device(device: str) -> None:
    """Raises ConfigError for every device but the one that this engine is used on."""
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {device}: not available here with OpenVINO; it runs on the cpu"
        )


def read_network(network: bytes | str | Path) -> Any:
    """An ``openvino.Model`` from ONNX content, or from an ``.xml`` or ``.onnx`` file.

    Raises:
        ConfigError: OpenVINO is not installed.
        CheckpointError: the network cannot be read, or is none of ours.
    """
    require()
    import openvino
    from openvino.frontend.onnx import ConversionExtension

    core = openvino.Core()
    if os.name == "nt":  # there, a file that is mapped can be neither renamed nor replaced
        core.set_property({"ENABLE_MMAP": False})
    core.add_extension(ConversionExtension("DeformConv", _deformable))
    where = "network" if isinstance(network, bytes) else str(network)
    if not isinstance(network, bytes) and Path(network).suffix == ".xml":
        _check_xml(Path(network))
    else:
        _check_onnx(network if isinstance(network, bytes) else _bytes(Path(network)), where)
    try:
        model = core.read_model(network)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise CheckpointError(f"{where}: OpenVINO cannot read it: {reason}") from error
    fault = problem(_names(model))
    if fault:
        raise CheckpointError(f"{where}: not the dense network of a sipvideo model: {fault}")
    return model


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error


def _check_onnx(content: bytes, where: str) -> None:
    """Whether it can be ONNX, by the fields (number and length) that all of it consists of; as :func:`_check_xml`.

    Raises:
        CheckpointError: it is not.
    """
    fault = CheckpointError(f"{where}: OpenVINO cannot read it: damaged, or not a network in ONNX")
    place, first = 0, True
    while place < len(content):
        try:
            key, place = _varint(content, place)
            length, place = _varint(content, place)
        except IndexError:
            raise fault from None
        number, kind = key >> 3, key & 7
        if (first and key != ONNX_VERSION) or not 1 <= number <= 25 or kind not in (0, 2):
            raise fault
        place, first = place + (length if kind == 2 else 0), False
    if place != len(content) or first:
        raise fault


def _varint(content: bytes, place: int) -> tuple[int, int]:
    """A whole number of Protocol Buffers, and the place behind it."""
    value = shift = 0
    while content[place] & 0x80:
        value |= (content[place] & 0x7F) << shift
        place, shift = place + 1, shift + 7
    return value | content[place] << shift, place + 1


def _check_xml(path: Path) -> None:
    """Whether it can be OpenVINO's own form: what is not is tried in every other one, and told at length.

    Raises:
        CheckpointError: it is not.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    # Entities of a document type are for nobody's good.
    begins = beginning.lstrip().startswith((b"<?xml", b"<net "))
    if not begins or b"<net " not in beginning or b"<!" in beginning:
        raise CheckpointError(f"{path}: damaged, or not a network in OpenVINO's form")


class OpenVINORuntime(Runtime):
    """Runs a network in OpenVINO. May be called from several threads at once.

    The network is compiled once per input size, and the last ``SIZES`` of them are kept. Every call writes into
    arrays of its own, so results may be kept as long as wanted.

    Args:
        network: as :func:`read_network` gives it; sizes may be free or fixed.
        name: one of ``NAMES``: it decides the precision of whatever is not quantised.
        threads: of the engine; by default as many as it finds cores.
        callers: threads that will call at once; more than 1 divides the engine's threads among them: a single
            answer takes longer, all together come faster.
    """

    def __init__(
        self, network: Any, name: str = "openvino", threads: int | None = None, callers: int = 1
    ) -> None:
        self.name, self.callers, self._threads = name, callers, threads
        self.network = network
        self.names = _names(network)
        self.fixed = None if network.is_dynamic() else tuple(network.inputs[0].shape)
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY" if callers == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(callers),
            # OpenVINO's own choice is bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": PRECISIONS[name],
        }
        if threads:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._lock = threading.Lock()
        self._compiled: OrderedDict[tuple[int, ...], _Compiled] = OrderedDict()

    @property
    def about(self) -> str:
        """For people: engine, version, precision, threads."""
        import openvino

        threads = self._settings.get("INFERENCE_NUM_THREADS", "as many threads as cores")
        version = openvino.__version__.split("-")[0]
        precision = "int8" if self.name == INT8 else PRECISIONS[self.name]
        return f"OpenVINO {version}, {precision}, cpu, {threads}"

    def __call__(self, images: FloatArray) -> DenseOutputs:
        """Model inputs float32 [B, 3, H, W] (normalised, any strides, sides multiples of 32) to raw outputs.

        Raises:
            ConfigError: the network has a fixed size, and it is another one.
            SipVideoError: in a fork of the process in which OpenVINO's threads were started.
        """
        if self.callers > 1:
            claim_threads("OpenVINO")
        if self.fixed is None or images.shape == self.fixed:
            return self._for(images.shape)(images)
        return in_singles(self, images, self.fixed)

    def shared(self, callers: int) -> OpenVINORuntime:
        """The same network set up for several threads that call at once."""
        return OpenVINORuntime(self.network, self.name, self._threads, callers)

    def _for(self, shape: tuple[int, ...]) -> _Compiled:
        with self._lock:
            if shape not in self._compiled:
                self._compiled[shape] = self._compile(shape)
                if len(self._compiled) > SIZES:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(shape)
            return self._compiled[shape]

    def _compile(self, shape: tuple[int, ...]) -> _Compiled:
        claim_threads("OpenVINO")
        try:
            return self._compiled_for(shape)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise CheckpointError(f"network: OpenVINO cannot run it: {reason}") from error

    def _compiled_for(self, shape: tuple[int, ...]) -> _Compiled:
        from openvino import Layout
        from openvino.preprocess import PrePostProcessor

        network = self.network.clone()
        network.reshape(list(shape))
        # The engine computes channels-last, frames come and objects are read that way: nothing is rearranged.
        layouts = PrePostProcessor(network)
        for end in (layouts.input(), *(layouts.output(i) for i in range(len(self.names)))):
            end.model().set_layout(Layout("NCHW"))
            end.tensor().set_layout(Layout("NHWC"))
        compiled = _core().compile_model(layouts.build(), "CPU", self._settings)
        return _Compiled(compiled, self.names)


@functools.cache
def _core() -> Any:
    """What compiles networks, one for the whole process.

    A core gives the thread in which it compiles for the first time another stack for signals, and takes it back when it
    goes. Of two that go in the order in which they came the second would leave the stack of the first, which is gone:
    the next signal that Python handles, Ctrl-C for instance, would be a crash.
    """
    import openvino

    return openvino.Core()


class _Compiled:
    """The network for one input size, with as many requests as there are threads that call it at once."""

    def __init__(self, compiled: Any, names: list[str]) -> None:
        self._compiled = compiled
        self._names = names
        self._shapes = [tuple(output.shape) for output in compiled.outputs]
        self._idle: list[Any] = []

    def __call__(self, images: FloatArray) -> DenseOutputs:
        from openvino import Tensor

        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        channels_last = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        request.set_input_tensor(Tensor(channels_last, shared_memory=True))
        outputs = [np.empty(shape, np.float32) for shape in self._shapes]
        for index, output in enumerate(outputs):
            request.set_output_tensor(index, Tensor(output, shared_memory=True))
        request.infer()
        self._idle.append(request)
        arrays = (output.transpose(0, 3, 1, 2) for output in outputs)
        return gathered(dict(zip(self._names, arrays, strict=True)))


def _names(model: Any) -> list[str]:
    """The name of each output, as :mod:`sipvideo.runtime.layout` has them."""
    return [min(output.names, default="") for output in model.outputs]


def _deformable(node: Any) -> Any:
    """ONNX's deformable convolution, which OpenVINO's reader does not know, as OpenVINO's own."""
    from openvino import opset8

    feature, weight, offsets = (node.get_input(i) for i in range(3))
    convolution = opset8.deformable_convolution(
        feature,
        offsets,
        weight,
        strides=[1, 1],
        pads_begin=[1, 1],
        pads_end=[1, 1],
        dilations=[1, 1],
        deformable_group=int(node.get_attribute("offset_group")),
        bilinear_interpolation_pad=True,
    )
    return convolution.outputs()
