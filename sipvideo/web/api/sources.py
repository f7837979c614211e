"""The server and its live sources: how they are, and their results as lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from sipvideo import __version__
from sipvideo.draw import Style, Trails
from sipvideo.draw.looks import STYLED
from sipvideo.showing import ShowingOptions
from sipvideo.web import answers
from sipvideo.web.answers import problems
from sipvideo.web.api.common import RETRY_AFTER, state_of, view_of
from sipvideo.web.jobs import ENDED
from sipvideo.web.state import ServerState
from sipvideo.web.views import View

router = APIRouter()


@router.get("/health", tags=["server"])
async def health(request: Request) -> answers.Health:
    """Says that the server is there, and its limits."""
    state = state_of(request)
    limits = state.settings
    return answers.Health(
        version=__version__,
        model=state.about,
        classes=list(state.class_names),
        visitors=state.seats_taken,
        max_visitors=limits.max_visitors,
        jobs=sum(job.state not in ENDED for job in state.jobs.all()),
        max_upload=limits.max_upload,
        max_duration=limits.max_duration,
        keep=limits.keep,
        looks=_looks(limits.showing),
    )


def _looks(showing: ShowingOptions) -> answers.Looks:
    """As far as the page can draw it: the first look that is for all classes, where it knows that."""
    style = STYLED.get(next((look for look in showing.draw if ":" not in look), "masks"))
    usual = Style() if style is None else Style(**style)
    hidden = "none" in showing.draw
    return answers.Looks(
        labels=showing.labels != ("none",) and not hidden,
        tags=list(showing.labels) if showing.labels not in ((), ("none",)) else ["class", "id"],
        trails=bool(showing.trails),
        seconds=showing.trails or Trails().seconds,
        boxes=usual.boxes,
        opacity=0.0 if hidden else usual.opacity,
        outlines=usual.outline and not hidden,
    )


@router.get("/sources", tags=["sources"])
async def sources(request: Request) -> list[answers.SourceInfo]:
    """Lists the server's live sources."""
    return [_source_info(view) for view in state_of(request).views.views.values()]


@router.get("/sources/{key}", tags=["sources"], responses=problems(s404="no such source"))
async def source(request: Request, key: str) -> answers.SourceInfo:
    """Tells how a source is."""
    return _source_info(view_of(request, key))


@router.post("/sources/{key}/reset", tags=["sources"], responses=problems(s404="no such source"))
async def reset(request: Request, key: str) -> answers.SourceInfo:
    """Lets the source's identities start anew, for everybody who watches."""
    view = view_of(request, key)
    view.reset()
    return _source_info(view)


@router.get(
    "/sources/{key}/events/{file}",
    tags=["zones"],
    response_class=FileResponse,
    responses={
        200: {"content": {"image/jpeg": {}, "video/mp4": {}}, "description": "a picture or clip"},
        206: {"content": {"video/mp4": {}}, "description": "the range asked for"},
        **problems(s404="no such source, or no such picture or clip", s416="no such range"),
    },
)
async def event_file(request: Request, key: str, file: str) -> Response:
    """The picture or clip of an event, by the name that the event tells; a clip is there soon after its end."""
    path = await asyncio.to_thread(view_of(request, key).event_file, file)
    if path is None:
        raise HTTPException(404, "no such picture or clip")
    return FileResponse(path)


@router.get(
    "/sources/{key}/results",
    tags=["sources"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/x-ndjson": {}}, "description": "one JSON object per line"},
        **problems(s404="no such source", s503="too many live connections"),
    },
)
async def results(
    request: Request, key: str, count: Annotated[int | None, Query(ge=1, le=1_000_000)] = None
) -> Response:
    """Streams live results as they come, one JSON object per line, until the source ends or after ``count``."""
    state, view = state_of(request), view_of(request, key)
    if not state.take_seat():
        raise HTTPException(503, "as many visitors as the server takes are here", RETRY_AFTER)
    return _SeatedStream(state, _lines(state, view, count))


class _SeatedStream(StreamingResponse):
    """Lines of JSON; gives the place of its live connection back, however it ends."""

    def __init__(self, state: ServerState, lines: AsyncIterator[str]) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._state.leave_seat()


async def _lines(state: ServerState, view: View, count: int | None) -> AsyncIterator[str]:
    async with contextlib.aclosing(state.lines(view)) as lines:
        number = 0
        async for line in lines:
            yield line + "\n"
            number += 1
            if number == count:
                return


def _source_info(view: View) -> answers.SourceInfo:
    status = view.status
    p50, p95 = view.session.ages(view.key).shown
    return answers.SourceInfo(
        id=view.key,
        name=status.name,
        state=status.state,
        text=status.text,
        size=list(status.frame_size) if status.frame_size else None,
        fps=round(status.fps, 2),
        source_fps=round(status.source_fps, 2),
        dropped=sum(status.dropped.values()),
        reconnects=status.reconnects,
        age_p50_ms=None if math.isnan(p50) else round(p50 * 1000, 1),
        age_p95_ms=None if math.isnan(p95) else round(p95 * 1000, 1),
    )
