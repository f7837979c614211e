"""What a scripted person works at: a rendered minute of film as a run, a studio that serves it, and a browser."""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sipvideo.evaluation.replay import Replay
    from sipvideo.structures import FrameResult


def rendered(work: Path, seed: int) -> Replay:
    """A rendered minute, and what the default model finds in it; kept."""
    from sipvideo.apps.data import synth
    from sipvideo.apps.reports.identities.sets import reporter
    from sipvideo.evaluation.replay import replays

    wish = ["--kind", "scenes", "--videos", "1", "--frames", "720", "--seed", str(seed), "--video"]
    if not (work / "film" / "instances.json").is_file():
        code = synth.main(["-o", str(work / "film"), *wish])
        if code:
            sys.exit(code)
    (film,) = replays(work / "film", work / "reports", reporter("network"))
    return film


def save(folder: Path, results: Sequence[FrameResult], clip: Path) -> None:
    """The run as ``sipvideo video`` would have left it."""
    from sipvideo.apps.reports.studio.planting import write_run
    from sipvideo.classes import COCO
    from sipvideo.summary import Summary

    shutil.rmtree(folder, ignore_errors=True)
    write_run(folder, results, COCO)
    last = results[-1].frame.timestamp
    Summary(
        input=str(clip), state="complete", frames=len(results), duration=last, covered=False
    ).write(folder)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server with the runs of a folder."""
    from sipvideo.studio.shelf import Studio, places_in
    from sipvideo.web.server import StudioState, create_studio_app, listen, make_server
    from sipvideo.web.settings import Settings

    state = StudioState(Studio(lambda: places_in(folder), owner=True, author="person"), Settings())
    server = make_server(create_studio_app(state), state)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def tab() -> Iterator[Any]:
    """A tab of a real browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 1360, "height": 860}, color_scheme="dark")
        browser.close()
