"""Opens an annotated data set of either kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sipvideo.data.coco import CACHE_BYTES, CocoPictures
from sipvideo.data.instances import AnnotationFile
from sipvideo.data.youtube_vis import YouTubeVis


def open_dataset(
    path: str | Path | AnnotationFile,
    images: str | Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    *,
    cache_bytes: int = CACHE_BYTES,
    upright: bool = True,
) -> CocoPictures | YouTubeVis:
    """Opens an annotation file, still pictures or videos, whichever it holds.

    Args:
        path: json file in COCO's, YouTube-VIS' or OVIS' layout, or such a file that was parsed already.
        images: folder, tar or zip file of the pictures; by default the usual places near the file.
        split: keep only pictures or videos with this value of ``split``.
        classes: names in label order; by default the file's categories.
        cache_bytes: decoded pictures kept in memory take at most this much.
        upright: apply orientation marks also where a picture has the annotated size either way.

    Raises:
        DatasetError: as the readers.
    """
    file = AnnotationFile.load(path)
    reader = YouTubeVis if file.of_videos else CocoPictures
    return reader(file, images, split, classes, cache_bytes=cache_bytes, upright=upright)
