"""The published inference written down plainly: every map dense, four full masks per object, no shortcut.

The yardstick of the program: tests hold each shortcut against it, and ``sipvideo bench`` measures against it.
Frames that a user waits for never come through here.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from sipvideo.config import Config
from sipvideo.masks import CompactMasks
from sipvideo.model.alignment import BoxGrid, FeatureAlignment
from sipvideo.model.basis import PyramidSum
from sipvideo.model.head import SipMaskHead
from sipvideo.model.sipmask import SipMask
from sipvideo.model.targets import widened
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import FrameTransform, Geometry


def aligned(alignment: FeatureAlignment, feature: Tensor, distances: Tensor) -> Tensor:
    """Feature alignment by the library's deformable convolution; arguments as the module's."""
    conv = alignment.conv
    x = deform_conv2d(feature, alignment.offset(distances), conv.weight, conv.bias, padding=1)
    return torch.relu(alignment.norm(x) if alignment.use_norm else x)


def concatenated(branch: PyramidSum, features: list[Tensor]) -> Tensor:
    """Upsample three levels, concatenate, convolve: what :class:`PyramidSum` reorders."""
    size = features[0].shape[-2:]
    upsampled = [F.interpolate(f, size=size, mode="bilinear") for f in features]
    result: Tensor = branch.conv(torch.cat(upsampled, 1))
    return result


def boxes_of_cells(distances: Tensor, stride: int, offset: int) -> Tensor:
    """The box that every cell of a map [1, 4, h, w] predicts, row by row: float [h * w, 4]; input pixels."""
    height, width = distances.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack((x, y), -1).view(-1, 2) * stride + offset
    left_top, right_bottom = distances[0].flatten(1).t().chunk(2, 1)
    return torch.cat((points - left_top, points + right_bottom), 1)


def grid_coefficients(grid: BoxGrid, maps: list[tuple[Tensor, int]], boxes: Tensor) -> Tensor:
    """Coefficients float [N, k * k * K] of boxes [N, 4] from maps [C, h, w] with their strides."""
    seen = torch.cat([taps_of(one, boxes, grid.side, grid.margin) for one in maps], -1)
    reduced = F.leaky_relu(grid.reduce(seen), 0.1)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1).log() - 4
    hidden = F.leaky_relu(grid.hidden(torch.cat((reduced.flatten(1), sides), 1)), 0.1)
    found = [grid.output(hidden)]
    if grid.own is not None:
        there = taps_of(maps[1], boxes, grid.own.side, grid.margin)
        found.append(grid.own(reduced, there, hidden, found[0]))
    if grid.quality is not None:
        found.append(grid.quality(hidden))
    return torch.cat(found, 1)


def taps_of(seen: tuple[Tensor, int], boxes: Tensor, side: int, margin: float) -> Tensor:
    """A map [C, h, w] with its stride, at side * side places of boxes [N, 4], row by row: float [N, side^2, C]."""
    feature, stride = seen
    share = ((torch.arange(side) + 0.5) / side - 0.5) * (1 + 2 * margin) + 0.5
    where = torch.stack(torch.meshgrid(share, share, indexing="xy"), -1)
    taps = boxes[:, None, None, :2] + where * (boxes[:, 2:] - boxes[:, :2])[:, None, None]
    height, width = feature.shape[-2:]
    places = taps / stride / torch.tensor([width, height]) * 2 - 1
    one = feature[None].expand(len(boxes), -1, -1, -1)
    found = F.grid_sample(one, places, align_corners=False)
    return found.permute(0, 2, 3, 1).flatten(1, 2)


def coefficient_maps(
    head: SipMaskHead, features: list[Tensor], distances: list[Tensor], basis: Tensor
) -> list[Tensor]:
    """Coefficients at every cell; features and distances (input pixels) per level, basis [1, K, H, W]."""
    maps = []
    for level, (distance, stride) in enumerate(zip(distances, head.strides, strict=True)):
        read = min(level, len(features) - 1)
        feature = features[read]
        if isinstance(head.coefficients, BoxGrid):
            seen = [(feature[0], head.strides[read]), (basis[0], head.basis_stride)]
            boxes = boxes_of_cells(distance, stride, head.config.cell_offset(stride))
            # A thousand boxes at a time keep memory in bounds.
            found = [
                grid_coefficients(head.coefficients, seen, b) for b in torch.split(boxes, 1000)
            ]
            maps.append(torch.cat(found).t().reshape(1, -1, *distance.shape[-2:]))
            continue
        if head.config.alignment == "coefficients":
            feature = aligned(head.alignment, feature, distance / stride)
        maps.append(head.coefficients(feature))
    return maps


def masks_of(
    basis: Tensor, coefficients: Tensor, boxes: Tensor, parts: int, map_side: int = 0
) -> Tensor:
    """Section 3.1 literally: parts^2 full maps per object, each pixel read from the map of its part.

    Args:
        basis: float [K, H, W].
        coefficients: float [N, parts * parts * K]; what stands behind these and the object's own map is not read.
        boxes: float32 [N, 4], basis pixels.
        parts: sub-regions per side.
        map_side: side of the objects' own maps; 0: they have none.

    Returns:
        float [N, H, W], 0 outside the boxes.
    """
    bases, height, width = basis.shape
    count = len(boxes)
    per_part = (coefficients.shape[1] - map_side**2) // parts**2
    vectors = coefficients[:, : parts**2 * per_part].view(count, parts**2, per_part)
    maps = (vectors[..., :bases] @ basis.view(bases, -1)).view(count, parts**2, height, width)
    x, y = torch.arange(width).view(1, 1, -1), torch.arange(height).view(1, -1, 1)
    x0, y0, x1, y1 = boxes.view(count, 4, 1, 1).unbind(1)
    u = (2 * (x + 0.5) - x0 - x1) / (x1 - x0) + 0 * y
    v = (2 * (y + 0.5) - y0 - y1) / (y1 - y0) + 0 * x
    if per_part > bases:
        shape = torch.stack((torch.ones_like(u), u, v, u * u, v * v, u * v), 1)
        maps = maps + (vectors[..., bases:] @ shape.flatten(2)).view_as(maps)
    if map_side:
        own = coefficients[:, parts**2 * per_part :][:, : map_side**2].view(count, 1, map_side, -1)
        places = torch.stack((u, v), -1)
        maps = maps + F.grid_sample(own, places, padding_mode="border", align_corners=False)
    maps = maps.sigmoid()
    step_x = (((x1 - x0).double() + 0.1) / parts).float()
    step_y = (((y1 - y0).double() + 0.1) / parts).float()
    column = ((x - x0) / step_x).long().clamp(0, parts - 1)
    row = ((y - y0) / step_y).long().clamp(0, parts - 1)
    chosen = maps.gather(1, (row * parts + column)[:, None])[:, 0]
    inside = (x >= x0) & (y >= y0) & (x < x1) & (y < y1)
    return chosen * inside


def pasted(
    masks: Tensor, size: tuple[int, int], frame_size: tuple[int, int], threshold: float
) -> Tensor:
    """Low-resolution masks float [N, h, w] resized to ``size``, thresholded, on frames bool [N, H, W]."""
    canvas = torch.zeros(len(masks), *frame_size, dtype=torch.bool)
    if len(masks):
        large = F.interpolate(masks[:, None], size=size, mode="bilinear")[:, 0] > threshold
        large = large[:, : frame_size[0], : frame_size[1]]
        canvas[:, : large.shape[1], : large.shape[2]] = large
    return canvas


def fast_nms(boxes: Tensor, scores: Tensor, iou: float, threshold: float) -> list[tuple[int, int]]:
    """YOLACT's suppression by definition: (index, label) pairs of boxes [N, 4] and scores [N, C]."""
    kept = []
    for label in range(scores.shape[1]):
        order = scores[:, label].argsort(descending=True, stable=True)[:200].tolist()
        for rank, i in enumerate(order):
            better = boxes[order[:rank]]
            overlaps = _overlaps(better, boxes[i])
            if bool((overlaps <= iou).all()) and float(scores[i, label]) > threshold:
                kept.append((i, label))
    return kept


