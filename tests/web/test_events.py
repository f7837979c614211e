"""A server that watches zones: nobody has to look."""

from __future__ import annotations

import json
import time
from pathlib import Path

import httpx
import pytest

from sipvideo.apps import serve
from sipvideo.events import Rules
from sipvideo.live.recording import Recording
from sipvideo.showing import Showing
from tests.apps.scripted import CLASSES
from tests.web.serving import serving
from tests.web.test_metrics import value

RULES = Rules.model_validate(
    {
        "zones": {"all": {"polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "when": "touch"}},
        "settle": 0,
        "lasting": 0,
    }
)


def test_events_are_saved_while_nobody_watches_and_the_metrics_tell_the_counts(
    street: Path, tmp_path: Path
) -> None:
    def recorder(_: str, name: str) -> Recording:
        return Recording(name, CLASSES, tmp_path, ("events",), showing=Showing(rules=RULES))

    with serving(sources={"1": str(street)}, recorder=recorder) as server:
        until = time.monotonic() + 60
        while True:
            text = httpx.get(f"{server.address}/metrics", timeout=60).text
            if "sipvideo_zone_visits_total" in text and value(
                text, "sipvideo_zone_visits_total", zone="all", class_name="walker"
            ):
                break
            assert time.monotonic() < until
    (folder,) = tmp_path.iterdir()
    lines = (folder / "events" / "events.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert {"appeared", "entered"} <= set(kinds)


def test_zones_without_a_source_are_wrong_usage() -> None:
    with pytest.raises(SystemExit) as stop:
        serve.parse(["--zones", "zones.yaml"])
    assert stop.value.code == 2
