"""Engines: from pictures to objects. ``Engine`` is all that the pipeline knows of them.

``HostEngine`` runs the dense network anywhere and does the rest in numpy.
"""

from sipvideo.engine.contract import Engine, FunctionEngine, Size
from sipvideo.engine.host import HostEngine
from sipvideo.engine.selection import Area, SelectingEngine
from sipvideo.engine.tiles import Tiles, parse_tiles
from sipvideo.engine.tiling import TilingEngine

__all__ = [
    "Area",
    "Engine",
    "FunctionEngine",
    "HostEngine",
    "SelectingEngine",
    "Size",
    "Tiles",
    "TilingEngine",
    "parse_tiles",
]
