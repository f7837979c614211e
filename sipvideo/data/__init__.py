"""Training data: readers, augmentation, batches."""

from sipvideo.data.augment import Augmentation
from sipvideo.data.batch import Batch, collate
from sipvideo.data.coco import CocoPictures
from sipvideo.data.sample import ClipSource, Sample
from sipvideo.data.stream import ClipStream, ScaleRange, StreamConfig

__all__ = [
    "Augmentation",
    "Batch",
    "ClipSource",
    "ClipStream",
    "CocoPictures",
    "Sample",
    "ScaleRange",
    "StreamConfig",
    "collate",
]
