"""A studio on a free port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sipvideo.pipeline import VideoSegmenter
from sipvideo.studio.shelf import Studio, places_in
from sipvideo.web.server import StudioState, create_studio_app, make_server
from sipvideo.web.settings import Settings
from tests.web.serving import served


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
    with served(make_server(create_studio_app(state), state)) as (address, http):
        yield Running(address, studio, http)
