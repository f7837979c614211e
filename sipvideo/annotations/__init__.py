"""Annotation and result files in the layouts of COCO, YouTube-VIS and OVIS, as anybody may have written them.

What such a file says is believed nowhere else in the program before it has gone through here: JSON is parsed by
:func:`read_json`, the fields that readers use get their types and limits by :func:`read_content`, and a mask reaches
pycocotools, which is native code and checks nothing, only by :func:`to_rle`.
"""

from sipvideo.annotations.content import Problem, place_of, read_content
from sipvideo.annotations.fields import (
    ANNOTATION,
    CATEGORY,
    ENTRY,
    MAX_PIXELS,
    RESULT,
    Json,
    identifier,
    in_reach,
    number,
    read_fields,
    shown,
    whole,
)
from sipvideo.annotations.files import read_json
from sipvideo.annotations.masks import read_segmentation, run_lengths, to_rle

__all__ = [
    "ANNOTATION",
    "CATEGORY",
    "ENTRY",
    "MAX_PIXELS",
    "RESULT",
    "Json",
    "Problem",
    "identifier",
    "in_reach",
    "number",
    "place_of",
    "read_content",
    "read_fields",
    "read_json",
    "read_segmentation",
    "run_lengths",
    "shown",
    "to_rle",
    "whole",
]
