"""What a server does in numbers, in the form that Prometheus and its like collect: ``/metrics``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector
from prometheus_client import generate_latest as as_text
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sipvideo import __version__
from sipvideo.sources.status import State as SourceState
from sipvideo.web.jobs import State as JobState
from sipvideo.web.state import ServerState
from sipvideo.web.views import View

router = APIRouter()


@router.get(
    "/metrics",
    tags=["server"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
)
async def metrics(request: Request) -> Response:
    """The server in numbers, for Prometheus."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(request.app.state.server))
    ProcessCollector(registry=registry)
    return Response(as_text(registry), media_type=CONTENT_TYPE_LATEST)


class ServerCollector(Collector):
    """Reads a server's state when it is asked."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        """The figures of now."""
        yield InfoMetricFamily(
            "sipvideo",
            "Version, model and engine.",
            {"version": __version__, "model": self._state.about},
        )
        yield GaugeMetricFamily(
            "sipvideo_live_connections", "Live connections of clients.", self._state.seats_taken
        )
        yield self._jobs()
        views = list(self._state.views.views.values())
        yield from _sources(views)
        yield from _places(views)

    def _jobs(self) -> Metric:
        jobs = GaugeMetricFamily("sipvideo_jobs", "Uploaded videos by state.", labels=["state"])
        counts = Counter(job.state for job in self._state.jobs.all())
        for state in get_args(JobState):
            jobs.add_metric([state], counts[state])
        return jobs


def _places(views: list[View]) -> Iterable[Metric]:
    """Zones and lines."""
    labels = ["source", "zone", "class_name"]
    inside = GaugeMetricFamily("sipvideo_zone_objects", "Objects in a zone now.", labels=labels)
    visits = CounterMetricFamily("sipvideo_zone_visits", "Visits of a zone.", labels=labels)
    crossings = CounterMetricFamily(
        "sipvideo_line_crossings",
        "Crossings of a line.",
        labels=["source", "line", "direction", "class_name"],
    )
    for view in views:
        if view.watch is None:
            continue
        counts = view.watch.counts()
        for zone, counted in counts.zones.items():
            for name in counted.visits.keys() | counted.inside.keys():
                inside.add_metric([view.key, zone, name], counted.inside.get(name, 0))
                visits.add_metric([view.key, zone, name], counted.visits.get(name, 0))
        for line, passed in counts.lines.items():
            for word, by_class in passed.crossed.items():
                for name, count in by_class.items():
                    crossings.add_metric([view.key, line, word, name], count)
    return [inside, visits, crossings]


def _sources(views: list[View]) -> Iterable[Metric]:
    """The live sources."""
    labels = ["source", "name"]
    states = GaugeMetricFamily(
        "sipvideo_source_state", "1 for its state.", labels=[*labels, "state"]
    )
    captured = CounterMetricFamily("sipvideo_source_captured", "Pictures that came.", labels=labels)
    results = CounterMetricFamily("sipvideo_source_results", "Pictures segmented.", labels=labels)
    dropped = CounterMetricFamily(
        "sipvideo_source_dropped", "Pictures left out, by cause.", labels=[*labels, "cause"]
    )
    reconnects = CounterMetricFamily(
        "sipvideo_source_reconnects", "How often it came back.", labels=labels
    )
    silent = GaugeMetricFamily(
        "sipvideo_source_silent_seconds", "Seconds since the last picture came.", labels=labels
    )
    rate = GaugeMetricFamily("sipvideo_source_fps", "Pictures segmented per second.", labels=labels)
    age = GaugeMetricFamily(
        "sipvideo_source_age_seconds",
        "From capture to hand-over, of the last pictures.",
        labels=[*labels, "quantile"],
    )
    objects = GaugeMetricFamily(
        "sipvideo_source_objects", "Objects with an identity in the last picture.", labels=labels
    )
    for view in views:
        status, here = view.status, [view.key, view.status.name]
        for state in get_args(SourceState):
            states.add_metric([*here, state], float(status.state == state))
        captured.add_metric(here, status.captured)
        results.add_metric(here, status.delivered)
        reconnects.add_metric(here, status.reconnects)
        silent.add_metric(here, status.silent)
        rate.add_metric(here, status.fps)
        for cause, count in status.dropped.items():
            dropped.add_metric([*here, cause], count)
        for quantile, value in zip(("0.5", "0.95"), view.ages.handed_over, strict=True):
            if not math.isnan(value):
                age.add_metric([*here, quantile], value)
        if view.latest is not None:
            objects.add_metric(here, int((view.latest.live.result.track_ids >= 0).sum()))
    return [states, captured, results, dropped, reconnects, silent, rate, age, objects]
