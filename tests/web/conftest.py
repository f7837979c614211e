"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs the packages of sipvideo[web]")
pytest.importorskip("uvicorn", reason="needs the packages of sipvideo[web]")
pytest.importorskip("httpx", reason="needs httpx")

from tests.apps.scripted import clip
from tests.web.serving import Running, serving


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of film."""
    return clip(tmp_path_factory.mktemp("clips") / "street.mp4")


@pytest.fixture(scope="module")
def server(street: Path) -> Iterator[Running]:
    """A server with one source."""
    with serving(sources={"1": str(street)}) as running:
        yield running