def classwise_nms(
    boxes: Tensor, scores: Tensor, iou: float, threshold: float, pixel: float
) -> list[tuple[int, int]]:
    """Ordinary greedy suppression by definition: (index, label) pairs; ``pixel`` as in the configuration."""
    closed = boxes + torch.tensor([0, 0, pixel, pixel])
    kept = []
    for label in range(scores.shape[1]):
        winners: list[int] = []
        for i in scores[:, label].argsort(descending=True, stable=True).tolist():
            if float(scores[i, label]) <= threshold:
                break
            if not bool((_overlaps(closed[winners], closed[i]) > iou).any()):
                winners.append(i)
        kept += [(i, label) for i in winners]
    return kept


def _overlaps(boxes: Tensor, box: Tensor) -> Tensor:
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    intersection = (high - low).clamp(min=0).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod() - intersection
    return intersection / union


class PlainSegmenter:
    """Frame -> detections like :class:`sipvideo.engine.HostEngine`, plainly, on the CPU.

    Args:
        model: the network with weights.
        config: its configuration; models that threshold the class alone or re-score masks are not covered.
    """

    def __init__(self, model: SipMask, config: Config) -> None:
        rules = config.postprocess
        if rules.threshold_on != "score" or rules.score != "product" or config.head.rescoring:
            raise ValueError("the plain form does not cover thresholds on the class and re-scoring")
        self.model = model.eval()
        self.transform = FrameTransform(config.input)
        self.config = config.postprocess

    @torch.inference_mode()
    def __call__(self, frame: Frame) -> Detections:
        """Detections of one frame, frame pixels, by descending score."""
        image, geometry = self.transform(frame)
        return self.detections(*self.dense(torch.from_numpy(image)[None]), geometry)

    def dense(
        self, images: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor, Tensor]:
        """All maps of one input [1, 3, H, W]: scores, distances and coefficients per level, basis, embeddings."""
        head = self.model.head
        pyramid, trunk = self.model.pyramid(images)
        mask_levels = head.mask_levels(pyramid, trunk)
        scores, distances, features, sources = [], [], [], []
        for level, feature in enumerate(pyramid):
            which = 0 if head.config.levels_share_towers else level
            classes = head.class_towers[which](feature)
            boxes = head.box_towers[which](feature) if head.config.box_units else classes
            in_strides = head._distances(head.box_distances[which](boxes), level)
            if head.config.alignment == "classes_and_coefficients":
                classes = aligned(head.alignment, classes, in_strides)
            score = head.class_logits[which](classes).sigmoid()
            if head.centerness is not None:
                score = score * head.centerness[which](boxes).sigmoid()
            scores.append(score)
            distances.append(in_strides * head.strides[level])
            features.append(classes)
            sources.append(boxes)
        if head.config.mask_units:
            features = [head.mask_tower(level) for level in mask_levels]
        if head.config.basis_source == "pyramid":
            sources = list(mask_levels)
        basis = self._basis(sources[: PyramidSum.levels], trunk)
        maps = coefficient_maps(head, features, distances, basis)
        embeddings = images.new_zeros(1, 0, *pyramid[0].shape[-2:])
        if head.config.embedding:
            embeddings = concatenated(head.embedding, head.track_features(pyramid))
        return scores, distances, maps, basis, embeddings

    def _basis(self, sources: list[Tensor], trunk: list[Tensor]) -> Tensor:
        branch = self.model.head.basis
        if branch.refined:
            return branch(sources, trunk)  # type: ignore[no-any-return]
        x = torch.relu(branch.output(torch.relu(concatenated(branch.lateral, sources))))
        return F.interpolate(x, scale_factor=branch.upsample, mode="bilinear")

    def detections(
        self,
        scores: list[Tensor],
        distances: list[Tensor],
        coefficients: list[Tensor],
        basis: Tensor,
        embeddings: Tensor,
        geometry: Geometry,
    ) -> Detections:
        """Candidates, suppression and masks by their definitions."""
        height, width = geometry.resized_size
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for level, stride in enumerate(self.model.head.strides):
            h, w = scores[level].shape[-2:]
            y, x = (
                t.flatten() for t in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            )
            score = scores[level][0].flatten(1).t()
            sides = distances[level][0].flatten(1).t()
            offset = self.model.head.config.cell_offset(stride)
            centre = torch.stack((x, y, x, y), 1) * stride + offset
            box = centre + sides * torch.tensor([-1, -1, 1, 1])
            box[:, 0::2].clamp_(0, width - 1)
            box[:, 1::2].clamp_(0, height - 1)
            best = torch.arange(len(score))
            if len(best) > self.config.candidates_per_level:
                best = score.amax(1).topk(self.config.candidates_per_level).indices
            parts.append((box[best], score[best], coefficients[level][0].flatten(1).t()[best]))
        boxes, all_scores, vectors = (torch.cat(column) for column in zip(*parts, strict=True))
        scale = torch.from_numpy(geometry.box_scale())
        boxes = boxes / scale
        rules = (self.config.nms_iou, self.config.score_threshold)
        if self.config.nms == "fast":
            pairs = fast_nms(boxes, all_scores, *rules)
        else:
            pairs = classwise_nms(boxes, all_scores, *rules, self.config.nms_pixel)
        pairs.sort(key=lambda pair: -float(all_scores[pair]))
        pairs = pairs[: self.config.max_detections]
        index = torch.tensor([i for i, _ in pairs], dtype=torch.int64)
        labels = torch.tensor([label for _, label in pairs], dtype=torch.int64)
        chosen = boxes[index]
        stride = self.model.head.basis_stride
        head = self.model.head.config
        reach = widened(chosen * scale / stride, head.mask_margin)
        low = masks_of(basis[0], vectors[index], reach, head.sub_regions, head.map_side)
        size = geometry.upsampled_size(
            (basis.shape[2], basis.shape[3]), stride, self.config.mask_scale
        )
        full = pasted(low, size, geometry.frame_size, self.config.mask_threshold)
        centres = ((chosen * scale)[:, :2] + (chosen * scale)[:, 2:]) / 2
        columns, rows = (centres / 8).floor().long().unbind(1)
        return Detections(
            boxes=chosen.numpy(),
            scores=all_scores[index, labels].numpy(),
            labels=labels.numpy(),
            masks=CompactMasks.from_dense(full.numpy()),
            embeddings=np.ascontiguousarray(embeddings[0][:, rows, columns].t().numpy()),
        )
