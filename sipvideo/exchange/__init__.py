"""Annotations and results in other programs' formats: read into one form, and written from it, losses told."""

from sipvideo.exchange.collection import Collection, Film, Shape, Track
from sipvideo.exchange.formats import FORMATS, Request, Target, read, recognised
from sipvideo.exchange.placing import Placer
from sipvideo.exchange.runs import collected

__all__ = [
    "FORMATS",
    "Collection",
    "Film",
    "Placer",
    "Request",
    "Shape",
    "Target",
    "Track",
    "collected",
    "read",
    "recognised",
]
