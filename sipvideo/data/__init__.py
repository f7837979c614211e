"""Training data: readers, augmentation, batches."""

from sipvideo.data.augment import Augmentation
from sipvideo.data.batch import Batch, PackedBatch, collate
from sipvideo.data.coco import CocoPictures
from sipvideo.data.dataset import open_dataset
from sipvideo.data.sample import ClipSource, Sample
from sipvideo.data.stream import ClipStream, ScaleRange, StreamConfig
from sipvideo.data.youtube_vis import Video, YouTubeVis

__all__ = [
    "Augmentation",
    "Batch",
    "ClipSource",
    "ClipStream",
    "CocoPictures",
    "PackedBatch",
    "Sample",
    "ScaleRange",
    "StreamConfig",
    "Video",
    "YouTubeVis",
    "collate",
    "open_dataset",
]
