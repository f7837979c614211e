"""Who may talk to the server, checked before anything else sees a request, and the headers that guard the page.

* Token: in the header ``Authorization: Bearer TOKEN``, in a cookie, or once as ``?token=TOKEN``, which sets the cookie.
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
        if self.settings.token is None or self._is_known(scope, headers):
            return None
        return self._by_query(scope)

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._fits(shown.strip()):
            return True
        # As lenient as browsers: cookies of other servers of this machine come along, whatever is in them.
        cookie = HTTPConnection(scope).cookies.get(COOKIE)
        return cookie is not None and self._fits(cookie)

    def _fits(self, shown: str) -> bool:
        wanted = (self.settings.token or "").encode()
        return hmac.compare_digest(shown.encode("utf-8", "surrogateescape"), wanted)

    def _by_query(self, scope: Scope) -> Response | None:
        """A right token in the address becomes a cookie, so that it does not stay in the address bar."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not any(name == "token" and self._fits(value) for name, value in query):
            response = _refuse(
                401, "the token is missing or wrong: open the address that the server printed"
            )
            response.headers["www-authenticate"] = "Bearer"
            return response
        if scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD"):
            return None
        rest = urlencode([pair for pair in query if pair[0] != "token"])
        # Relative to this server: a path of two slashes must not lead elsewhere.
        path = "/" + scope["path"].lstrip("/\\")
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, 303)
        secure = scope["scheme"] in ("https", "wss")
        token = self.settings.token or ""
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
