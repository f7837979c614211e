"""What the head computes for single objects only, for a fixed number of objects of each input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sipvideo.engine.tensors.maps import Cells, neighbours, sample, taken
from sipvideo.model.head import HeadOutputs
from sipvideo.postprocess.objects import GRID_MARGIN, SCORING_CHANNELS, ObjectHead

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
        side = self.config.grid_side
        share = (torch.arange(side, dtype=torch.float32) + 0.5) / side
        self.share = (share * (1 + 2 * GRID_MARGIN) - GRID_MARGIN).to(device)
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
        near = self._tapped(features, read, level, boxes)
        fine = self._tapped(basis, basis_cells, torch.zeros_like(level), boxes)
        count = self.config.grid_side**2
        taps = torch.cat((near.view(*cell.shape, count, -1), fine.view(*cell.shape, count, -1)), 3)
        taps = F.leaky_relu(self._linear("coefficients.reduce", taps), SLOPE).flatten(2)
        # Around 0 for objects of the usual sizes.
        extent = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1).log() - 4
        joined = torch.cat((taps, extent), 2)
        hidden = F.leaky_relu(self._linear("coefficients.hidden", joined), SLOPE)
        found = self._linear("coefficients.output", hidden)
        if self.config.grid_quality:
            return torch.cat((found, self._linear("coefficients.quality", hidden)), 2)
        return found

    def _tapped(self, rows: Tensor, cells: Cells, level: Tensor, boxes: Tensor) -> Tensor:
        """Maps read at the side^2 taps of each box [B, P, 4], row by row: [B, P, side^2 * channels]."""
        x0, y0, x1, y1 = boxes.unsqueeze(3).unbind(2)
        x, y = x0 + self.share * (x1 - x0), y0 + self.share * (y1 - y0)
        stride = cells.strides[level][..., None]
        shape = (*level.shape, 1, len(self.share), len(self.share))
        rows_at = (y / stride - 0.5)[:, :, None, :, None].expand(shape).flatten(3)
        columns_at = (x / stride - 0.5)[:, :, None, None].expand(shape).flatten(3)
        return sample(rows, cells, level, rows_at, columns_at)

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
