"""The studio's routes (docs/studio.md): runs, their identities and masks, edits, pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from sipvideo.annotations import Json
from sipvideo.errors import DatasetError, SinkError, SipVideoError, SourceError
from sipvideo.studio import Change, ConflictError, Document, EditError
from sipvideo.studio.shelf import Opened, Studio
from sipvideo.studio.tasks import ENDED, Task
from sipvideo.studio.tracks import lanes
from sipvideo.web import studio_answers as answers
from sipvideo.web.answers import problems
from sipvideo.web.settings import Person

MOST_FRAMES = 200
LOOK_EVERY = 0.25
"""Seconds between looks for lines of other processes."""
STILL_THERE = 15.0
"""Seconds of silence after which a stream of events says something, so that nobody takes it for dead."""
PROXY = "proxy"

NO_RUN = problems(s404="no such run", s500="the run cannot be read: why")
router = APIRouter(
    prefix="/api/studio",
    tags=["studio"],
    responses=problems(
        s401="the token is missing or wrong",
        s403="asked by another site, or not allowed to this visitor",
        s422="a wrong parameter",
    ),
)


def studio_of(request: Request) -> Studio:
    """The server's studio."""
    studio: Studio = request.app.state.studio
    return studio


def opened(request: Request, key: str) -> Opened:
    """A run, perhaps not yet open.

    Raises:
        HTTPException: there is none of that key.
    """
    try:
        return studio_of(request).run(key)
    except KeyError:
        raise HTTPException(404, "no such run") from None


async def document_of(request: Request, key: str) -> Document:
    """A run with its edits; waits until it is open.

    Raises:
        HTTPException: there is none of that key, or it cannot be read.
    """
    found = opened(request, key)
    try:
        return await asyncio.to_thread(found.document)
    except SipVideoError as error:
        raise HTTPException(500, str(error)) from error


def person_of(request: Request) -> Person:
    """Whoever asks: as his link says, or the studio's own author."""
    found: Person | None = getattr(request.state, "person", None)
    return found or Person(studio_of(request).author)


Visitor = Annotated[Person, Depends(person_of)]


