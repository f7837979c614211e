"""A studio on a free port."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sipvideo.pipeline import VideoSegmenter
from sipvideo.studio.shelf import Studio, places_in
from sipvideo.web.server import StudioState, create_studio_app, listen, make_server
from sipvideo.web.settings import Settings
from tests.waiting import PATIENCE, until


@dataclass
class Running:
    """A studio under test."""

    address: str
    studio: Studio
    http: httpx.Client

    def get(self, path: str, **query: Any) -> Any:
        """What a route below /api/studio answers."""
        answer = self.http.get(f"/api/studio{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        """What a route below /api/studio answers to a change."""
        answer = self.http.post(f"/api/studio{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextlib.contextmanager
def serving_studio(
    folder: Path,
    settings: Settings | None = None,
    load: Callable[[], VideoSegmenter] | None = None,
) -> Iterator[Running]:
    """Serves the runs in a folder until the block ends."""
    studio = Studio(lambda: places_in(folder), load=load, owner=True, author="ann")
    state = StudioState(studio, settings or Settings())
    server = make_server(create_studio_app(state), state)
    with listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started or not thread.is_alive())
            with httpx.Client(base_url=address, timeout=PATIENCE) as http:
                yield Running(address, studio, http)
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()
