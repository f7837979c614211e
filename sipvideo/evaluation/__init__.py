"""Scores of results against annotations."""

from sipvideo.evaluation.oviseval import OVISeval
from sipvideo.evaluation.pictures import (
    OperatingPoint,
    PictureScores,
    evaluate_pictures,
    operating_point,
)
from sipvideo.evaluation.report import Report, compare, score
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.evaluation.ytvoseval import YTVOSeval

__all__ = [
    "YTVOS",
    "OVISeval",
    "OperatingPoint",
    "PictureScores",
    "Report",
    "YTVOSeval",
    "compare",
    "evaluate_pictures",
    "operating_point",
    "score",
]
