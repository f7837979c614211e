"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


@pytest.fixture(scope="module")
def webcam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example film as Chromium's webcam plays it."""
    import av

    from tests.media import write_video
    from tests.web.browser import PEDESTRIANS

    path = tmp_path_factory.mktemp("webcam") / "webcam.mjpeg"
    pictures = []
    with av.open(str(PEDESTRIANS)) as film:
        for frame in film.decode(video=0):
            pictures.append(frame.reformat(640, 480, "rgb24").to_ndarray())
            if len(pictures) == 40:
                break
    return write_video(path, pictures, "mjpeg")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium


@pytest.fixture(scope="module")
def browser(chromium: Any, webcam: Path) -> Iterator[Any]:
    from tests.web.browser import CHROMIUM, FLAGS

    flags = [*FLAGS, f"--use-file-for-fake-video-capture={webcam}"]
    running = chromium.launch(executable_path=CHROMIUM, args=flags)
    yield running
    running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A tab; what goes wrong in it fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 860})
    tab = context.new_page()
    tab.set_default_timeout(30_000)
    troubles: list[str] = []
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    # A refusal that the page shows is no trouble.
    tab.on(
        "console",
        lambda told: (
            told.type == "error"
            and not any(f"status of {known}" in told.text for known in (409, 422))
            and troubles.append(told.text)
        ),
    )
    yield tab
    context.close()
    assert troubles == []
