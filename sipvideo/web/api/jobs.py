"""Uploaded videos: taken, followed, ended, their results."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from sipvideo.errors import SourceError
from sipvideo.events import Rules
from sipvideo.web import answers, uploads
from sipvideo.web.answers import problems
from sipvideo.web.api.common import HANG_UP, RETRY_AFTER, read_zones, state_of
from sipvideo.web.archive import zipped
from sipvideo.web.jobs import BusyError, Job, TooLongError
from sipvideo.web.state import ServerState
from sipvideo.web.zones import LONGEST_TEXT

router = APIRouter()


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
    rules = read_zones(state, zones) if zones else Rules()
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
    return StreamingResponse(zipped(files), media_type="application/zip", headers=header)


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


def _job(request: Request, key: str) -> Job:
    found = state_of(request).jobs.get(key)
    if found is None:
        raise HTTPException(404, "no such job")
    return found


def _job_info(state: ServerState, job: Job) -> answers.JobInfo:
    address = f"/api/jobs/{job.id}/results"
    files = [
        answers.ResultFile(name=path.name, bytes=size, url=f"{address}/{path.name}")
        for path, size in state.jobs.results(job).items()
    ]
    return answers.JobInfo(
        **vars(job),
        expires=state.jobs.expires(job),
        results=files,
        archive=f"{address}.zip" if files else None,
        studio=f"/studio?run={job.id}" if state.jobs.place(job) is not None else None,
    )
