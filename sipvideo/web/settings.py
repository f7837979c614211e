"""What the server was asked to be: where it listens, who may come in, how much they may use."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sipvideo.showing import ShowingOptions


@dataclass(frozen=True)
class Person:
    """Somebody who was given a link of his own.

    Attributes:
        name: in logs.
        edits: whether he may change anything.
        frames: first and last frame of runs that he may change; None: all.
    """

    name: str = ""
    edits: bool = True
    frames: tuple[int, int] | None = None


@dataclass(frozen=True)
class Settings:
    """Addresses and limits of one server.

    Attributes:
        host: name or address to listen on.
        token: what visitors must show; None: whoever reaches the server may use it.
        max_upload: bytes of one uploaded video.
        max_duration: seconds of one uploaded video.
        max_jobs: videos processed at the same time; twice as many may wait.
        max_visitors: live connections at the same time.
        allow_sources: whoever may use the server may add live sources and remove them.
        keep: seconds until an upload's results are removed.
        data: folder of uploads and results; None: a temporary one, removed at the end.
        people: those who were given links of their own, by their tokens; with them there is a token for all others.
        showing: how results look: videos of uploads, and the page's live pictures at first.
    """

    host: str = "127.0.0.1"
    token: str | None = None
    max_upload: int = 500 * 1024 * 1024
    max_duration: float = 600.0
    max_jobs: int = 2
    max_visitors: int = 50
    allow_sources: bool = False
    keep: float = 3600.0
    data: Path | None = None
    people: Mapping[str, Person] = field(default_factory=dict)
    showing: ShowingOptions = field(default_factory=ShowingOptions)

    @property
    def on_loopback(self) -> bool:
        """Whether only programs of this machine reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a name or address (without port) means this machine itself."""
    name = host.strip("[]").lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
