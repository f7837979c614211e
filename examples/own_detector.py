"""Moving things as objects: a detector of a few lines, with sipvideo's identities, zones and results around it.

    sipvideo video examples/pedestrians.mp4 --segmenter examples.own_detector:detect -o moving

A function gets a Frame (its picture is uint8 [H, W, 3], RGB) and gives Detections. One that runs another library's
model looks the same: ``sipvideo.exchange.libraries.from_supervision`` makes Detections of whatever supervision reads.
"""

from __future__ import annotations

import cv2
import numpy as np

from sipvideo.masks import CompactMasks
from sipvideo.structures import Detections, Frame
from sipvideo.transforms import grey_picture

class_names = ("moving",)
SMALLEST = 300
"""Pixels."""
_background = cv2.createBackgroundSubtractorMOG2(history=50, detectShadows=False)


def detect(frame: Frame) -> Detections:
    """What differs from the background, one object per connected region."""
    moving = cv2.medianBlur(_background.apply(frame.image), 7)
    moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    _, regions, figures, _ = cv2.connectedComponentsWithStats(moving)
    chosen = [k for k in range(1, len(figures)) if figures[k, cv2.CC_STAT_AREA] >= SMALLEST]
    if frame.index < 5 or not chosen:  # it has to see the background first
        return Detections.empty(frame.size)
    masks = CompactMasks.from_dense(np.stack([regions == k for k in chosen]))
    return Detections(
        boxes=masks.windows.astype(np.float32),
        scores=np.full(len(chosen), 0.9, np.float32),
        labels=np.zeros(len(chosen), np.int64),
        masks=masks,
        embeddings=np.zeros((len(chosen), 0), np.float32),
        grey=grey_picture(frame.image),
    )
