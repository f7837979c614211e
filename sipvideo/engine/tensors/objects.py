"""What the head computes for single objects only, for a fixed number of objects of each input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sipvideo.config import GRID_MARGIN
from sipvideo.engine.tensors.maps import Cells, neighbours, sample, taken
from sipvideo.model.alignment import part_numbers, shape_maps_of
from sipvideo.model.head import HeadOutputs
from sipvideo.postprocess.objects import MAP_CONVS, SCORING_CHANNELS, ObjectHead

SLOPE = 0.1
"""Of the leaky rectifiers."""


class Objects:
    """Coefficients, embeddings and mask scores: :class:`sipvideo.postprocess.ObjectHead` on a device.

    Args:
        head: the weights, and how they are used.
        device: where it runs.
    """

    def __init__(self, head: ObjectHead, device: torch.device) -> None:
        self.config = head.config
        self.strides, self.basis_stride = head.strides, head.basis_stride
        self.weights = {
            name: torch.from_numpy(array).to(device) for name, array in head.weights.items()
        }
        self.matrices = {
            name: torch.from_numpy(array).to(device) for name, array in head.matrices.items()
        }
        self.share = _share(self.config.grid_side, device)
        if self.config.object_map:
            side = self.config.map_side
            self.map_share = _share(side, device)
            self.shape_maps = shape_maps_of(side, self.share)
            self.part_of_place = part_numbers(side, self.config.sub_regions, device)
        tap = torch.arange(9)
        self.taps = torch.stack((tap // 3 - 1, tap % 3 - 1)).float().to(device)

    def map_size(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the basis masks of a model input of (height, width)."""
        if self.config.basis_source == "pyramid":
            return -(-input_size[0] // 4), -(-input_size[1] // 4)
        height, width = (-(-side // 8) * self.config.basis_upsample for side in input_size)
        return height, width

    def coefficients(
        self,
        outputs: HeadOutputs,
        levels: tuple[Cells, Cells],
        basis: tuple[Tensor, Cells],
        cell: Tensor,
    ) -> Tensor:
        """Coefficients at cells int64 [B, P]: float32 [B, P, k * k * bases]; as ``ObjectHead.coefficients``.

        Args:
            outputs: of the network, float32.
            levels: cells of the levels, and of those that have coefficient features: coarser cells read the last one.
            basis: the basis masks as rows float32 [B, H * W, bases], and their cells.
            cell: counted through all levels.
        """
        features = levels[1].rows(outputs.coefficient_features)
        if self.config.alignment == "box_grid":
            return self._grid(outputs, levels, (features, *basis), cell)
        if self.config.alignment == "coefficients":
            return self._linear("coefficients", self._aligned(outputs, levels, features, cell))
        cells, read = levels
        level = _read(levels, cell)
        here = read.first[level] + cells.row[cell] * read.widths[level] + cells.column[cell]
        if self.weights["coefficients.weight"].shape[2:] == (3, 3):
            return self._linear("coefficients", neighbours(features, read, here))
        return self._linear("coefficients", taken(features, here))

    def _aligned(
        self, outputs: HeadOutputs, levels: tuple[Cells, Cells], features: Tensor, cell: Tensor
    ) -> Tensor:
        """The deformable convolution of the alignment at cells [B, P]: [B, P, channels]."""
        cells, read = levels
        distances = taken(cells.rows(outputs.box_distances), cell)
        in_strides = distances / cells.strides[cells.level[cell]][..., None]
        offsets = self._linear("alignment.offset", in_strides)
        offsets = offsets.view(*cell.shape, -1, 9, 2)
        y = offsets[..., 0] + (cells.row[cell][..., None, None] + self.taps[0])
        x = offsets[..., 1] + (cells.column[cell][..., None, None] + self.taps[1])
        return self._linear(
            "alignment.conv", sample(features, read, _read(levels, cell), y, x)
        ).relu()

    def _grid(
        self,
        outputs: HeadOutputs,
        levels: tuple[Cells, Cells],
        maps: tuple[Tensor, Tensor, Cells],
        cell: Tensor,
    ) -> Tensor:
        """Coefficients from a grid of taps over the boxes that cells [B, P] predict, not clamped."""
        features, basis, basis_cells = maps
        cells, read = levels
        level = _read(levels, cell)
        sides = taken(cells.rows(outputs.box_distances), cell)
        points = cells.points[cell]
        boxes = torch.cat((points - sides[..., :2], points + sides[..., 2:]), 2)
        only = torch.zeros_like(level)
        near = self._tapped(features, read, level, boxes, self.share)
        fine = self._tapped(basis, basis_cells, only, boxes, self.share)
        taps = torch.cat((near, fine), 3)
        taps = F.leaky_relu(self._linear("coefficients.reduce", taps), SLOPE)
        # Around 0 for objects of the usual sizes.
        extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1).log() - 4
        joined = torch.cat((taps.flatten(2), extent), 2)
        hidden = F.leaky_relu(self._linear("coefficients.hidden", joined), SLOPE)
        found = [self._linear("coefficients.output", hidden)]
        if self.config.object_map:
            seen = self._tapped(basis, basis_cells, only, boxes, self.map_share)
            found.append(self._object_maps(taps, seen, hidden, found[0]))
        if self.config.grid_quality:
            found.append(self._linear("coefficients.quality", hidden))
        return torch.cat(found, 2)

    @staticmethod
    def _tapped(rows: Tensor, cells: Cells, level: Tensor, boxes: Tensor, share: Tensor) -> Tensor:
        """Maps at taps of each box [B, P, 4], at these shares [S] of its sides, row by row: [B, P, S^2, channels]."""
        x0, y0, x1, y1 = boxes.unsqueeze(3).unbind(2)
        x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        stride = cells.strides[level][..., None]
        shape = (*level.shape, 1, len(share), len(share))
        rows_at = (y / stride - 0.5)[:, :, None, :, None].expand(shape).flatten(3)
        columns_at = (x / stride - 0.5)[:, :, None, None].expand(shape).flatten(3)
        found = sample(rows, cells, level, rows_at, columns_at)
        return found.view(*level.shape, len(share) ** 2, -1)

    def _object_maps(self, taps: Tensor, basis: Tensor, hidden: Tensor, vectors: Tensor) -> Tensor:
        """The objects' own maps of logits [B, P, side^2]; as ``ObjectHead`` has them, with one more dimension each."""
        batch, count = hidden.shape[:2]
        side, half, parts = self.config.map_side, self.config.grid_side, self.config.sub_regions
        own = "coefficients.own"
        coarse = taps.view(batch, count, half, half, -1)
        coarse = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).flatten(2, 3)
        vectors = vectors.view(batch, count, parts**2, -1)
        maps = basis
        if self.config.shape_maps:
            maps = torch.cat((basis, self.shape_maps.expand(batch, count, -1, -1)), 3)
        every = maps @ vectors.transpose(2, 3)
        part = self.part_of_place.expand(batch, count, -1)[..., None]
        x = self._linear(f"{own}.enter", torch.cat((coarse, basis, every.gather(3, part)), 3))
        x = F.leaky_relu(x + self._linear(f"{own}.of_object", hidden)[:, :, None], SLOPE)
        x = x.view(batch * count, side, side, -1).permute(0, 3, 1, 2)
        for k in range(MAP_CONVS):
            weight, bias = (self.weights[f"{own}.convs.{k}.{name}"] for name in ("weight", "bias"))
            x = F.leaky_relu(F.conv2d(x, weight, bias, padding=1), SLOPE)
        return self._linear(f"{own}.leave", x.permute(0, 2, 3, 1)).view(batch, count, side**2)

    def embeddings(self, outputs: HeadOutputs, cells: Cells, boxes: Tensor) -> Tensor:
        """Embeddings float32 [B, P, E] at the centres of boxes [B, P, 4], model-input pixels.

        Args:
            outputs: of the network, float32.
            cells: of the levels that embeddings are read from.
            boxes: the objects'.
        """
        if not outputs.embedding_features:
            return boxes.new_zeros(*boxes.shape[:2], 0)
        centres = ((boxes[..., :2] + boxes[..., 2:]) / 2 / cells.strides[0]).floor()
        sizes = torch.stack((cells.widths, cells.heights), 1).float()  # [L, 2], x and y
        at = torch.minimum(centres.clamp(min=0), sizes[0] - 1)[:, :, None]
        # Bilinear upsampling repeats the border, so positions are kept inside the maps.
        at = ((at + 0.5) * (sizes / sizes[0]) - 0.5).clamp(min=0)
        at = torch.minimum(at, sizes - 1).flatten(1, 2)[:, :, None, None]
        levels = torch.arange(len(sizes), device=boxes.device).repeat(boxes.shape[1])
        rows = cells.rows(outputs.embedding_features)
        levels = levels.expand(len(boxes), -1)
        samples = sample(rows, cells, levels, at[..., 1], at[..., 0])
        return self._linear("embedding.conv", samples.view(*boxes.shape[:2], -1))

    def mask_quality(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """SipMask++: the expected IoU of whole low-resolution masks [P, H, W] of classes [P]: float32 [P]."""
        x = probabilities[:, None]
        for k in range(len(SCORING_CHANNELS) - 1):
            name = f"mask_scoring.convs.{k}"
            x = F.conv2d(
                x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], stride=2
            ).relu()
        output = self.weights["mask_scoring.output.weight"][labels].flatten(1)
        best = (x.flatten(2) * output[..., None]).sum(1).amax(1)
        return (best + self.weights["mask_scoring.output.bias"][labels]).relu()

    def _linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.matrices[name]
        bias = self.weights.get(f"{name}.bias")
        return y if bias is None else y + bias


def _read(levels: tuple[Cells, Cells], cell: Tensor) -> Tensor:
    """The level of the features that cells [B, P] read their coefficients from."""
    cells, read = levels
    return cells.level[cell].clamp(max=len(read.sizes) - 1)


def _share(side: int, device: torch.device) -> Tensor:
    """Where taps lie along a side of a box, float32 [side], in shares of it."""
    share = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    return (share * (1 + 2 * GRID_MARGIN) - GRID_MARGIN).to(device)
