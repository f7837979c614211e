"""The REST API (docs/api.md): uploads and their results, sources, live results as lines of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import zipfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from sipvideo import __version__
from sipvideo.draw import Style, Trails
from sipvideo.draw.looks import STYLED
from sipvideo.errors import ConfigError, SipVideoError, SourceError
from sipvideo.events import Rules, rules_text
from sipvideo.showing import ShowingOptions
from sipvideo.web import answers, uploads
from sipvideo.web.answers import problems
from sipvideo.web.jobs import ENDED, BusyError, Job, TooLongError
from sipvideo.web.state import ServerState
from sipvideo.web.views import View
from sipvideo.web.zones import LONGEST_TEXT, as_values, read_drawn_rules

RETRY_AFTER = {"retry-after": "10"}
HANG_UP = {"connection": "close"}  # whoever goes on sending is not listened to for ever
ANYWHERE = problems(
    s401="the token is missing or wrong",
    s403="asked by another site, or under another name",
    s422="a wrong parameter",
)

router = APIRouter(prefix="/api", responses=ANYWHERE)


def state_of(request: Request) -> ServerState:
    """The server's state."""
    state: ServerState = request.app.state.server
    return state


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
    return _source_info(_view(request, key))


@router.post("/sources/{key}/reset", tags=["sources"], responses=problems(s404="no such source"))
async def reset(request: Request, key: str) -> answers.SourceInfo:
    """Lets the source's identities start anew, for everybody who watches."""
    view = _view(request, key)
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
    path = await asyncio.to_thread(_view(request, key).event_file, file)
    if path is None:
        raise HTTPException(404, "no such picture or clip")
    return FileResponse(path)


ZONES_BODY = {
    "requestBody": {
        "required": True,
        "description": "zones and lines as in a file for --zones; {} removes all",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
ZONES_PROBLEMS = problems(s413="too many zones", s422="what is wrong with the zones")


@router.get("/sources/{key}/zones", tags=["zones"], responses=problems(s404="no such source"))
async def zones(request: Request, key: str) -> answers.Zones:
    """Tells a source's zones and lines, and what they have counted."""
    return _zones(state_of(request), _view(request, key))


@router.put(
    "/sources/{key}/zones",
    tags=["zones"],
    openapi_extra=ZONES_BODY,
    responses=ZONES_PROBLEMS
    | problems(
        s403="the server's owner does not allow it (--allow-zones)",
        s404="no such source",
        s507="the server has no room",
    ),
)
async def change_zones(request: Request, key: str) -> answers.Zones:
    """Gives a source other zones and lines, for everybody and over restarts; places that stay go on counting."""
    state, view = state_of(request), _view(request, key)
    if state.zones is None:
        raise HTTPException(
            403,
            "zones of this server's sources are changed only where it was started with --allow-zones",
        )
    rules = await _drawn(request)
    try:
        await asyncio.to_thread(state.zones.write, view.status.name, rules)
    except SipVideoError as error:
        raise HTTPException(507, str(error)) from error
    view.change_zones(rules)
    return _zones(state, view)


@router.post(
    "/zones",
    tags=["zones"],
    response_class=Response,
    openapi_extra=ZONES_BODY,
    responses={
        200: {"content": {"application/yaml": {}}, "description": "a file for --zones"},
        **ZONES_PROBLEMS,
    },
)
async def zones_file(request: Request) -> Response:
    """Checks zones and lines, and writes them as the YAML file that ``--zones`` takes. Changes nothing."""
    return Response(rules_text(await _drawn(request)), media_type="application/yaml")


async def _drawn(request: Request) -> Rules:
    """The zones in a request's body."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_TEXT:
            raise HTTPException(413, f"zones of up to {LONGEST_TEXT} bytes are taken", HANG_UP)
    return _read_zones(state_of(request), body.decode("utf-8", "replace"))


def _read_zones(state: ServerState, text: str) -> Rules:
    try:
        return read_drawn_rules(text, state.class_names)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error


def _zones(state: ServerState, view: View) -> answers.Zones:
    counts = None if view.watch is None else view.watch.counts()
    return answers.Zones(
        rules={} if counts is None else as_values(counts.rules),
        editable=state.zones is not None,
        counts={} if counts is None else counts.record(),
    )


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
    state, view = state_of(request), _view(request, key)
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


VIDEO_BODY = {
    "requestBody": {
        "required": True,
        "description": "the bytes of the video file as they are",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/jobs",
    tags=["jobs"],
    status_code=201,
    openapi_extra=VIDEO_BODY,
    responses=problems(
        s400="the upload broke off",
        s408="no bytes came for a while",
        s413="more bytes than the server takes",
        s415="not a video",
        s422="longer than the server takes, or a wrong parameter",
        s429="as many jobs as the server takes are waiting; Retry-After says when to ask again",
        s507="the server has no room",
    ),
)
async def upload(
    request: Request,
    response: Response,
    name: Annotated[str, Query(max_length=1000, description="file name to show")] = "video",
    zones: Annotated[
        str,
        Query(
            max_length=LONGEST_TEXT, description="zones and lines as JSON, as in a file for --zones"
        ),
    ] = "",
) -> answers.JobInfo:
    """Takes a video and queues it. The body is the file itself: ``curl --data-binary @a.mp4``."""
    state = state_of(request)
    limit, body = state.settings.max_upload, request.stream()
    rules = _read_zones(state, zones) if zones else Rules()
    too_large = HTTPException(413, f"videos of up to {limit} bytes are taken", HANG_UP)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit:
        await uploads.drain(body)
        raise too_large
    try:
        job = state.jobs.new(name, rules)
    except BusyError:
        await uploads.drain(body)
        why = "too many videos are waiting: try again later"
        raise HTTPException(429, why, RETRY_AFTER | HANG_UP) from None
    except OSError as error:
        raise HTTPException(507, f"the upload cannot be kept: {error.strerror}") from error
    try:
        await uploads.receive(body, state.jobs.upload_path(job), limit)
        await asyncio.to_thread(state.jobs.start, job)
    except BaseException as error:
        state.jobs.remove(job)
        if isinstance(error, uploads.TooLargeError):
            await uploads.drain(body)
            raise too_large from None
        raise _as_http(error) from error
    response.headers["location"] = f"/api/jobs/{job.id}"
    return _job_info(state, job)


def _as_http(error: BaseException) -> BaseException:
    """What an upload's failure means to whoever sent it."""
    if isinstance(error, TooLongError):
        return HTTPException(422, str(error))
    if isinstance(error, SourceError):
        return HTTPException(415, str(error))
    if isinstance(error, ClientDisconnect):
        return HTTPException(400, "the upload broke off")
    if isinstance(error, uploads.StalledError):
        return HTTPException(408, "nothing came for too long", HANG_UP)
    if isinstance(error, uploads.DiskFullError):
        return HTTPException(507, "the server has no room for this video")
    return error


@router.get("/jobs", tags=["jobs"])
async def jobs(request: Request) -> list[answers.JobInfo]:
    """Lists the videos of the server, the newest first."""
    state = state_of(request)
    return [_job_info(state, job) for job in state.jobs.all()]


@router.get("/jobs/{key}", tags=["jobs"], responses=problems(s404="no such job"))
async def job(request: Request, key: str) -> answers.JobInfo:
    """Tells where a video stands."""
    return _job_info(state_of(request), _job(request, key))


@router.post("/jobs/{key}/cancel", tags=["jobs"], responses=problems(s404="no such job"))
async def cancel(request: Request, key: str) -> answers.JobInfo:
    """Ends a job between two frames; the results so far stay."""
    state, found = state_of(request), _job(request, key)
    await asyncio.to_thread(state.jobs.cancel, found)
    return _job_info(state, found)


@router.delete(
    "/jobs/{key}", tags=["jobs"], status_code=204, responses=problems(s404="no such job")
)
async def remove(request: Request, key: str) -> None:
    """Ends a job and removes all that is kept of it."""
    await asyncio.to_thread(state_of(request).jobs.remove, _job(request, key))


@router.get(
    "/jobs/{key}/results.zip",
    tags=["jobs"],
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {}}, "description": "all results"},
        **problems(s404="no such job, or no results yet"),
    },
)
async def archive(request: Request, key: str) -> Response:
    """All results of a video in one file."""
    found = _job(request, key)
    files = list(state_of(request).jobs.results(found))
    if not files:
        raise HTTPException(404, "there are no results yet")
    header = {"content-disposition": f'attachment; filename="sipvideo-{found.id}.zip"'}
    return StreamingResponse(_zipped(files), media_type="application/zip", headers=header)


