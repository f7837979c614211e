"""``sipvideo eval``: the command, and its parts."""

from sipvideo.apps.eval.command import main

__all__ = ["main"]
