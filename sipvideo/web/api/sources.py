"""The server and its live sources: how they are, and their results as lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import ValidationError
from starlette.types import Receive, Scope, Send

from sipvideo import __version__
from sipvideo.draw import Style, Trails
from sipvideo.draw.looks import STYLED
from sipvideo.errors import SipVideoError
from sipvideo.showing import ShowingOptions
from sipvideo.sources import LIVE_SCHEMES
from sipvideo.web import answers
from sipvideo.web.answers import problems
from sipvideo.web.api.common import RETRY_AFTER, small_body, state_of, view_of
from sipvideo.web.jobs import ENDED
from sipvideo.web.state import ServerState
from sipvideo.web.views import View

router = APIRouter()

MOST_SOURCES = 64
LONGEST_SOURCE = 8_000
"""Bytes that describe a source to be added."""


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


SOURCE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": answers.NewSource.model_json_schema()}},
    }
}
NOT_ALLOWED = "sources are added and removed only where the server was started with --allow-sources"
SCHEMES = (*LIVE_SCHEMES, "http", "https")


@router.post(
    "/sources",
    tags=["sources"],
    status_code=201,
    openapi_extra=SOURCE_BODY,
    responses=problems(
        s403="the server's owner does not allow it (--allow-sources)",
        s409="there is a source of this id already, or as many as the server takes",
        s413="too many bytes",
        s422="it cannot be opened, or is no live source",
    ),
)
async def add_source(request: Request, response: Response) -> answers.SourceInfo:
    """Shows one more live source, until it is removed or the server ends; answers when its first picture is there."""
    state = _sources_open(request)
    asked = _read_source(await small_body(request, LONGEST_SOURCE, "sources"))
    if len(state.views.views) >= MOST_SOURCES:
        raise HTTPException(409, f"{MOST_SOURCES} sources are as many as the server takes")
    try:
        view = await asyncio.to_thread(state.views.add, asked.source, asked.id)
    except ValueError as error:
        raise HTTPException(409, str(error)) from error
    except SipVideoError as error:
        raise HTTPException(422, str(error)) from error
    response.headers["location"] = f"/api/sources/{view.key}"
    return _source_info(view)


@router.delete(
    "/sources/{key}",
    tags=["sources"],
    status_code=204,
    responses=problems(
        s403="the server's owner does not allow it (--allow-sources)", s404="no such source"
    ),
)
async def remove_source(request: Request, key: str) -> None:
    """Ends a live source, for everybody who watches it; what was saved of its events stays."""
    state = _sources_open(request)
    try:
        await asyncio.to_thread(state.views.remove, key)
    except KeyError as error:
        raise HTTPException(404, "no such source") from error


def _sources_open(request: Request) -> ServerState:
    state = state_of(request)
    if not state.settings.allow_sources:
        raise HTTPException(403, NOT_ALLOWED)
    return state


def _read_source(body: bytes) -> answers.NewSource:
    """A source as somebody sent it: never a file of the server."""
    try:
        asked = answers.NewSource.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "source"
        raise HTTPException(422, f"{place}: {first['msg']}") from error
    scheme, found, _ = asked.source.partition("://")
    is_camera = asked.source.isascii() and asked.source.isdigit() and len(asked.source) <= 3
    if not is_camera and not (found and scheme in SCHEMES):
        raise HTTPException(
            422, f"source: expected the number of a camera, or {', '.join(SCHEMES)}"
        )
    return asked


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
    p50, p95 = view.ages.shown
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
