"""What the head computes for single objects only: their coefficients, embeddings and mask scores, in numpy.

The weights are those of the head of :mod:`sipvideo.model`, under the same names. They travel in
``objects.safetensors``, which has the whole configuration inside, so that an exported network needs nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from sipvideo.boxes import shape_maps
from sipvideo.config import GRID_MARGIN, SHAPE_MAPS, Config, config_from_values
from sipvideo.errors import CheckpointError
from sipvideo.postprocess.outputs import DenseOutputs
from sipvideo.postprocess.sampling import (
    cells,
    gather,
    leaky_relu,
    limited,
    neighbours,
    sample,
    tap_matrix,
)
from sipvideo.structures import FloatArray, IntArray

FILE = "objects.safetensors"
STRIDES = {"fpn": (8, 16, 32, 64, 128), "pan": (8, 16, 32), "ghost_pan": (8, 16, 32, 64)}
"""Model-input pixels per cell of each neck's levels."""
EMBEDDING_LEVELS = 3
GRID_REDUCED = 48
MAP_CHANNELS, MAP_CONVS = 32, 2
"""object_map: width and number of its convolutions."""
SCORING_CHANNELS = (1, 16, 16, 16, 32, 64, 128)

Weights = Mapping[str, FloatArray]


def weight_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that :class:`ObjectHead` reads."""
    head, channels = config.head, config.neck.channels
    count = head.coefficient_count
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, *weight: int, bias: bool = True) -> None:
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = weight[:1]

    read = head.mask_channels or channels
    if head.alignment == "box_grid":
        layer("coefficients.reduce", GRID_REDUCED, read + head.bases)
        layer("coefficients.hidden", head.grid_hidden, GRID_REDUCED * head.grid_side**2 + 2)
        layer("coefficients.output", count - head.map_side**2, head.grid_hidden)
        if head.object_map:
            layer("coefficients.own.enter", MAP_CHANNELS, GRID_REDUCED + head.bases + 1)
            layer("coefficients.own.of_object", MAP_CHANNELS, head.grid_hidden)
            for k in range(MAP_CONVS):
                layer(f"coefficients.own.convs.{k}", MAP_CHANNELS, MAP_CHANNELS, 3, 3)
            layer("coefficients.own.leave", 1, MAP_CHANNELS)
        if head.grid_quality:
            layer("coefficients.quality", 1, head.grid_hidden)
    elif head.alignment == "coefficients":
        layer("alignment.offset", head.alignment_groups * 18, 4, 1, 1, bias=False)
        layer("alignment.conv", channels, channels, 3, 3, bias=bool(head.tower_bias))
        layer("coefficients", count, read, 1, 1)
    else:
        kernel = 3 if head.unit == "conv" else 1
        layer("coefficients", count, read, kernel, kernel)
    if head.embedding:
        layer("embedding.conv", head.embedding, EMBEDDING_LEVELS * channels, 1, 1)
    if head.rescoring:
        for k in range(len(SCORING_CHANNELS) - 1):
            layer(f"mask_scoring.convs.{k}", SCORING_CHANNELS[k + 1], SCORING_CHANNELS[k], 3, 3)
        layer("mask_scoring.output", len(config.class_names), SCORING_CHANNELS[-1], 1, 1)
    return shapes


class ObjectHead:
    """The per-object part of one model's head. Has no state: may be used from several threads.

    Args:
        config: the model's configuration.
        weights: name to float32 array, as :func:`weight_shapes` lists them.

    Raises:
        ValueError: weights are missing or have another shape.
    """

    def __init__(self, config: Config, weights: Weights) -> None:
        for name, shape in weight_shapes(config).items():
            if name not in weights or weights[name].shape != shape:
                got = list(weights[name].shape) if name in weights else "nothing"
                raise ValueError(f"{name}: expected float32 {list(shape)}, got {got}")
        self.config = config.head
        self.strides = STRIDES[config.neck.name]
        self.weights = {
            name: np.ascontiguousarray(weights[name], np.float32) for name in weight_shapes(config)
        }
        # Products with few rows are twice as fast with the columns of a matrix in a row.
        self.matrices = {
            name.removesuffix(".weight"): _matrix(weight, self._groups(name))
            for name, weight in self.weights.items()
            if name.endswith(".weight")
        }

    @property
    def basis_stride(self) -> int:
        """Model-input pixels per basis-mask pixel."""
        return 8 // self.config.basis_upsample

    def coefficients(
        self, outputs: DenseOutputs, item: int, where: tuple[IntArray, IntArray, IntArray]
    ) -> FloatArray:
        """Coefficients at cells (level, row, column), each int64 [P]: float32 [P, k * k * bases].

        With ``grid_quality`` one more column is the logit of the mask's expected overlap with its object.
        """
        levels, rows, columns = where
        grid = self.config.alignment == "box_grid"
        found: FloatArray | None = None
        for level in np.unique(levels).tolist():
            here = np.flatnonzero(levels == level)
            read = self._near if grid else self._at_cells
            values = read(outputs, item, level, (rows[here], columns[here]))
            if found is None:
                found = np.empty((len(levels), values.shape[1]), np.float32)
            found[here] = values
        if found is None:
            return np.zeros(
                (0, self.config.coefficient_count + self.config.grid_quality), np.float32
            )
        return self._grid(found, outputs, item) if grid else found

    def _at_cells(
        self, outputs: DenseOutputs, item: int, level: int, at: tuple[IntArray, IntArray]
    ) -> FloatArray:
        feature = outputs.coefficient_features[self._read(outputs, level)][item]
        if self.config.alignment == "coefficients":
            distances = outputs.box_distances[level][item][:, at[0], at[1]].T
            in_strides = distances / np.float32(self.strides[level])
            positions = _tap_positions(*at, self._linear("alignment.offset", in_strides))
            x = self._linear("alignment.conv", sample(feature, *positions))
            return self._linear("coefficients", np.maximum(x, 0, out=x))
        if self.weights["coefficients.weight"].shape[2:] == (3, 3):
            return self._linear("coefficients", neighbours(feature, *at))
        index = at[0] * feature.shape[2] + at[1]
        return self._linear("coefficients", gather(cells(feature), index))

    def _grid_boxes(
        self, outputs: DenseOutputs, item: int, level: int, at: tuple[IntArray, IntArray]
    ) -> FloatArray:
        """The boxes [P, 4] that cells predict, model-input pixels, not clamped."""
        sides = outputs.box_distances[level][item][:, at[0], at[1]].T
        stride = self.strides[level]
        offset = self.config.cell_offset(stride)
        points = np.stack((at[1], at[0]), 1).astype(np.float32) * stride + offset
        return np.concatenate((points - sides[:, :2], points + sides[:, 2:]), 1)

    def _near(
        self, outputs: DenseOutputs, item: int, level: int, at: tuple[IntArray, IntArray]
    ) -> FloatArray:
        """Box, then the level's feature at the taps of the grid: [P, 4 + side^2 * channels]."""
        boxes = self._grid_boxes(outputs, item, level, at)
        read = self._read(outputs, level)
        feature = outputs.coefficient_features[read][item]
        stride, side = self.strides[read], self.config.grid_side
        return np.concatenate((boxes, _tapped(feature, boxes, stride, side)), 1)

    @staticmethod
    def _read(outputs: DenseOutputs, level: int) -> int:
        """The level of the features that cells of ``level`` read their coefficients from."""
        return min(level, len(outputs.coefficient_features) - 1)

    def _grid(self, near: FloatArray, outputs: DenseOutputs, item: int) -> FloatArray:
        """The layers behind the grid of taps; ``near`` as :meth:`_near` gives it for all objects."""
        boxes, side = near[:, :4], self.config.grid_side
        basis = outputs.basis_masks[item]
        fine = _tapped(basis, boxes, self.basis_stride, side)
        rows = len(near) * side**2
        taps = np.concatenate((near[:, 4:].reshape(rows, -1), fine.reshape(rows, -1)), 1)
        taps = leaky_relu(self._linear("coefficients.reduce", taps))
        # Around 0 for objects of the usual sizes.
        sides = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1)) - np.float32(4)
        joined = np.concatenate((taps.reshape(len(near), -1), sides), 1)
        hidden = leaky_relu(self._linear("coefficients.hidden", joined))
        found = [self._linear("coefficients.output", hidden)]
        if self.config.object_map:
            seen = _tapped(basis, boxes, self.basis_stride, self.config.map_side)
            found.append(self._object_maps(taps, seen, hidden, found[0]))
        if self.config.grid_quality:
            found.append(self._linear("coefficients.quality", hidden))
        return np.concatenate(found, 1)

    def _object_maps(
        self, taps: FloatArray, basis: FloatArray, hidden: FloatArray, vectors: FloatArray
    ) -> FloatArray:
        """The objects' own maps of logits [P, side^2], row by row; see ``sipvideo.model.alignment.ObjectMap``.

        Args:
            taps: [P * (side / 2)^2, ...], of the grid.
            basis: [P, side^2 * bases], the basis masks at the places of the result.
            hidden: [P, ...], of the grid.
            vectors: [P, ...], coefficients, part by part.
        """
        count, side, head = len(hidden), self.config.map_side, self.config
        own = "coefficients.own"
        there = basis.reshape(count, side**2, head.bases)
        combined = self._combined(there, vectors.reshape(count, head.sub_regions**2, -1))
        # The first layer part by part: what it makes of a tap is the same at the four places that see the tap.
        matrix = self.matrices[f"{own}.enter"]
        coarse, fine, last = np.split(matrix, (GRID_REDUCED, GRID_REDUCED + head.bases))
        x = (there.reshape(-1, head.bases) @ fine).reshape(count, side // 2, 2, side // 2, 2, -1)
        x += (taps @ coarse).reshape(count, side // 2, 1, side // 2, 1, -1)
        x = x.reshape(count, side**2, -1)
        x += combined * last
        x += (self._linear(f"{own}.of_object", hidden) + self.weights[f"{own}.enter.bias"])[:, None]
        x = leaky_relu(x).reshape(count, side, side, -1)
        for k in range(MAP_CONVS):
            x = leaky_relu(self._convolved(f"{own}.convs.{k}", x))
        return self._linear(f"{own}.leave", x).reshape(count, side**2)

    def _convolved(self, name: str, x: FloatArray) -> FloatArray:
        """3x3 convolution of maps [P, side, side, C], 0 outside, to [P, side, side, O]."""
        count, side, _, channels = x.shape
        # Each cell with its neighbours to the left and right; the rows above and below are the same memory.
        wide = np.zeros((count, side + 2, side, 3, channels), np.float32)
        wide[:, 1:-1, 1:, 0], wide[:, 1:-1, :, 1], wide[:, 1:-1, :-1, 2] = (
            x[:, :, :-1],
            x,
            x[:, :, 1:],
        )
        rows = wide.reshape(count, -1, 3 * channels)
        above, at, below = self.matrices[name].reshape(3, 3 * channels, -1)
        y = rows[:, : side**2] @ above
        y += rows[:, side : side + side**2] @ at
        y += rows[:, 2 * side :] @ below
        y += self.weights[f"{name}.bias"]
        return y.reshape(count, side, side, -1)

    def _combined(self, basis: FloatArray, vectors: FloatArray) -> FloatArray:
        """The logits that coefficients [P, parts^2, n] alone give at the places of a map: [P, side^2, 1]."""
        side, parts = self.config.map_side, self.config.sub_regions
        unit = np.array([0, 0, side, side], np.float32)
        shape = shape_maps(unit, (0, 0, side, side)).reshape(SHAPE_MAPS, -1).T
        every = basis @ vectors[..., : self.config.bases].transpose(0, 2, 1)
        if self.config.shape_maps:
            every += shape @ vectors[..., self.config.bases :].transpose(0, 2, 1)
        part = np.arange(side) * parts // side
        number = (part[:, None] * parts + part).reshape(1, -1, 1)
        return np.take_along_axis(every, number, 2)

    def embeddings(self, outputs: DenseOutputs, item: int, boxes: FloatArray) -> FloatArray:
        """Embeddings float32 [N, E] at the centres of boxes [N, 4], model-input pixels."""
        features = [feature[item] for feature in outputs.embedding_features]
        if not features:
            return np.zeros((len(boxes), 0), np.float32)
        height, width = features[0].shape[1:]
        centres = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / self.strides[0])
        columns = limited(centres[:, 0], 0, width - 1)
        rows = limited(centres[:, 1], 0, height - 1)
        samples = []
        for feature in features:
            h, w = feature.shape[1:]
            # Bilinear upsampling repeats the border, so positions are kept inside the map.
            y = limited((rows + 0.5) * np.float32(h / height) - np.float32(0.5), 0, h - 1)
            x = limited((columns + 0.5) * np.float32(w / width) - np.float32(0.5), 0, w - 1)
            samples.append(sample(feature, y.reshape(-1, 1, 1), x.reshape(-1, 1, 1)))
        return self._linear("embedding.conv", np.concatenate(samples, 1))

    def mask_quality(self, probability: FloatArray, label: int) -> float:
        """SipMask++: the expected IoU of a whole low-resolution mask [H, W] of class ``label``."""
        x = probability[..., None]
        for k in range(len(SCORING_CHANNELS) - 1):
            x = self._strided(f"mask_scoring.convs.{k}", x)
        weight, bias = (
            self.weights["mask_scoring.output.weight"],
            self.weights["mask_scoring.output.bias"],
        )
        return max(
            0.0, float((x.reshape(-1, x.shape[2]) @ weight[label].reshape(-1)).max() + bias[label])
        )

    def _strided(self, name: str, x: FloatArray) -> FloatArray:
        """3x3 convolution with stride 2 without padding, and ReLU: [h, w, C] to [h', w', O]."""
        height, width = (x.shape[0] - 1) // 2, (x.shape[1] - 1) // 2
        patches = [
            x[i : i + 2 * height - 1 : 2, j : j + 2 * width - 1 : 2]
            for i in range(3)
            for j in range(3)
        ]
        y = self._linear(name, np.stack(patches, 2).reshape(height * width, -1))
        result: FloatArray = np.maximum(y, 0, out=y).reshape(height, width, -1)
        return result

    def _groups(self, name: str) -> int:
        return self.config.alignment_groups if name.startswith("alignment") else 1

    def _linear(self, name: str, x: FloatArray) -> FloatArray:
        y: FloatArray = x @ self.matrices[name]
        if f"{name}.bias" in self.weights:
            y += self.weights[f"{name}.bias"]
        return y


def _matrix(weight: FloatArray, groups: int) -> FloatArray:
    """Weights [O, C], [O, C, 1, 1] or, for the columns of :func:`sample`, [O, C, 3, 3] as [inputs, O]."""
    if weight.shape[2:] == (3, 3):
        return tap_matrix(weight, groups)
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T)


