"""The SipMask head: classes, boxes, spatial-preservation coefficients, basis masks and embeddings.

Raw outputs keep documented units; ``postprocess`` is the one place that converts them. Two heads' worth of
work is postponed until it is known which objects survive: their coefficients and their embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sipvideo.config import HeadConfig
from sipvideo.model.ops import conv_at, deformable_conv, sample, tap_matrix, tap_positions

EMBEDDING_STRIDE = 8


@dataclass(frozen=True, eq=False)
class HeadOutputs:
    """Raw outputs of the dense network for a batch of B inputs; lists are per level, finest first.

    Attributes:
        class_logits: float [B, C, h, w].
        centerness_logits: float [B, 1, h, w], or an empty list for models without centerness.
        box_distances: float [B, 4, h, w], left, top, right, bottom from the cell's point, model-input pixels.
        coefficient_features: float [B, channels, h, w], what the coefficients are read from.
        basis_masks: float [B, bases, H / s, W / s], s = 8 / ``basis_upsample``.
        embedding_features: float [B, channels, h, w] at strides 8, 16, 32; empty without tracking branch.
    """

    class_logits: list[Tensor]
    centerness_logits: list[Tensor]
    box_distances: list[Tensor]
    coefficient_features: list[Tensor]
    basis_masks: Tensor
    embedding_features: list[Tensor]


class ConvUnit(nn.Module):
    """3x3 convolution, optional GroupNorm(32), ReLU."""

    def __init__(self, channels: int, norm: bool, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm = nn.GroupNorm(32, channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return torch.relu_(self.norm(self.conv(x)))


class SeparableUnit(nn.Module):
    """3x3 depthwise and 1x1 pointwise convolution with biases, LeakyReLU(0.1) after each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keeps the shape."""
        return F.leaky_relu(self.pointwise(F.leaky_relu(self.depthwise(x), 0.1)), 0.1)


class FeatureAlignment(nn.Module):
    """Deformable 3x3 convolution whose offsets come from the predicted box (section 3.2).

    Args:
        channels: of the feature.
        groups: deformable groups.
        norm: GroupNorm after the convolution.
        bias: bias of the convolution.
    """

    def __init__(self, channels: int, groups: int, norm: bool, bias: bool) -> None:
        super().__init__()
        self.groups = groups
        self.offset = nn.Conv2d(4, groups * 18, 1, bias=False)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        # The published models without norms still carry this one's parameters, unused.
        self.norm = nn.Identity() if bias and not norm else nn.GroupNorm(32, channels)
        self.use_norm = norm

    def forward(self, feature: Tensor, distances: Tensor) -> Tensor:
        """Feature float [B, C, h, w] and box distances [B, 4, h, w] in strides to float [B, C, h, w].

        No gradient flows into the distances.
        """
        x = deformable_conv(feature, self.offset(distances.detach()), self.conv.weight, self.groups)
        if self.conv.bias is not None:
            x = x + self.conv.bias.view(1, -1, 1, 1)
        return torch.relu(self.norm(x) if self.use_norm else x)

    def at(self, feature: Tensor, distances: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The same only at the cells (rows, columns) int64 [P] of one map [C, h, w]: float [P, C]."""
        assert not self.use_norm, "a norm needs the whole map"
        offsets = F.linear(distances[:, rows, columns].detach().t(), self.offset.weight.flatten(1))
        taps = sample(feature, *tap_positions(rows, columns, offsets))
        x = taps @ tap_matrix(self.conv.weight, self.groups)
        return torch.relu(x if self.conv.bias is None else x + self.conv.bias)


