"""The server in numbers."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.web.serving import Running


def value(text: str, name: str, **labels: str) -> float:
    """The sample of that name with these labels among its own."""
    (found,) = (
        sample.value
        for family in parsed(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return found


def test_metrics_are_in_prometheus_form_and_tell_what_the_source_did(server: Running) -> None:
    with httpx.Client(base_url=server.address, timeout=60) as client:
        with client.stream("GET", "/api/sources/1/results?count=3") as lines:
            assert len(list(lines.iter_lines())) == 3
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    text = answer.text
    assert value(text, "sipvideo_source_results_total", source="1") >= 3
    assert value(text, "sipvideo_source_captured_total", source="1") >= 3
    assert value(text, "sipvideo_source_age_seconds", quantile="0.95") > 0
    assert value(text, "sipvideo_jobs", state="running") == 0
    assert value(text, "sipvideo_source_state", state="failed") == 0
    assert value(text, "process_resident_memory_bytes") > 1e6
