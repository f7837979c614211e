"""Raw outputs of the dense network to detections in frame pixels, in numpy: needs no deep-learning framework."""

from __future__ import annotations

from sipvideo.postprocess.detections import Postprocess
from sipvideo.postprocess.objects import ObjectHead
from sipvideo.postprocess.outputs import DenseOutputs

__all__ = ["DenseOutputs", "ObjectHead", "Postprocess"]
