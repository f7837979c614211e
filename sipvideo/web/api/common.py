"""What the routes share: the server's state, its parts by their keys, headers of refusals."""

from __future__ import annotations

from fastapi import HTTPException, Request

from sipvideo.errors import ConfigError
from sipvideo.events import Rules
from sipvideo.web.state import ServerState
from sipvideo.web.views import View
from sipvideo.web.zones import read_drawn_rules

RETRY_AFTER = {"retry-after": "10"}
HANG_UP = {"connection": "close"}  # whoever goes on sending is not listened to for ever


def state_of(request: Request) -> ServerState:
    """The server's state."""
    state: ServerState = request.app.state.server
    return state


def view_of(request: Request, key: str) -> View:
    """A live source.

    Raises:
        HTTPException: there is none of that key.
    """
    view = state_of(request).views.views.get(key)
    if view is None:
        raise HTTPException(404, "no such source")
    return view


async def small_body(request: Request, limit: int, of: str) -> bytes:
    """A request's body.

    Args:
        request: not read yet.
        limit: bytes that are taken.
        of: what of, for whoever sent more.

    Raises:
        HTTPException: there are more.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise HTTPException(413, f"{of} of up to {limit} bytes are taken", HANG_UP)
    return body


def read_zones(state: ServerState, text: str) -> Rules:
    """Zones and lines as somebody sent them.

    Raises:
        HTTPException: they are none.
    """
    try:
        return read_drawn_rules(text, state.class_names)
    except ConfigError as error:
        raise HTTPException(422, str(error)) from error
