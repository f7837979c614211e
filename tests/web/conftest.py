"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.web.serving import Running

MISSING = [name for name in ("fastapi", "httpx", "uvicorn", "websockets") if not find_spec(name)]


class SkippedModule(pytest.Module):
    """A file of tests that need what is not installed."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        pytest.skip(f"not installed: {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Module | None:
    """Without the packages of the page, these files cannot even be imported."""
    return SkippedModule.from_parent(parent, path=module_path) if MISSING else None


@pytest.fixture(scope="session")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of film."""
    from tests.apps.scripted import clip

    return clip(tmp_path_factory.mktemp("clips") / "street.mp4")


@pytest.fixture(scope="module")
def server(street: Path) -> Iterator[Running]:
    """A server with one source."""
    from tests.web.serving import serving

    with serving(sources={"1": str(street)}) as running:
        yield running
