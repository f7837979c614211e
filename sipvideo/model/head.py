"""The SipMask head: classes, boxes, spatial-preservation coefficients, basis masks and embeddings.

Raw outputs keep documented units; ``postprocess`` is the one place that converts them. Two heads' worth of
work is postponed until it is known which objects survive: their coefficients and their embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.config import HeadConfig
from sipvideo.model.alignment import BoxGrid, FeatureAlignment
from sipvideo.model.basis import BasisBranch, MaskPyramid, PyramidSum
from sipvideo.model.ops import conv_at
from sipvideo.model.units import ConvUnit, SeparableUnit
from sipvideo.model.waiting import rows_that_count

EMBEDDING_STRIDE = 8


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """Raw outputs of the dense network for a batch of B inputs; lists are per level, finest first.

    Attributes:
        class_logits: float [B, C, h, w].
        centerness_logits: float [B, 1, h, w], or an empty list for models without centerness.
        box_distances: float [B, 4, h, w], left, top, right, bottom from the cell's point, model-input pixels.
        coefficient_features: float [B, channels, h, w], what the coefficients are read from; there may be fewer levels
            than of the others: coarser cells read the last one.
        basis_masks: float [B, bases, H / s, W / s], s = 8 / ``basis_upsample``.
        embedding_features: float [B, channels, h, w] at strides 8, 16, 32; empty without tracking branch.
    """

    class_logits: list[Tensor]
    centerness_logits: list[Tensor]
    box_distances: list[Tensor]
    coefficient_features: list[Tensor]
    basis_masks: Tensor
    embedding_features: list[Tensor]

    def single(self) -> HeadOutputs:
        """The same outputs in single precision."""

        def convert(value: Tensor | list[Tensor]) -> Any:
            return value.float() if isinstance(value, Tensor) else [one.float() for one in value]

        return HeadOutputs(**{f.name: convert(getattr(self, f.name)) for f in fields(self)})


class MaskScoring(nn.Module):
    """SipMask++: the expected IoU of a mask for every class, from its probability map.

    Args:
        num_classes: number of classes.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        channels = (1, 16, 16, 16, 32, 64, 128)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2) for a, b in pairwise(channels))
        self.output = nn.Conv2d(channels[-1], num_classes, 1)

    def forward(self, masks: Tensor) -> Tensor:
        """Mask probabilities float [N, 1, h, w] (at least 127 pixels a side) to float [N, C]."""
        for conv in self.convs:
            masks = torch.relu(conv(masks))
        return torch.relu(self.output(masks)).amax((2, 3))