def _tapped(feature: FloatArray, boxes: FloatArray, stride: int, side: int) -> FloatArray:
    """A map read at side * side taps of each box, row by row: [P, side^2 * channels]."""
    share = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    share = share * np.float32(1 + 2 * GRID_MARGIN) - np.float32(GRID_MARGIN)
    x0, y0, x1, y1 = boxes.T[..., None]
    x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    shape = (len(boxes), 1, side, side)
    rows = np.broadcast_to((y / stride - np.float32(0.5))[:, None, :, None], shape)
    columns = np.broadcast_to((x / stride - np.float32(0.5))[:, None, None, :], shape)
    flat = (len(boxes), 1, side * side)
    return sample(feature, rows.reshape(flat), columns.reshape(flat))


def _tap_positions(
    rows: IntArray, columns: IntArray, offsets: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Rows and columns [P, G, 9] of the taps of 3x3 deformable convolutions; offsets [P, G * 18], (dy, dx) in cells."""
    offsets = offsets.reshape(len(rows), -1, 9, 2)
    tap = np.arange(9)
    y = offsets[..., 0] + (rows.reshape(-1, 1, 1) + (tap // 3 - 1)).astype(np.float32)
    x = offsets[..., 1] + (columns.reshape(-1, 1, 1) + (tap % 3 - 1)).astype(np.float32)
    return y, x


def save(path: str | Path, config: Config, objects: ObjectHead) -> None:
    """Writes ``objects.safetensors``: the weights, and the configuration as JSON in the metadata.

    Weights that half precision holds exactly, as those of published half-precision files, are kept in it.
    """
    metadata = {"format": "sipvideo-objects", "config": config.model_dump_json(exclude_unset=True)}
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        weights = {name: _smallest(array) for name, array in objects.weights.items()}
        partial.write_bytes(safetensors.numpy.save(weights, metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: str | Path) -> tuple[Config, ObjectHead]:
    """Reads what :func:`save` wrote.

    Raises:
        CheckpointError: missing or damaged file, another kind of file, weights that do not fit the configuration.
        ConfigError: the configuration inside is not valid.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; an exported model is a folder with {FILE}")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = dict(file.metadata() or {})
            arrays = {n: _in_singles(file.get_tensor(n)) for n in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != "sipvideo-objects":
        raise CheckpointError(f"{path}: a safetensors file, but not written by sipvideo export")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{path}: damaged: {name} holds numbers that are not finite")
    try:
        values = json.loads(metadata["config"])
    except (KeyError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the configuration inside is missing or damaged") from error
    config = config_from_values(values, f"{path} (configuration inside)")
    try:
        return config, ObjectHead(config, arrays)
    except ValueError as error:
        raise CheckpointError(f"{path}: does not fit the configuration inside: {error}") from error


def _smallest(array: FloatArray) -> NDArray[np.float16] | FloatArray:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if (half == array).all() else array


def _in_singles(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float32) if array.dtype == np.float16 else array
