"""``sipvideo explain``: the command; its words and its pictures."""

from sipvideo.apps.explain.command import main

__all__ = ["main"]
