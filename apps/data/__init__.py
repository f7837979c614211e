"""``sipvideo data``: the command, and its sub-commands."""

from sipvideo.apps.data.command import main

__all__ = ["main"]
