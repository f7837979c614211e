"""A real server on a free port, with a segmenter that finds what the scene's script says."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from sipvideo.config import TrackerConfig
from sipvideo.live import LiveSession
from sipvideo.live.recording import Recording
from sipvideo.pipeline import VideoSegmenter
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from sipvideo.web.server import Server, create_app, listen, make_server
from sipvideo.web.settings import Settings
from sipvideo.web.state import ServerState
from sipvideo.web.wire import pack, unpack
from sipvideo.web.zones import KeptZones
from tests.apps.scripted import CLASSES, shots
from tests.waiting import PATIENCE, until

LASTING = TrackerConfig(max_age=600)
"""Identities outlast every pause of a busy machine."""


def segmenter(delay: float | Callable[[], object] = 0.0) -> VideoSegmenter:
    """Two actors in every frame, wherever the script has them by then.

    Args:
        delay: seconds per frame, or what is to be waited for before each.
    """
    script = [shot.detections for shot in shots(1.0)]

    def detect(frame: Frame) -> Detections:
        time.sleep(delay) if isinstance(delay, float | int) else delay()
        return script[frame.index % len(script)]

    return VideoSegmenter(detect, build_tracker(LASTING), CLASSES)


@dataclass
class Running:
    """A server under test."""

    address: str
    state: ServerState
    http: httpx.Client

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """A WebSocket to a path."""
        options = {"open_timeout": PATIENCE, "max_size": 2**24} | options
        return connect(self.address.replace("http", "ws") + path, **options)

    def upload(self, path: Path, name: str | None = None) -> httpx.Response:
        """Sends a file as the page does."""
        query = {"name": path.name if name is None else name}
        return self.http.post("/api/jobs", params=query, content=path.read_bytes())

    def wait(self, key: str, *states: str) -> dict[str, Any]:
        """The job once it is in one of those states."""
        job: dict[str, Any] = {}

        def is_there() -> bool:
            job.update(self.http.get(f"/api/jobs/{key}").json())
            return job["state"] in states

        until(is_there)
        return job


@contextlib.contextmanager
def serving(
    settings: Settings | None = None,
    sources: Mapping[str, str] | None = None,
    *,
    delay: float | Callable[[], object] = 0.0,
    loop: bool = True,
    port: int = 0,
    recorder: Callable[[str, str], Recording] | None = None,
    zones: KeptZones | None = None,
    session: LiveSession | None = None,
) -> Iterator[Running]:
    """Serves until the block ends; ``delay`` as in :func:`segmenter`; ``session`` instead of ``sources``."""
    settings = settings or Settings()
    finder = segmenter(delay)
    session = LiveSession(finder, sources, loop=loop) if sources else session
    state = ServerState(finder, session, settings, "scripted", recorder=recorder, zones=zones)
    server = make_server(create_app(state), state)
    with served(server, port) as (address, http):
        yield Running(address, state, http)


@contextlib.contextmanager
def served(server: Server, port: int = 0) -> Iterator[tuple[str, httpx.Client]]:
    """Lets a server run in a thread until the block ends: its address, and a client of it."""
    with listen("127.0.0.1", port) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            with httpx.Client(base_url=address, timeout=PATIENCE) as http:
                yield address, http
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def jpeg(size: tuple[int, int] = (96, 128), kind: str = "JPEG") -> bytes:
    """A picture as a visitor's browser sends it."""
    file = BytesIO()
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(file, kind)
    return file.getvalue()


def send_picture(socket: ClientConnection, stamp: float, picture: bytes | None = None) -> None:
    """One picture of a visitor's webcam."""
    socket.send(pack({"captured": stamp}, jpeg() if picture is None else picture))


def receive(socket: ClientConnection, timeout: float = PATIENCE) -> tuple[dict[str, Any], bytes]:
    """The next message, text or binary."""
    message = socket.recv(timeout)
    return (json.loads(message), b"") if isinstance(message, str) else unpack(message)


def receive_result(
    socket: ClientConnection, timeout: float = PATIENCE
) -> tuple[dict[str, Any], bytes]:
    """The next message that is not about a state."""
    while True:
        header, rest = receive(socket, timeout)
        if header["type"] in ("result", "problem"):
            return header, rest
        assert header.get("state") not in ("failing", "failed"), header
