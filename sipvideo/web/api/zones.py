"""Zones and lines of a source: shown, changed, made a file."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, HTTPException, Request, Response

from sipvideo.errors import SipVideoError
from sipvideo.events import Rules, rules_text
from sipvideo.web import answers
from sipvideo.web.answers import problems
from sipvideo.web.api.common import read_zones, small_body, state_of, view_of
from sipvideo.web.state import ServerState
from sipvideo.web.views import View
from sipvideo.web.zones import LONGEST_TEXT, as_values

router = APIRouter()


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
    return _zones(state_of(request), view_of(request, key))


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
    state, view = state_of(request), view_of(request, key)
    if state.zones is None:
        raise HTTPException(
            403,
            "zones of this server's sources are changed only where it was started with --allow-zones",
        )
    rules = await _drawn(request)
    async with state.zones.turn:
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
    body = await small_body(request, LONGEST_TEXT, "zones")
    return read_zones(state_of(request), body.decode("utf-8", "replace"))


def _zones(state: ServerState, view: View) -> answers.Zones:
    counts = None if view.watch is None else view.watch.counts()
    return answers.Zones(
        rules={} if counts is None else as_values(counts.rules),
        editable=state.zones is not None,
        counts={} if counts is None else counts.record(),
    )
