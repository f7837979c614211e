"""Routes by which an edited run leaves the studio, and work done in other programs comes into it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from sipvideo.annotations import Json
from sipvideo.errors import SipVideoError
from sipvideo.studio.exporting import check, export_format, export_kinds
from sipvideo.studio.importing import edits_of, unpacked
from sipvideo.studio.shelf import Opened
from sipvideo.studio.tasks import ENDED, Task
from sipvideo.web import studio_answers as answers
from sipvideo.web import uploads
from sipvideo.web.answers import problems
from sipvideo.web.archive import zipped
from sipvideo.web.jobs import shown_name
from sipvideo.web.studio import EDITING, Visitor, document_of, edited, opened, studio_of

EXPORT = "export"
NOTES = "notes.txt"
"""What was lost or chosen, in the archive."""
router = APIRouter(prefix="/api/studio", tags=["studio"])


@router.post(
    "/{key}/export",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {}}, "description": "the files"},
        **problems(
            s404="no such run",
            s422="what cannot be made: why",
            s500="the run cannot be read: why",
            s507="the server has no room",
        ),
    },
)
async def export(request: Request, key: str, body: answers.ExportBody) -> Response:
    """The run with its edits, as results of any kind that a run saves, and in other programs' formats.

    Progress is told by a task of the kind ``export``, which can be cancelled.
    """
    document, run = await document_of(request, key), opened(request, key)
    place = Path(tempfile.mkdtemp(prefix="sipvideo-"))
    try:
        check(document, body.kinds, place)
        task = studio_of(request).tasks.start(
            key, EXPORT, lambda task: _made(run, body, place, task)
        )
        while task.state not in ENDED:
            if await request.is_disconnected():
                task.stop.set()
            await asyncio.sleep(0.05)
        if task.state != "done":
            raise HTTPException(422, task.detail or "cancelled")
    except SipVideoError as error:
        shutil.rmtree(place, ignore_errors=True)
        raise HTTPException(422, str(error)) from error
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    name = f"{shown_name(run.place.name)}-edited.zip".encode("ascii", "replace").decode()
    header = {"content-disposition": f'attachment; filename="{name.replace("?", "_")}"'}
    return StreamingResponse(_sent(place), media_type="application/zip", headers=header)


def _made(run: Opened, body: answers.ExportBody, place: Path, task: Task) -> Json:
    """Writes what is asked for into a folder; gives the notes."""
    document, notes = run.document(), list[str]()
    if body.kinds:
        folder = place / "results"
        notes += export_kinds(
            document, folder, body.kinds, run.video, lambda share: task.advance(share, 1.0)
        )
    if body.format is not None:
        folder = place / body.format
        folder.mkdir()
        pictures = run.video.path if body.pictures else None
        notes += export_format(
            document,
            folder,
            body.format,
            tolerance=body.tolerance,
            pictures=pictures,
            name=Path(run.place.name).name,
        )
    if notes:
        (place / NOTES).write_text("".join(f"{note}\n" for note in dict.fromkeys(notes)), "utf-8")
    return {"notes": notes}


def _sent(place: Path) -> Iterator[bytes]:
    """The folder as a zip; it is removed afterwards, however that ends."""
    try:
        files = sorted(path for path in place.rglob("*") if path.is_file())
        yield from zipped(files, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


FILE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "the bytes of the file, or of a zip of the folder, as they are",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(
    "/{key}/import",
    response_model=answers.Changed,
    openapi_extra=FILE_BODY,
    responses={
        **EDITING,
        **problems(
            s400="the upload broke off",
            s408="no bytes came for a while",
            s413="more bytes than the server takes",
        ),
    },
)
async def take(
    request: Request,
    key: str,
    visitor: Visitor,
    base: Annotated[int, Query(ge=0, le=2**31, description="revision that the visitor saw")],
    name: Annotated[str, Query(max_length=1000, description="of the file")] = "annotations.json",
    format: Annotated[str | None, Query(max_length=20, description="default: as it looks")] = None,
) -> Response:
    """Takes over work that was done in another program on an export of this run: as edits, undone together."""
    document = await document_of(request, key)
    if visitor.frames is not None:
        raise HTTPException(403, "whoever imports must be allowed to change all frames")
    limit: int = request.app.state.limits.max_upload
    with tempfile.TemporaryDirectory(prefix="sipvideo-") as folder:
        path = Path(folder) / f"import{Path(shown_name(name)).suffix.lower()}"
        try:
            await uploads.receive(request.stream(), path, limit)
            found = await asyncio.to_thread(unpacked, path, 20 * limit)
            records, notes = await asyncio.to_thread(edits_of, document, found, format)
        except uploads.TooLargeError:
            raise HTTPException(413, f"files of up to {limit} bytes are taken") from None
        except uploads.StalledError:
            raise HTTPException(408, "nothing came for too long") from None
        except uploads.DiskFullError:
            raise HTTPException(507, "the server has no room for this file") from None
        except ClientDisconnect:
            raise HTTPException(400, "the upload broke off") from None
        except SipVideoError as error:
            line = str(error).replace(str(path), shown_name(name))
            raise HTTPException(422, line.replace(f"{folder}/", "")) from error
    if not records:
        told = {"revision": document.revision, "edits": [], "tracks": [], "removed": []}
        text = json.dumps({**told, "notes": [*notes, "nothing is different from the run"]})
        return Response(text, media_type="application/json")
    return await edited(document, lambda: document.edit(records, base, visitor.name), notes)