def as_json(content: Any) -> Response:
    """An answer without the checks that large ones cannot afford."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return Response(text, media_type="application/json")


def changed(document: Document, change: Change) -> Json:
    """A change as :class:`answers.Changed`."""
    touched = change.touched
    with document.lock:
        there = set(document.table.identities)
        tracks = lanes(document, there if touched is None else touched & there)
    return {
        "revision": change.revision,
        "edits": change.lines,
        "tracks": tracks,
        "removed": [] if touched is None else sorted(touched - there),
        "notes": change.notes,
    }


@router.get("")
async def runs(request: Request, visitor: Visitor) -> list[answers.RunInfo]:
    """Lists the runs; of those that nobody has opened yet only what their summaries tell."""
    found = await asyncio.to_thread(studio_of(request).runs)
    may = visitor.edits
    return [answers.RunInfo(**{**one, "editable": may and one["editable"]}) for one in found]


@router.get("/{key}", responses=NO_RUN)
async def run(request: Request, key: str, visitor: Visitor) -> answers.OneRun:
    """Opens a run. What takes more than a second is answered with ``opening``: ask again."""
    opened(request, key)
    try:
        found = await asyncio.to_thread(studio_of(request).about, key)
    except SipVideoError as error:
        raise HTTPException(500, str(error)) from error
    may = {
        "editable": visitor.edits and found["editable"],
        "author": visitor.name,
        "range": visitor.frames,
    }
    return answers.OneRun(**{**found, **may})


@router.get("/{key}/tracks", response_model=answers.Tracks, responses=NO_RUN)
async def tracks(request: Request, key: str) -> Response:
    """All identities as lanes of a timeline."""
    document = await document_of(request, key)

    def made() -> Json:
        with document.lock:
            return {"revision": document.revision, "tracks": lanes(document)}

    return as_json(await asyncio.to_thread(made))


@router.get("/{key}/frames", response_model=answers.Frames, responses=NO_RUN)
async def frames(
    request: Request,
    key: str,
    first: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_FRAMES)] = 50,
) -> Response:
    """Objects of frames in a row, with their masks; fewer at the end of the run."""
    document = await document_of(request, key)

    def made() -> Json:
        with document.lock:
            records = list(document.records(first, count))
            found = [_frame(first + k, record) for k, record in enumerate(records)]
            return {"revision": document.revision, "frames": found}

    try:
        return as_json(await asyncio.to_thread(made))
    except SipVideoError as error:
        raise HTTPException(500, str(error)) from error


def _frame(number: int, record: Json) -> Json:
    objects = []
    for one in record["objects"]:
        x, y, w, h = one["bbox"]
        objects.append(
            {
                "id": one["track_id"],
                "label": one["label"],
                "score": one["score"],
                "box": [round(side, 2) for side in (x, y, x + w, y + h)],
                "mask": one["segmentation"],
                "edited": one["edited"],
                "filled": one.get("filled") is True,
                "returned": one.get("returned", 0.0),
            }
        )
    return {"frame": number, "timestamp": record["timestamp"], "objects": objects}


@router.get(
    "/{key}/times",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "float32, little endian"},
        **NO_RUN,
    },
)
async def times(request: Request, key: str) -> Response:
    """Seconds of every frame: four bytes each, as a ``Float32Array`` has them."""
    document = await document_of(request, key)
    data = np.asarray(document.index.columns.times, "<f4").tobytes()
    return Response(data, media_type="application/octet-stream")


@router.get(
    "/{key}/video",
    response_class=FileResponse,
    responses={
        200: {"content": {"video/mp4": {}, "video/webm": {}}, "description": "the film"},
        202: {"model": answers.TaskInfo, "description": "a film that browsers play is being made"},
        206: {"content": {"video/mp4": {}, "video/webm": {}}, "description": "the range asked for"},
        **problems(
            s404="no such run, or its pictures are not there",
            s416="no such range",
            s500="the run cannot be read: why",
        ),
    },
)
async def video(request: Request, key: str) -> Response:
    """The run's film: its source where browsers play it, otherwise one that is made of it at the first request."""
    await document_of(request, key)
    found = await asyncio.to_thread(lambda: opened(request, key).video)
    film = await asyncio.to_thread(lambda: found.film)
    if film is not None:
        return FileResponse(film[0], media_type=film[1], content_disposition_type="inline")
    if found.kind is None:
        raise HTTPException(404, "the run's pictures are not there: tell where its source is")
    tasks = studio_of(request).tasks
    task = tasks.find(key, PROXY)
    if task is None or task.state in ENDED:

        def work(task: Task) -> None:
            found.make_proxy(lambda share: task.advance(share, 1.0))

        task = tasks.start(key, PROXY, work)
    return Response(json.dumps(task.record()), 202, media_type="application/json")


@router.get(
    "/{key}/frame/{number}.jpg",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "the picture"},
        **problems(
            s404="no such run or frame, or no picture of it", s500="the run cannot be read: why"
        ),
    },
)
async def picture(request: Request, key: str, number: int) -> Response:
    """The exact picture of a frame."""
    document = await document_of(request, key)
    if not 0 <= number < document.table.frame_count:
        raise HTTPException(404, "no such frame")
    try:
        found = await asyncio.to_thread(lambda: opened(request, key).video.jpeg(number))
    except SourceError as error:
        raise HTTPException(404, str(error)) from error
    return Response(found, media_type="image/jpeg", headers={"cache-control": "max-age=60"})


@router.put(
    "/{key}/source",
    responses=problems(
        s403="files of this machine are named by its owner alone",
        s404="no such run",
        s422="it cannot be opened, or is not what the run was made from",
        s500="the run cannot be read: why",
        s507="the server has no room",
    ),
)
async def source(
    request: Request, key: str, body: answers.SourceBody, visitor: Visitor
) -> answers.OneRun:
    """Tells where the video is now that the run was made from."""
    if not studio_of(request).owner:
        raise HTTPException(403, "files of this machine are named by its owner alone")
    await document_of(request, key)
    try:
        await asyncio.to_thread(lambda: opened(request, key).video.point(body.source))
    except SinkError as error:
        raise HTTPException(507, str(error)) from error
    except SipVideoError as error:
        raise HTTPException(422, str(error)) from error
    return await run(request, key, visitor)


CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": answers.Overtaken, "description": "somebody was faster: what happened since"}
}
EDITING = {
    **CONFLICT,
    **problems(
        s404="no such run",
        s422="an edit that cannot be done: why; nothing was changed",
        s500="the run cannot be read: why",
        s507="the server has no room",
    ),
}


