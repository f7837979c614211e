"""Reads trained convolutions from ncnn files (.param text, .bin weights).

Nothing of the files is executed; every size is checked before it is used.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sipvideo.errors import CheckpointError

_MAGIC = "7767517"
_FLOAT32_TAG, _FLOAT16_TAG = 0, 0x01306B47
_CONVOLUTIONS = {"Convolution", "ConvolutionDepthWise"}
_WEIGHTLESS = {
    *("BinaryOp", "Concat", "Crop", "Dropout", "Flatten", "Input", "Interp", "Noop", "Padding"),
    *("Permute", "Pooling", "ReLU", "Reshape", "ShuffleChannel", "Sigmoid", "Slice", "Softmax"),
    *("Split", "Swish", "UnaryOp", "YoloV5Focus"),
}


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution's weights.

    Attributes:
        name: the layer's name in the .param file.
        weight: float32 [out, in / groups, height, width].
        bias: float32 [out]; zeros where the file has none.
    """

    name: str
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def read_convolutions(param: str | Path, weights: str | Path) -> list[Convolution]:
    """All convolutions in the order of the .param file.

    Raises:
        CheckpointError: unreadable or damaged files, sizes that disagree, layers or weight
            formats not understood.
    """
    param, weights = Path(param), Path(weights)
    try:
        lines = param.read_text(encoding="ascii").splitlines()
        data = weights.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{param}, {weights}: cannot read the ncnn files: {error}") from error
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise CheckpointError(f"{param}: not an ncnn text file (its first line must be {_MAGIC})")
    layers = [line.split() for line in lines[2:] if line.strip()]
    counts = lines[1].split()
    if len(counts) != 2 or counts[0] != str(len(layers)):
        raise CheckpointError(f"{param}: expected {lines[1]!r} layers and blobs, got {len(layers)}")
    reader = _Reader(data, weights)
    found = []
    for line in layers:
        if line[0] in _CONVOLUTIONS:
            found.append(_read_convolution(line, param, reader))
        elif line[0] not in _WEIGHTLESS:
            raise CheckpointError(f"{param}: layer type {line[0]!r} is not understood")
    if reader.position != len(data):
        raise CheckpointError(
            f"{weights}: {len(data) - reader.position} bytes left after the layers of {param.name}"
        )
    return found


def _read_convolution(line: list[str], param: Path, reader: _Reader) -> Convolution:
    where = f"{param}: layer {line[1] if len(line) > 1 else line[0]!r}"
    try:
        first = 4 + int(line[2]) + int(line[3])
        pairs = (field.split("=", 1) for field in line[first:])
        values = {int(key): int(value) for key, value in pairs if int(key) >= 0}
        out, width, size = values[0], values[1], values[6]
    except (ValueError, KeyError, IndexError) as error:
        raise CheckpointError(f"{where}: not a well-formed convolution") from error
    height, groups = values.get(11, width), values.get(7, 1)
    per_filter, remainder = divmod(size, max(out * height * width, 1))
    if min(out, width, height, groups, per_filter) < 1 or remainder or out % groups:
        raise CheckpointError(
            f"{where}: {size} weights do not fill {out} filters of {height} x {width}"
        )
    weight = reader.tagged(size, where).reshape(out, per_filter, height, width)
    bias = reader.floats(out, where) if values.get(5, 0) else np.zeros(out, np.float32)
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise CheckpointError(f"{where}: weights are not finite")
    return Convolution(line[1], weight, bias)


class _Reader:
    """Walks through a .bin file."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data = data
        self.path = path
        self.position = 0

    def _take(self, count: int, where: str) -> bytes:
        end = self.position + count
        if end > len(self.data):
            raise CheckpointError(
                f"{self.path}: too short: {len(self.data)} bytes, {where} needs {end}"
            )
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def floats(self, count: int, where: str) -> NDArray[np.float32]:
        return np.frombuffer(self._take(4 * count, where), "<f4").astype(np.float32)

    def tagged(self, count: int, where: str) -> NDArray[np.float32]:
        """An array behind a tag that says its format; half precision is padded to four bytes."""
        (tag,) = struct.unpack("<I", self._take(4, where))
        if tag == _FLOAT32_TAG:
            return self.floats(count, where)
        if tag != _FLOAT16_TAG:
            raise CheckpointError(f"{self.path}: {where}: weight format {tag:#010x} is not read")
        raw = self._take((2 * count + 3) // 4 * 4, where)
        return np.frombuffer(raw, "<f2", count).astype(np.float32)
