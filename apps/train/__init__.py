"""``sipvideo train``: the command; its data and its validation."""

from sipvideo.apps.train.command import main

__all__ = ["main"]
