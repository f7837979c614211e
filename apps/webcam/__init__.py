"""``sipvideo webcam``: the command, its view and its window."""

from sipvideo.apps.webcam.command import main

__all__ = ["main"]
