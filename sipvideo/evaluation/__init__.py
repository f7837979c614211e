"""Scores of results against annotations."""

from sipvideo.evaluation.oviseval import OVISeval
from sipvideo.evaluation.pictures import PictureScores, evaluate_pictures
from sipvideo.evaluation.report import Report, compare, score
from sipvideo.evaluation.ytvos import YTVOS
from sipvideo.evaluation.ytvoseval import YTVOSeval

__all__ = [
    "YTVOS",
    "OVISeval",
    "PictureScores",
    "Report",
    "YTVOSeval",
    "compare",
    "evaluate_pictures",
    "score",
]