@router.post("/{key}/edits", response_model=answers.Changed, responses=EDITING)
async def edit(request: Request, key: str, body: answers.EditsBody, visitor: Visitor) -> Response:
    """Does edits, all or none. When this is answered they are on the disk."""
    document = await document_of(request, key)
    records = [{**one, "within": visitor.frames} for one in body.edits]
    author = visitor.name or body.author
    return await edited(document, lambda: document.edit(records, body.base, author))


@router.post("/{key}/undo", response_model=answers.Changed, responses=EDITING)
async def undo(request: Request, key: str, body: answers.StepBody, visitor: Visitor) -> Response:
    """Takes the visitor's latest edit back; as often as there are edits."""
    document, author = await document_of(request, key), visitor.name or body.author
    return await edited(document, lambda: document.undo(body.base, author))


@router.post("/{key}/redo", response_model=answers.Changed, responses=EDITING)
async def redo(request: Request, key: str, body: answers.StepBody, visitor: Visitor) -> Response:
    """Does again what the visitor has just undone."""
    document, author = await document_of(request, key), visitor.name or body.author
    return await edited(document, lambda: document.redo(body.base, author))


async def edited(
    document: Document, act: Callable[[], Change], notes: Sequence[str] = ()
) -> Response:
    """The answer to what changes a run, done in another thread; ``notes`` are told with it."""

    def made() -> Json:
        with document.lock:
            found = changed(document, act())
            return {**found, "notes": [*notes, *found["notes"]]}

    try:
        return as_json(await asyncio.to_thread(made))
    except ConflictError as error:
        since = {"detail": str(error), **changed(document, error.change)}
        return Response(json.dumps(since), 409, media_type="application/json")
    except EditError as error:
        raise HTTPException(422, str(error)) from error
    except SinkError as error:
        raise HTTPException(507, str(error)) from error
    except DatasetError as error:
        raise HTTPException(500, str(error)) from error


Since = Annotated[int, Query(ge=0, lt=2**31, description="revision that is known")]


@router.get("/{key}/edits", response_model=answers.Changed, responses=NO_RUN)
async def edits(request: Request, key: str, since: Since = 0) -> Response:
    """Lines of the log after one."""
    document = await document_of(request, key)
    return await edited(document, lambda: document.since(since))


@router.get(
    "/{key}/changes",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "server-sent events"},
        **NO_RUN,
    },
)
async def changes(request: Request, key: str, since: Since = 0) -> Response:
    """What happens to a run, as it happens: new lines of the log, progress of tasks.

    Each event's data is JSON: ``{"type": "edits", ...}`` with the keys of an answer to edits, or ``{"type": "task",
    ...}``.
    """
    await document_of(request, key)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(
        _events(request, key, since), media_type="text/event-stream", headers=headers
    )


async def _events(request: Request, key: str, since: int) -> AsyncIterator[str]:
    studio, version, silent = studio_of(request), 0, 0.0
    yield ": here\n\n"
    while not studio.ending:
        try:
            document = await asyncio.to_thread(studio.run(key).document)
            change = await asyncio.to_thread(document.since, since)
        except (KeyError, SipVideoError):
            return
        told: list[Json] = []
        if change.lines:
            since = change.revision
            told.append({"type": "edits", **await asyncio.to_thread(changed, document, change)})
        for task in studio.tasks.since(version, key):
            version = max(version, task.version)
            told.append({"type": "task", **task.record()})
        for one in told:
            yield f"data: {json.dumps(one)}\n\n"
        silent = 0.0 if told else silent + LOOK_EVERY
        if silent >= STILL_THERE:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK_EVERY)


@router.get("/{key}/tasks", responses=NO_RUN)
async def tasks(request: Request, key: str) -> list[answers.TaskInfo]:
    """Long work on a run, the latest last."""
    opened(request, key)
    found = studio_of(request).tasks.since(-1, key)
    return [answers.TaskInfo(**one.record()) for one in sorted(found, key=lambda one: one.id)]


@router.post(
    "/{key}/tasks/{number}/cancel", responses=problems(s404="no such run, or no such task")
)
async def cancel(request: Request, key: str, number: int) -> answers.TaskInfo:
    """Ends a task at its next step."""
    task = studio_of(request).tasks.get(number)
    if task is None or task.run != key:
        raise HTTPException(404, "no such task")
    task.stop.set()
    return answers.TaskInfo(**task.record())
