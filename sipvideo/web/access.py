"""Who may talk to the server, checked before anything else sees a request, and the headers that guard the page.

* Token: in the header ``Authorization: Bearer TOKEN``, in a cookie, or once as ``?token=TOKEN``, which sets the cookie.
* Links: people may have tokens of their own, which give them a name, and may be for looking only.
* Host: a server on loopback answers only to names of this machine, so that a foreign page whose name was made to
  point here (DNS rebinding) gets nothing.
* Origin: browsers say which page asks; changes and WebSockets are for our own page only.
"""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sipvideo.web.settings import Settings, is_loopback

COOKIE = "sipvideo_token"

GUARDS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}
"""Sent with every answer: nothing is loaded from elsewhere, nothing may frame the page."""

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Access:
    """ASGI middleware that refuses what is not meant for this server.

    Args:
        app: what is guarded.
        settings: says whether there is a token, and where the server listens.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers with a refusal, or hands on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in GUARDS.items()),
                ]
            await send(message)

        answer = self._refusal(scope)
        if answer is None:
            await self.app(scope, receive, guarded)
        elif scope["type"] == "http":
            await answer(scope, receive, guarded)
        else:
            await self._deny(answer, scope, receive, guarded)

    async def _deny(self, answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        if "websocket.http.response" in scope.get("extensions", {}):
            await answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "refused"})

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.settings.on_loopback and not is_loopback(_hostname(host)):
            return _refuse(403, "this server answers to localhost only")
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if changes and origin is not None and origin.lower().partition("://")[2] != host.lower():
            return _refuse(403, "requests from other sites are refused")
        if self.settings.token is None:
            return None
        # A link in the address comes before what an earlier one left in the browser.
        linked = self._linked(scope)
        token = linked or self._shown(scope, headers)
        if token is None:
            answer = _refuse(
                401, "the token is missing or wrong: open the address that the server printed"
            )
            answer.headers["www-authenticate"] = "Bearer"
            return answer
        reads = scope["type"] == "websocket" or scope["method"] in SAFE_METHODS
        person = self.settings.people.get(token)
        if person is not None:
            scope.setdefault("state", {})["person"] = person
            if not person.edits and not reads:
                return _refuse(403, "this link is for looking only")
        by_browser = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        return _with_cookie(scope, linked) if linked and by_browser else None

    def _linked(self, scope: Scope) -> str | None:
        """The token of ours in the address."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        found = (self._known(value) for name, value in query if name == "token")
        return next((token for token in found if token is not None), None)

    def _shown(self, scope: Scope, headers: Headers) -> str | None:
        """The token of ours that a request shows."""
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and (found := self._known(shown.strip())):
            return found
        # As lenient as browsers: cookies of other servers of this machine come along, whatever is in them.
        return self._known(HTTPConnection(scope).cookies.get(COOKIE) or "")

    def _known(self, shown: str) -> str | None:
        """A token as we have it; None: it is none. How long that takes does not tell how much of it is right."""
        text, found = shown.encode("utf-8", "surrogateescape"), None
        for token in (self.settings.token or "", *self.settings.people):
            if hmac.compare_digest(text, token.encode()) and token:
                found = token
        return found


def _with_cookie(scope: Scope, token: str) -> Response:
    """To the same address without the token, which becomes a cookie: it is not to stay in the address bar."""
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    rest = urlencode([pair for pair in query if pair[0] != "token"])
    # Relative to this server: a path of two slashes must not lead elsewhere.
    path = "/" + scope["path"].lstrip("/\\")
    answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
    secure = scope["scheme"] in ("https", "wss")
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure)
    return answer


def _hostname(host: str) -> str:
    """The Host header without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _refuse(status: int, why: str) -> Response:
    return JSONResponse({"detail": why}, status)
