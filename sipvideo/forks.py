"""Engines in forked processes: an error where they would wait for ever.

A library that computes with several threads starts them once in a process. A fork copies the process without its
threads, so that the library waits in the child for threads that are not there.
"""

from __future__ import annotations

import os

from sipvideo.errors import SipVideoError

_started: dict[str, int] = {}
"""The process in which a library's threads were started."""


def claim_threads(library: str, otherwise: str = "") -> None:
    """Called before a library computes with threads of its own.

    Args:
        library: its name, for people.
        otherwise: what else helps, for people.

    Raises:
        SipVideoError: its threads were started in a process of which this one is a fork.
    """
    here = os.getpid()
    if _started.setdefault(library, here) != here:
        raise SipVideoError(
            f"{library} was used before this process was forked, and its threads stayed behind: load the model only "
            f"after the fork, or start processes with multiprocessing's 'spawn'{otherwise}"
        )
