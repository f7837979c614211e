"""``sipvideo studio``: the command; what it opens, what it writes, whom it invites."""

from sipvideo.apps.studio.command import main

__all__ = ["main"]
