"""``sipvideo video``: the command, and its parts."""

from sipvideo.apps.video.command import main, parse
from sipvideo.apps.video.run import run

__all__ = ["main", "parse", "run"]