class SipMaskHead(nn.Module):
    """All prediction branches of the paper's figure 3, shared by the levels unless configured otherwise.

    Args:
        config: head configuration.
        channels: of every pyramid level.
        num_classes: number of classes C.
        strides: of the levels.
        trunk_channels: of the backbone's maps, the last four at strides 4, 8, 16, 32.
    """

    def __init__(
        self,
        config: HeadConfig,
        channels: int,
        num_classes: int,
        strides: Sequence[int],
        trunk_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.config = config
        self.strides = tuple(strides)
        levels = 1 if config.levels_share_towers else len(strides)
        kernel = 3 if config.unit == "conv" else 1
        mask_channels = config.mask_channels or channels

        def tower(units: int, width: int = channels, side: int = 3) -> nn.Sequential:
            return nn.Sequential(*(self._unit(width, side) for _ in range(units)))

        def predictor(out: int) -> nn.ModuleList:
            padding = kernel // 2
            return nn.ModuleList(
                nn.Conv2d(channels, out, kernel, padding=padding) for _ in range(levels)
            )

        side = config.tower_kernel
        self.class_towers = nn.ModuleList(
            tower(config.class_units, side=side) for _ in range(levels)
        )
        self.box_towers = nn.ModuleList(tower(config.box_units, side=side) for _ in range(levels))
        self.class_logits = predictor(num_classes)
        if config.mask_units:
            self.mask_tower = tower(config.mask_units, mask_channels)
        bins = config.distance_bins if config.box_distances == "distribution" else 1
        self.box_distances = predictor(4 * bins)
        self.centerness = predictor(1) if config.centerness else None
        if bins == 1:
            self.scales = nn.Parameter(torch.ones(len(strides)))
        if config.mask_pyramid:
            self.mask_pyramid = MaskPyramid(channels, trunk_channels[-3:], mask_channels)
        if config.alignment in ("coefficients", "classes_and_coefficients"):
            self.alignment = FeatureAlignment(
                channels, config.alignment_groups, config.norm == "group", bool(config.tower_bias)
            )
        count = config.coefficient_count
        self.values_per_object = count + config.grid_quality
        self.coefficients: BoxGrid | nn.Conv2d
        if config.alignment == "box_grid":
            self.coefficients = BoxGrid(config, mask_channels)
        else:
            # After an alignment of its own, that already looks around, a 1x1 convolution is enough.
            size = 1 if config.alignment == "coefficients" else kernel
            self.coefficients = nn.Conv2d(mask_channels, count, size, padding=size // 2)
        self.basis = BasisBranch(config, mask_channels, trunk_channels)
        if config.embedding:
            self.track_tower = tower(config.track_units)
            self.embedding = PyramidSum(channels, config.embedding)
        if config.rescoring:
            self.mask_scoring = MaskScoring(num_classes)
        self._initialise()

    def _unit(self, channels: int, kernel: int) -> nn.Module:
        if self.config.unit == "separable":
            return SeparableUnit(channels, kernel)
        norm = self.config.norm == "group"
        bias = not norm if self.config.tower_bias is None else self.config.tower_bias
        return ConvUnit(channels, norm, bias)

    def _initialise(self) -> None:
        """As published: N(0, 0.01), zero biases, class prior 0.01, offsets zero (a plain 3x3 at first).

        Separable units would hardly learn from weights that small.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                if self.config.unit == "conv":
                    nn.init.normal_(module.weight, std=0.01)
                else:
                    nn.init.kaiming_normal_(module.weight, a=0.1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.config.unit == "separable":
            # Masks and embeddings begin near "undecided", whatever the towers say.
            grid = self.config.alignment == "box_grid"
            coefficients = "coefficients.output.weight" if grid else "coefficients.weight"
            begin_small = [self.get_parameter(coefficients), self.basis.output.weight]
            begin_small += [self.embedding.conv.weight] if self.config.embedding else []
            for weight in begin_small:
                weight.data.mul_(0.3)
            if self.config.object_map:
                nn.init.zeros_(self.get_parameter("coefficients.own.leave.weight"))
        for conv in self.class_logits:
            nn.init.constant_(conv.bias, -4.595)  # type: ignore[arg-type]
        if self.config.alignment in ("coefficients", "classes_and_coefficients"):
            nn.init.zeros_(self.alignment.offset.weight)

    def forward(self, pyramid: Sequence[Tensor], trunk: Sequence[Tensor]) -> HeadOutputs:
        """Pyramid levels float [B, channels, h, w] and the backbone's maps to raw outputs."""
        mask_levels = self.mask_levels(pyramid, trunk)
        classes, centerness, distances, class_features, sources = [], [], [], [], []
        for level, feature in enumerate(pyramid):
            which = 0 if self.config.levels_share_towers else level
            class_feature = self.class_towers[which](feature)
            box_feature = (
                self.box_towers[which](feature) if self.config.box_units else class_feature
            )
            in_strides = self._distances(self.box_distances[which](box_feature), level)
            if self.config.alignment == "classes_and_coefficients":
                class_feature = self.alignment(class_feature, in_strides)
            classes.append(self.class_logits[which](class_feature))
            if self.centerness is not None:
                centerness.append(self.centerness[which](box_feature))
            distances.append(in_strides * self.strides[level])
            class_features.append(class_feature)
            sources.append(box_feature)
        if self.config.basis_source == "pyramid":
            sources = list(mask_levels)
        basis = self.basis(sources[: PyramidSum.levels], trunk)
        own = self.config.mask_units
        return HeadOutputs(
            classes,
            centerness,
            distances,
            [self.mask_tower(level) for level in mask_levels] if own else class_features,
            basis,
            self.track_features(pyramid),
        )

    def mask_levels(self, pyramid: Sequence[Tensor], trunk: Sequence[Tensor]) -> Sequence[Tensor]:
        """What basis masks and the mask tower read: a pyramid of their own, or the detector's."""
        return self.mask_pyramid(pyramid, trunk[-3:]) if self.config.mask_pyramid else pyramid

    @property
    def basis_stride(self) -> int:
        """Model-input pixels per basis-mask pixel."""
        return 8 // self.config.basis_upsample

    def track_features(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """The tracking tower on the three finest levels; empty without a tracking branch."""
        if not self.config.embedding:
            return []
        return [self.track_tower(feature) for feature in pyramid[: PyramidSum.levels]]

    def _distances(self, raw: Tensor, level: int) -> Tensor:
        """Raw box output to float [B, 4, h, w] in strides."""
        if self.config.box_distances == "distribution":
            batch, _, height, width = raw.shape
            bins = self.config.distance_bins
            # In single precision also where the network is not: boxes are hundreds of pixels wide.
            share = raw.view(batch, 4, bins, height, width).float().softmax(2)
            return (share * torch.arange(bins, device=raw.device).view(1, 1, -1, 1, 1)).sum(2)
        scaled = raw.float() * self.scales[level].float()
        return torch.relu(scaled) if self.config.box_distances == "relu" else scaled

    def coefficient_maps(self, outputs: HeadOutputs) -> list[Tensor]:
        """Coefficients at every cell: float [B, sub_regions^2 * bases, h, w] per level. For training.

        A box grid is too dear for every cell; see :meth:`coefficients_in_row`.
        """
        maps = []
        for level, feature in enumerate(outputs.coefficient_features):
            if self.config.alignment == "coefficients":
                feature = self.alignment(
                    feature, outputs.box_distances[level] / self.strides[level]
                )
            maps.append(self.coefficients(feature))
        return maps

    def coefficients_at(
        self, outputs: HeadOutputs, item: int, level: int, rows: Tensor, columns: Tensor
    ) -> Tensor:
        """Coefficients only at cells (rows, columns) int64 [P] of one level: float [P, k * k * bases].

        With ``grid_quality`` one more column is the logit of the mask's expected overlap with its object.
        """
        stride = self.strides[level]
        read = min(level, len(outputs.coefficient_features) - 1)
        feature = outputs.coefficient_features[read][item]
        if isinstance(self.coefficients, BoxGrid):
            sides = outputs.box_distances[level][item][:, rows, columns].t()
            points = torch.stack((columns, rows), 1) * stride + self.config.cell_offset(stride)
            boxes = torch.cat((points - sides[:, :2], points + sides[:, 2:]), 1)
            found: Tensor = self.coefficients(
                feature, self.strides[read], outputs.basis_masks[item], self.basis_stride, boxes
            )
            return found
        if self.config.alignment != "coefficients":
            return conv_at(feature, self.coefficients, rows, columns)
        distances = outputs.box_distances[level][item] / stride
        aligned = self.alignment.at(feature, distances, rows, columns)
        return F.linear(aligned, self.coefficients.weight.flatten(1), self.coefficients.bias)

    def coefficients_in_row(self, outputs: HeadOutputs, item: int, at: Tensor) -> Tensor:
        """As :meth:`coefficients_at`, at locations int64 [P] counted through all levels, row by row."""
        found = at.new_zeros(len(at), self.values_per_object).to(outputs.basis_masks)
        start = 0
        for level, logits in enumerate(outputs.class_logits):
            height, width = logits.shape[-2:]
            inside = (at >= start) & (at < start + height * width)
            here = rows_that_count(inside)
            if here is None or len(here):
                cells = (at if here is None else at[here]) - start
                cells = cells.clamp(0, height * width - 1)
                rows, columns = cells.div(width, rounding_mode="floor"), cells % width
                values = self.coefficients_at(outputs, item, level, rows, columns)
                if here is None:
                    found = torch.where(inside[:, None], values.to(found.dtype), found)
                else:
                    found = found.index_copy(0, here, values)
            start += height * width
        return found

    def embedding_map(self, features: Sequence[Tensor]) -> Tensor:
        """Track-tower features to the whole tracking map, float [B, E, H / 8, W / 8]. For training."""
        result: Tensor = self.embedding(features)
        return result
