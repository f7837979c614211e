"""``sipvideo video``: the command, and its parts."""

from sipvideo.apps.video.command import add_executor_flags, main, parse
from sipvideo.apps.video.run import restored, run

__all__ = ["add_executor_flags", "main", "parse", "restored", "run"]
