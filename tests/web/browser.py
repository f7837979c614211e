"""What tests of the page in a real browser share; the fixtures are in conftest.py."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEDESTRIANS = ROOT / "examples" / "pedestrians.mp4"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = [
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """The page's own guard forbids the evaluation of texts, with which Playwright waits."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def shown(page: Any) -> int:
    """Results shown so far."""
    return int(page.evaluate("window.sipvideo ? window.sipvideo.ages.length : 0"))
