"""Everything between uploaded frames and the bytes of their objects, for frames of one size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sipvideo.config import Config
from sipvideo.engine.tensors import candidates, suppression
from sipvideo.engine.tensors.candidates import Pairs
from sipvideo.engine.tensors.maps import Cells, taken
from sipvideo.engine.tensors.masks import FrameMasks, Probabilities, assemble
from sipvideo.engine.tensors.objects import Objects
from sipvideo.engine.tensors.small import SmallPicture
from sipvideo.engine.tensors.transfer import Layout
from sipvideo.engine.tensors.transform import PictureTransform
from sipvideo.model.head import HeadOutputs
from sipvideo.model.targets import widened
from sipvideo.postprocess.objects import EMBEDDING_LEVELS
from sipvideo.transforms import Geometry

LEAST_PAIRS = 256
PAIRS_PER_DETECTION = 8
"""So many (cell, class) pairs are compared for each wanted detection, and at least ``LEAST_PAIRS``."""

Network = Callable[[Tensor], HeadOutputs]


@dataclass(frozen=True, eq=False)
class Found:
    """What a step leaves on the device.

    Attributes:
        share: uint8 [B, layout.size], the bytes for the host.
        outputs: of the network, float32: what another way of post-processing begins with.
        probabilities: float32 [B, D, H, W], of the masks.
        windows: int64 [B, D, 4], frame pixels.
        valid: bool [B, D], the objects that there are.
    """

    share: Tensor
    outputs: HeadOutputs
    probabilities: Tensor
    windows: Tensor
    valid: Tensor


class FrameStep:
    """Frames uint8 on the device to their objects, in static shapes and without waiting for values.

    Args:
        network: model inputs to raw outputs.
        objects: the per-object part of the same network.
        config: its configuration.
        geometry: of the frames.
        device: where it runs.
        dtype: of the network.
    """

    def __init__(
        self,
        network: Network,
        objects: Objects,
        config: Config,
        geometry: Geometry,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.objects, self.geometry, self.dtype = network, objects, geometry, dtype
        self.config = config.postprocess
        self.transform = PictureTransform(config.input, geometry, device)
        self.small = SmallPicture(geometry.resized_size)
        height, width = geometry.padded_size
        sizes = [(-(-height // s), -(-width // s)) for s in objects.strides]
        steps = [(stride, objects.config.cell_offset(stride)) for stride in objects.strides]
        self.cells = Cells(sizes, steps, device)
        # Embeddings, and with a mask pyramid coefficients too, are read from the finest levels only.
        read = slice(EMBEDDING_LEVELS)
        self.fine_cells = Cells(sizes[read], steps[read], device)
        self.map_size = objects.map_size(geometry.padded_size)
        self.basis_cells = Cells([self.map_size], [(objects.basis_stride, 0)], device)
        self.limits = torch.tensor(geometry.resized_size[::-1] * 2, device=device).float() - 1
        self.scale = torch.from_numpy(geometry.box_scale()).to(device)
        upsampled = geometry.upsampled_size(
            self.map_size, objects.basis_stride, self.config.mask_scale
        )
        self.masks = FrameMasks(
            self.map_size, upsampled, geometry.frame_size, self.config.mask_threshold, device
        )
        head = objects.config
        self.scored_masks = head.grid_quality or head.rescoring or self.config.mask_quality
        self.layout = Layout(
            self.config.max_detections,
            objects.config.embedding,
            self.scored_masks,
            self.small.size,
            geometry.frame_size,
        )

    def __call__(self, frames: Tensor) -> Found:
        """Frames uint8 [B, H, W, 3], RGB, to their objects."""
        pictures = self.transform.resized(frames)
        outputs = self.network(self.transform.normalised(pictures).to(self.dtype)).single()
        return self.objects_of(outputs, pictures)

    def objects_of(self, outputs: HeadOutputs, pictures: Tensor) -> Found:
        """The step behind the network; pictures int32 [B, h, w, 3] are the scaled frames."""
        most = self.config.max_detections
        pairs = candidates.find(
            outputs,
            self.config,
            self.cells,
            self.limits,
            max(LEAST_PAIRS, PAIRS_PER_DETECTION * most),
        )
        kept, settled = self._suppressed(pairs)
        number, count = suppression.first(kept, most)
        settled = settled & (pairs.complete | (count == most))
        valid = torch.arange(most, device=count.device) < count[:, None]
        # Published pipelines divide by the scale in float32 and multiply it back for the masks.
        boxes = taken(pairs.boxes, number) / self.scale * valid[..., None]
        scores, labels, cell = (
            values.gather(1, number) for values in (pairs.scores, pairs.labels, pairs.cell)
        )
        input_boxes = boxes * self.scale
        basis = self.basis_cells.rows([outputs.basis_masks])
        fewer = len(outputs.coefficient_features) < len(outputs.class_logits)
        values = self.objects.coefficients(
            outputs,
            (self.cells, self.fine_cells if fewer else self.cells),
            (basis, self.basis_cells),
            cell,
        )
        head = self.objects.config
        coefficients = head.coefficient_count
        masks = assemble(
            basis,
            values[..., :coefficients],
            widened(input_boxes / self.objects.basis_stride, head.mask_margin),
            self.map_size,
            head.sub_regions,
            head.map_side,
        )
        windows = self.masks.windows(masks.windows)
        _, sizes = self.masks.sizes(windows)
        share = self.layout.packed(
            {
                "counts": torch.stack((count, (sizes * valid).sum(1), settled.long()), 1),
                "boxes": boxes,
                "scores": scores,
                "labels": labels,
                "windows": windows,
                "mask_scores": self._mask_scores(
                    masks, (scores, labels), values[..., coefficients:]
                ),
                "embeddings": self.objects.embeddings(outputs, self.fine_cells, input_boxes),
                "small": self.small(pictures),
                "bits": self.masks.bits(
                    masks.maps, windows, valid, torch.zeros_like(count[:1]), self.layout.mask_bytes
                ),
            }
        )
        return Found(share, outputs, masks.maps, windows, valid)

    def bits(self, found: Found, start: Tensor) -> Tensor:
        """Bytes of the masks from byte ``start`` int64 [1] on: uint8 [B, layout.mask_bytes]."""
        count = self.layout.mask_bytes
        return self.masks.bits(found.probabilities, found.windows, found.valid, start, count)

    def _suppressed(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Which pairs stay, bool [B, M], and whether that is settled, bool [B]."""
        config = self.config
        boxes, rule = pairs.boxes / self.scale, suppression.fast
        if config.nms == "classwise":
            rule = suppression.classwise
            # The FCOS tree suppresses before it returns to frame pixels.
            boxes = pairs.boxes if config.candidate_rule != "location" else boxes
            # Closed pixel boxes: one more pixel at the far sides gives the same widths and overlaps.
            boxes = torch.cat((boxes[..., :2], boxes[..., 2:] + config.nms_pixel), 2)
        kept, settled = rule(boxes, pairs.labels, config.nms_iou)
        return kept & pairs.valid, settled

    def _mask_scores(
        self, masks: Probabilities, found: tuple[Tensor, Tensor], quality: Tensor
    ) -> Tensor:
        """What masks are ranked by: score times the quality that the model or its probabilities tell."""
        scores, labels = found
        if quality.shape[2]:
            return scores * quality[..., 0].sigmoid()
        if self.objects.config.rescoring:
            each = [
                self.objects.mask_quality(maps, label)
                for maps, label in zip(masks.maps, labels, strict=True)
            ]
            return scores * torch.stack(each)
        if self.config.mask_quality:
            return scores * masks.certainty(self.config.mask_threshold)
        return scores
