"""The application and its server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import FrameType
from typing import Protocol

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import compile_path

from sipvideo import __version__
from sipvideo.errors import SipVideoError
from sipvideo.studio.shelf import Studio
from sipvideo.web import (
    api,
    metrics,
    sockets,
    studio,
    studio_exchange,
    studio_masks,
    studio_model,
)
from sipvideo.web.access import Access
from sipvideo.web.settings import Settings
from sipvideo.web.state import ServerState

PAGE = Path(__file__).parent / "page"

DESCRIPTION = (
    "Video instance segmentation: live sources, visitors' webcams, uploads, and their results to be edited. "
    "The WebSockets are described in docs/api.md."
)


class State(Protocol):
    """What an application serves."""

    @property
    def settings(self) -> Settings:
        """Limits, and who may come in."""

    @property
    def studio(self) -> Studio:
        """Runs to look at and to edit."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """From the first request to the last."""

    def end(self) -> None:
        """The server is asked to end."""


class StudioState:
    """A server that has a studio and nothing else.

    Args:
        studio: its runs; closed at the end.
        settings: limits, and who may come in.
    """

    def __init__(self, studio: Studio, settings: Settings) -> None:
        self.studio = studio
        self.settings = settings

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """See :class:`State`."""
        try:
            yield
        finally:
            await asyncio.to_thread(self.studio.close)

    def end(self) -> None:
        """See :class:`State`."""
        self.studio.ending = True


def create_app(state: ServerState) -> FastAPI:
    """The application of a server; its start and end are those of ``state``."""
    app = _base(state)
    app.state.server = state
    app.include_router(api.router)
    app.include_router(metrics.router)
    app.include_router(sockets.router)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"cache-control": "no-cache"})

    return app


def create_studio_app(state: StudioState) -> FastAPI:
    """The application of ``sipvideo studio``: the studio's page and routes."""
    app = _base(state)

    @app.get("/", include_in_schema=False)
    async def page() -> RedirectResponse:
        return RedirectResponse("/studio")

    return app


def _base(state: State) -> FastAPI:
    """What all applications have: who may come in, the studio, the page's files, how errors look."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with state.running():
            yield

    app = FastAPI(
        title="sipvideo",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # these would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.studio = state.studio
    app.state.limits = state.settings
    app.add_middleware(Access, settings=state.settings)
    app.include_router(studio.router)
    app.include_router(studio_exchange.router)
    app.include_router(studio_masks.router)
    app.include_router(studio_model.router)

    @app.get("/studio", include_in_schema=False)
    async def studio_page() -> FileResponse:
        return FileResponse(PAGE / "studio.html", headers={"cache-control": "no-cache"})

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html", headers={"cache-control": "no-cache"})

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(_: Request, error: RequestValidationError) -> JSONResponse:
        lines = [f"{trouble['loc'][-1]}: {trouble['msg']}" for trouble in error.errors()]
        return JSONResponse({"detail": "; ".join(lines)}, 422)

    @app.exception_handler(405)
    async def wrong_method(request: Request, _: Exception) -> JSONResponse:
        # The router names the methods of the first of several routes only.
        paths = app.openapi()["paths"].items()
        found = [about for path, about in paths if compile_path(path)[0].match(request.url.path)]
        allowed = ", ".join(
            sorted({method.upper() for about in found for method in about}) or ["GET"]
        )
        return JSONResponse({"detail": "Method Not Allowed"}, 405, {"allow": allowed})

    app.mount("/page", StaticFiles(directory=PAGE), "page")
    return app


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes any free one.

    Raises:
        SipVideoError: the address is taken, or not one of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise SipVideoError(f"{host}:{port}: cannot listen there: {error.strerror}") from error


class Server(uvicorn.Server):
    """A server that tells its state at once that it ends, not only when all connections are closed.

    Attributes:
        ended_by: number of the signal that ended it; None: it ended by itself.
    """

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state
        self.ended_by: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to end."""
        self.ended_by = sig
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Closes connections, then everything else."""
        self._state.end()
        await super().shutdown(sockets)


def make_server(app: FastAPI, state: State, tls: tuple[str, str] | None = None) -> Server:
    """A server, not yet started: ``server.run(sockets=[listen(...)])``.

    Args:
        app: of :func:`create_app`.
        state: its state.
        tls: files of certificate and key, for https.

    Raises:
        SipVideoError: these files cannot be used.
    """
    certificate, key = tls or (None, None)
    if tls is not None:
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*tls)
        except OSError as error:  # also what OpenSSL finds wrong
            raise SipVideoError(f"{tls[0]}: cannot be used for https: {error.strerror}") from error
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",  # what strangers send is no news
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="websockets-sansio",
        ws_max_size=sockets.MAX_MESSAGE,
        ws_max_queue=4,
        ws_per_message_deflate=False,  # pictures and run lengths hardly shrink
        limit_concurrency=2 * state.settings.max_visitors + 64,
        timeout_graceful_shutdown=1,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return Server(config, state)


def _is_news(record: logging.LogRecord) -> bool:
    """Answers that are cut off because the server ends are none."""
    error = record.exc_info[1] if record.exc_info else None
    return not (
        isinstance(error, asyncio.CancelledError) or str(record.msg).startswith("Cancel %s running")
    )
