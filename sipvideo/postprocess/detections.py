"""Raw outputs to detections in frame pixels: the one place where logits, distances and bases are converted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sipvideo.boxes import widened
from sipvideo.config import Config
from sipvideo.postprocess import candidates as candidate_cells
from sipvideo.postprocess import suppression
from sipvideo.postprocess.assembly import LowResMasks, assemble, to_frame
from sipvideo.postprocess.candidates import Candidates
from sipvideo.postprocess.objects import ObjectHead
from sipvideo.postprocess.outputs import DenseOutputs
from sipvideo.postprocess.sampling import sigmoid
from sipvideo.structures import Detections, FloatArray, IntArray
from sipvideo.transforms import Geometry


@dataclass(frozen=True, eq=False)
class Kept:
    """What survives non-maximum suppression: index into the candidates, label and score, all [n]."""

    index: IntArray
    label: IntArray
    score: FloatArray


class Postprocess:
    """Candidates, suppression, masks and embeddings of one input of a batch. Has no state.

    Args:
        config: the model's configuration.
        objects: reads coefficients, embeddings and mask scores where they are needed.
    """

    def __init__(self, config: Config, objects: ObjectHead) -> None:
        self.config = config.postprocess
        self.objects = objects

    def __call__(self, outputs: DenseOutputs, geometry: Geometry, item: int = 0) -> Detections:
        """Detections of input ``item``, frame pixels, by descending score."""
        candidates = self.candidates(outputs, geometry, item)
        # Published pipelines divide by the scale in float32 and multiply it back for the masks.
        scale = geometry.box_scale()
        frame_boxes = candidates.boxes / scale
        kept = self.suppress(candidates, frame_boxes)
        boxes = frame_boxes[kept.index]
        cells = (candidates.level, candidates.row, candidates.column)
        level, row, column = (values[kept.index] for values in cells)
        values = self.objects.coefficients(outputs, item, (level, row, column))
        head = self.objects.config
        count = head.coefficient_count
        masks = assemble(
            outputs.basis_masks[item],
            values[:, :count],
            widened(boxes * scale / np.float32(self.objects.basis_stride), head.mask_margin),
            head.sub_regions,
            head.map_side,
        )
        return Detections(
            boxes=boxes,
            scores=kept.score,
            labels=kept.label,
            masks=to_frame(
                masks,
                geometry.upsampled_size(
                    masks.map_size, self.objects.basis_stride, self.config.mask_scale
                ),
                geometry.frame_size,
                self.config.mask_threshold,
            ),
            embeddings=self.objects.embeddings(outputs, item, boxes * scale),
            mask_scores=self._mask_scores(masks, kept, values[:, count:]),
        )

    def candidates(self, outputs: DenseOutputs, geometry: Geometry, item: int = 0) -> Candidates:
        """The cells of input ``item`` that may become detections."""
        steps = tuple(
            (stride, self.objects.config.cell_offset(stride)) for stride in self.objects.strides
        )
        return candidate_cells.find(outputs, item, self.config, steps, geometry.resized_size)

    def suppress(self, candidates: Candidates, frame_boxes: FloatArray) -> Kept:
        """Non-maximum suppression per class over boxes float32 [N, 4], then the best by score."""
        config = self.config
        boxes, rule = frame_boxes, suppression.fast
        if config.nms == "classwise":
            rule = suppression.classwise
            # The FCOS tree suppresses before it returns to frame pixels.
            boxes = candidates.boxes if config.candidate_rule != "location" else frame_boxes
            # Closed pixel boxes: one more pixel at the far sides gives the same widths and overlaps.
            boxes = boxes + np.array([0, 0, config.nms_pixel, config.nms_pixel], np.float32)
        index, label = suppression.survivors(
            boxes,
            candidates.scores,
            candidates.valid,
            rule,
            (config.nms_iou, config.max_detections),
        )
        return Kept(index, label, candidates.scores[index, label])

    def _mask_scores(
        self, masks: LowResMasks, kept: Kept, quality: FloatArray
    ) -> FloatArray | None:
        """What masks are ranked by: score times the quality that the model or its probabilities tell."""
        if quality.shape[1]:
            return kept.score * sigmoid(quality[:, 0])
        if self.objects.config.rescoring:
            return kept.score * self._rescored(masks, kept.label)
        if self.config.mask_quality:
            return kept.score * masks.certainty(self.config.mask_threshold)
        return None

    def _rescored(self, masks: LowResMasks, labels: IntArray) -> FloatArray:
        """Expected mask IoU of each detection's own class (SipMask++): float32 [N]."""
        quality = np.zeros(len(masks), np.float32)
        # One at a time: the scoring network sees a whole low-resolution map per object.
        for k, probability in enumerate(masks.split()):
            x0, y0, x1, y1 = masks.windows[k]
            full = np.zeros(masks.map_size, np.float32)
            full[y0:y1, x0:x1] = probability
            quality[k] = self.objects.mask_quality(full, int(labels[k]))
        return quality
