"""Where results go: annotated videos and pictures, benchmark files, json lines, label maps, tables.

Every sink is a context manager with ``write(result)`` and ``close()``; see :class:`Sink` for what happens on errors.
"""

from sipvideo.sinks.appearance import AppearanceTable
from sipvideo.sinks.callback import Callback
from sipvideo.sinks.explanations import Explanations
from sipvideo.sinks.pictures import AnnotatedPicture, AnnotatedPictures, LabelMapPngs
from sipvideo.sinks.results import CocoRleLines, MotsText, YouTubeVISResults, result_record
from sipvideo.sinks.sink import Sink
from sipvideo.sinks.table import TrackTable
from sipvideo.sinks.transparent import ProResVideo, TransparentVideo
from sipvideo.sinks.video import AnnotatedVideo

__all__ = [
    "AnnotatedPicture",
    "AnnotatedPictures",
    "AnnotatedVideo",
    "AppearanceTable",
    "Callback",
    "CocoRleLines",
    "Explanations",
    "LabelMapPngs",
    "MotsText",
    "ProResVideo",
    "Sink",
    "TrackTable",
    "TransparentVideo",
    "YouTubeVISResults",
    "result_record",
]