class PyramidSum(nn.Module):
    """1x1 convolution of the concatenation of three levels brought to the finest one's size.

    A 1x1 convolution commutes with bilinear upsampling, so each level is convolved at its own resolution
    and only the results are upsampled and added.

    Args:
        channels: of each level.
        out_channels: of the sum.
    """

    levels = 3

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(self.levels * channels, out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Levels at strides 8, 16, 32 to float [B, out_channels, h, w] at stride 8."""
        size = features[0].shape[-2:]
        parts = self.conv.weight.chunk(self.levels, dim=1)
        total = F.conv2d(features[0], parts[0], self.conv.bias)
        for feature, weight in zip(features[1:], parts[1:], strict=True):
            small = F.conv2d(feature, weight)
            total = total + F.interpolate(small, size=size, mode="bilinear", align_corners=False)
        return total

    def at(self, features: Sequence[Tensor], rows: Tensor, columns: Tensor) -> Tensor:
        """The same only at stride-8 cells (rows, columns) int64 [P] of maps [C, h, w]: float [P, O]."""
        height, width = features[0].shape[-2:]
        samples = []
        for feature in features:
            h, w = feature.shape[-2:]
            # Bilinear upsampling repeats the border, so positions are kept inside the map.
            y = ((rows + 0.5) * (h / height) - 0.5).clamp(0, h - 1)
            x = ((columns + 0.5) * (w / width) - 0.5).clamp(0, w - 1)
            samples.append(sample(feature, y.view(-1, 1, 1), x.view(-1, 1, 1)))
        return F.linear(torch.cat(samples, 1), self.conv.weight.flatten(1), self.conv.bias)


class BasisBranch(nn.Module):
    """Basis masks from three levels (section 3.1), optionally refined by the stem's finer feature.

    Args:
        config: head configuration.
        channels: of the input levels.
        stem_channels: of the stride-4 stem feature, used when ``basis_source`` is "pyramid".
    """

    def __init__(self, config: HeadConfig, channels: int, stem_channels: int) -> None:
        super().__init__()
        self.upsample = config.basis_upsample
        self.lateral = PyramidSum(channels, config.basis_channels)
        self.refined = config.basis_source == "pyramid"
        if self.refined:
            self.before = SeparableUnit(config.basis_channels)
            self.stem = nn.Conv2d(stem_channels, config.basis_channels, 1)
            self.after = nn.Sequential(
                SeparableUnit(config.basis_channels), SeparableUnit(config.basis_channels)
            )
            self.output = nn.Conv2d(config.basis_channels, config.bases, 1)
        else:
            self.output = nn.Conv2d(config.basis_channels, config.bases, 3, padding=1)

    def forward(self, features: Sequence[Tensor], stem: Tensor) -> Tensor:
        """Three levels [B, channels, h, w] and the stem feature to float [B, bases, h * up, w * up]."""
        x = self.lateral(features)
        if self.refined:
            x = self.before(F.leaky_relu(x, 0.1))
            x = F.interpolate(x, size=stem.shape[-2:], mode="bilinear", align_corners=False)
            return torch.relu(self.output(self.after(x + self.stem(stem))))
        x = torch.relu(self.output(torch.relu_(x)))
        return F.interpolate(x, scale_factor=self.upsample, mode="bilinear", align_corners=False)


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
        stem_channels: of the backbone's stride-4 map.
    """

    def __init__(
        self,
        config: HeadConfig,
        channels: int,
        num_classes: int,
        strides: Sequence[int],
        stem_channels: int,
    ) -> None:
        super().__init__()
        self.config = config
        self.strides = tuple(strides)
        levels = 1 if config.levels_share_towers else len(strides)
        kernel = 3 if config.unit == "conv" else 1
        unit = self._unit(channels)

        def tower(units: int) -> nn.Sequential:
            return nn.Sequential(*(unit() for _ in range(units)))

        def predictor(out: int) -> nn.ModuleList:
            padding = kernel // 2
            return nn.ModuleList(
                nn.Conv2d(channels, out, kernel, padding=padding) for _ in range(levels)
            )

        self.class_towers = nn.ModuleList(tower(config.class_units) for _ in range(levels))
        self.box_towers = nn.ModuleList(tower(config.box_units) for _ in range(levels))
        self.class_logits = predictor(num_classes)
        if config.mask_units:
            self.mask_tower = tower(config.mask_units)
        bins = config.distance_bins if config.box_distances == "distribution" else 1
        self.box_distances = predictor(4 * bins)
        self.centerness = predictor(1) if config.centerness else None
        if bins == 1:
            self.scales = nn.Parameter(torch.ones(len(strides)))
        if config.alignment != "none":
            self.alignment = FeatureAlignment(
                channels, config.alignment_groups, config.norm == "group", bool(config.tower_bias)
            )
        # After an alignment of its own, that already looks around, a 1x1 convolution is enough.
        size = 1 if config.alignment == "coefficients" else kernel
        count = config.bases * config.sub_regions**2
        self.coefficients = nn.Conv2d(channels, count, size, padding=size // 2)
        self.basis = BasisBranch(config, channels, stem_channels)
        if config.embedding:
            self.track_tower = tower(config.track_units)
            self.embedding = PyramidSum(channels, config.embedding)
        if config.rescoring:
            self.mask_scoring = MaskScoring(num_classes)
        self._initialise()

    def _unit(self, channels: int) -> Callable[[], nn.Module]:
        if self.config.unit == "separable":
            return lambda: SeparableUnit(channels)
        norm = self.config.norm == "group"
        bias = not norm if self.config.tower_bias is None else self.config.tower_bias
        return lambda: ConvUnit(channels, norm, bias)

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
            begin_small = [self.coefficients.weight, self.basis.output.weight]
            begin_small += [self.embedding.conv.weight] if self.config.embedding else []
            for weight in begin_small:
                weight.data *= 0.3
        for conv in self.class_logits:
            nn.init.constant_(conv.bias, -4.595)  # type: ignore[arg-type]
        if self.config.alignment != "none":
            nn.init.zeros_(self.alignment.offset.weight)

    def forward(self, pyramid: Sequence[Tensor], stem: Tensor) -> HeadOutputs:
        """Pyramid levels float [B, channels, h, w] and the backbone's stride-4 map to raw outputs."""
        classes, centerness, distances, coefficient_features, sources = [], [], [], [], []
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
            coefficient_features.append(
                self.mask_tower(feature) if self.config.mask_units else class_feature
            )
            sources.append(box_feature if self.config.basis_source == "box_tower" else feature)
        basis = self.basis(sources[: PyramidSum.levels], stem)
        return HeadOutputs(
            classes,
            centerness,
            distances,
            coefficient_features,
            basis,
            self.track_features(pyramid),
        )

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
            share = raw.view(batch, 4, bins, height, width).softmax(2)
            return (share * torch.arange(bins, device=raw.device).view(1, 1, -1, 1, 1)).sum(2)
        scaled = raw * self.scales[level]
        return torch.relu(scaled) if self.config.box_distances == "relu" else scaled

    def coefficient_maps(self, outputs: HeadOutputs) -> list[Tensor]:
        """Coefficients at every cell: float [B, sub_regions^2 * bases, h, w] per level. For training."""
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
        """Coefficients only at cells (rows, columns) int64 [P] of one level: float [P, k * k * bases]."""
        feature = outputs.coefficient_features[level][item]
        if self.config.alignment != "coefficients":
            return conv_at(feature, self.coefficients, rows, columns)
        distances = outputs.box_distances[level][item] / self.strides[level]
        aligned = self.alignment.at(feature, distances, rows, columns)
        return F.linear(aligned, self.coefficients.weight.flatten(1), self.coefficients.bias)

    def embedding_map(self, features: Sequence[Tensor]) -> Tensor:
        """Track-tower features to the whole tracking map, float [B, E, H / 8, W / 8]. For training."""
        result: Tensor = self.embedding(features)
        return result

    def embeddings_at(self, outputs: HeadOutputs, item: int, boxes: Tensor) -> Tensor:
        """Embeddings float [N, E] at the centres of boxes float [N, 4], model-input pixels."""
        features = [feature[item] for feature in outputs.embedding_features]
        if not features:
            return boxes.new_zeros(len(boxes), 0)
        height, width = features[0].shape[-2:]
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / EMBEDDING_STRIDE
        columns = centres[:, 0].floor().long().clamp(0, width - 1)
        rows = centres[:, 1].floor().long().clamp(0, height - 1)
        return self.embedding.at(features, rows, columns)
