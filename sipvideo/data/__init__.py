"""Training data: readers and augmentation."""

from sipvideo.data.augment import Augmentation, Batch, collate
from sipvideo.data.coco import CocoPictures, Sample

__all__ = ["Augmentation", "Batch", "CocoPictures", "Sample", "collate"]