@router.get(
    "/jobs/{key}/results/{file}",
    tags=["jobs"],
    response_class=FileResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "the file"},
        206: {"content": {"application/octet-stream": {}}, "description": "the range asked for"},
        **problems(s404="no such result", s416="no such range"),
    },
)
async def result(request: Request, key: str, file: str, download: bool = False) -> Response:
    """One file of results; ranges are given, so that the video can be played and sought in."""
    files = {path.name: path for path in state_of(request).jobs.results(_job(request, key))}
    if file not in files:  # only names of our own making lead to a file
        raise HTTPException(404, "no such result")
    how = "attachment" if download else "inline"
    return FileResponse(files[file], filename=file, content_disposition_type=how)


def _view(request: Request, key: str) -> View:
    view = state_of(request).views.views.get(key)
    if view is None:
        raise HTTPException(404, "no such source")
    return view


def _job(request: Request, key: str) -> Job:
    found = state_of(request).jobs.get(key)
    if found is None:
        raise HTTPException(404, "no such job")
    return found


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


def _job_info(state: ServerState, job: Job) -> answers.JobInfo:
    address = f"/api/jobs/{job.id}/results"
    files = [
        answers.ResultFile(name=path.name, bytes=size, url=f"{address}/{path.name}")
        for path, size in state.jobs.results(job).items()
    ]
    expires = None if job.ended is None else job.ended + state.settings.keep
    return answers.JobInfo(
        **vars(job),
        expires=expires,
        results=files,
        archive=f"{address}.zip" if files else None,
    )


class _Pipe(io.RawIOBase):
    """Takes what a zip file writes, to be handed on."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _zipped(files: Sequence[Path]) -> Iterator[bytes]:
    """A zip file as it is made, a megabyte at a time."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files:
            how = zipfile.ZIP_STORED if path.suffix == ".mp4" else zipfile.ZIP_DEFLATED
            entry = zipfile.ZipInfo.from_file(path, path.name)
            entry.compress_type = how
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while part := source.read(1 << 20):
                    target.write(part)
                    yield pipe.take()
    yield pipe.take()
