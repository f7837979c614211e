"""The WebSockets: live views of the server's sources, live results as JSON, and visitors' webcams (docs/api.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse

from sipvideo.errors import SipVideoError
from sipvideo.events import EventWatch
from sipvideo.web.state import ServerState
from sipvideo.web.views import Shot, View, happens, status_message, zones_message
from sipvideo.web.visitors import Visitor
from sipvideo.web.wire import unpack
from sipvideo.web.zones import drawn_rules

MAX_MESSAGE = 2 * 1024 * 1024
"""Bytes of one message from a client."""

MESSAGES_PER_SECOND = 120
IN_FLIGHT = 2
"""Results on their way to a client that has not said that it shows them."""

STATUS_EVERY = 1.0
REFUSED, UNREADABLE = 1008, 1003

router = APIRouter()


class ProtocolError(Exception):
    """A client sent what is not in the protocol; ``code`` is WebSocket's."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@contextlib.asynccontextmanager
async def _seat(websocket: WebSocket, *, missing: str = "") -> AsyncIterator[ServerState | None]:
    """An accepted connection, ended in words where the client broke the protocol; None: it was refused."""
    state: ServerState = websocket.app.state.server
    refusal = (404, missing) if missing else (503, "as many visitors as the server takes are here")
    if missing or not state.take_seat():
        answer = JSONResponse({"detail": refusal[1]}, refusal[0])
        if not missing:
            answer.headers["retry-after"] = "10"
        await websocket.send_denial_response(answer)
        yield None
        return
    try:
        await websocket.accept()
        yield state
    except ProtocolError as error:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await websocket.close(error.code, str(error))
    except WebSocketDisconnect:
        pass
    finally:
        state.leave_seat()


async def _together(*works: Any) -> None:
    """Runs coroutines until the first one ends, ends the others, and raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _messages(websocket: WebSocket) -> AsyncIterator[str | bytes]:
    """What the client sends, not faster than allowed."""
    allowance, last = float(MESSAGES_PER_SECOND), time.monotonic()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        now = time.monotonic()
        allowance = min(allowance + (now - last) * MESSAGES_PER_SECOND, MESSAGES_PER_SECOND)
        last = now
        if allowance < 1:
            raise ProtocolError(REFUSED, f"more than {MESSAGES_PER_SECOND} messages per second")
        allowance -= 1
        data: bytes | None = message.get("bytes")
        yield message["text"] if data is None else data


def _command(message: str | bytes) -> dict[str, Any]:
    """A text message: a JSON object with a ``type``."""
    try:
        command = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(UNREADABLE, "expected JSON") from error
    if not isinstance(command, dict) or not isinstance(command.get("type"), str):
        raise ProtocolError(UNREADABLE, "expected a JSON object with a type")
    return command


async def _clock(websocket: WebSocket, command: dict[str, Any]) -> None:
    """Lets the client set its watch: the server's clock, and the client's own mark as it came."""
    answer = {"type": "clock", "sent": command.get("sent"), "clock": time.monotonic()}
    await websocket.send_text(json.dumps(answer))  # escapes what is not UTF-8


async def _tell_problem(websocket: WebSocket, problem: str) -> None:
    """Whether a client's zones were taken: an empty problem says so."""
    await websocket.send_text(json.dumps({"type": "tried", "problem": problem}))


@router.websocket("/api/sources/{key}/live")
async def live_view(websocket: WebSocket, key: str, pictures: bool = True) -> None:
    """Pictures with compact masks of one source."""
    state: ServerState = websocket.app.state.server
    view = state.views.views.get(key)
    async with _seat(websocket, missing="" if view else f"no source {key!r}") as seated:
        if seated is None or view is None:
            return
        viewer = _Viewer(websocket, view, pictures, seated.zones is not None)
        try:
            with state.views.watching():
                await _together(viewer.listen(), viewer.send())
        finally:
            view.trials.end(viewer)


class _Viewer:
    """One client of one view: a slow one gets fewer pictures, never older ones."""

    def __init__(self, websocket: WebSocket, view: View, pictures: bool, editable: bool) -> None:
        self.websocket = websocket
        self.view = view
        self.pictures = pictures
        self.editable = editable
        self._trial: EventWatch | None = None
        self._changes = -1
        self._counts: dict[str, Any] = {}
        self._flying: dict[int, Shot] = {}
        self._landed = asyncio.Event()

    async def listen(self) -> None:
        async for message in _messages(self.websocket):
            command = _command(message)
            if command["type"] == "shown":
                number = command.get("number")
                if not isinstance(number, int):
                    raise ProtocolError(UNREADABLE, "expected a number in shown")
                shot = self._flying.pop(number, None)
                if shot is not None:
                    shot.live.shown()
                self._landed.set()
            elif command["type"] == "reset":
                self.view.reset()
            elif command["type"] == "clock":
                await _clock(self.websocket, command)
            elif command["type"] == "zones":
                await _tell_problem(self.websocket, self._try_zones(command.get("rules")))
            else:
                raise ProtocolError(UNREADABLE, "expected shown, reset, clock or zones")

    def _try_zones(self, values: Any) -> str:
        """Zones for this client alone; what is wrong with them."""
        try:
            rules = drawn_rules(values, self.view.class_names)
            if rules.places:
                self._trial = self.view.trials.set(self, rules, self.view.class_names)
            else:
                self.view.trials.end(self)
                self._trial = None
        except SipVideoError as error:
            return str(error)
        return ""

    async def _send_counts(self) -> None:
        """Zones and what they count, where that has changed."""
        if self._changes != self.view.changes:
            self._changes = self.view.changes
            await self.websocket.send_json(zones_message(self.view, self.editable))
        watch = self._trial or self.view.watch
        counts = watch.counts().record() if watch is not None else {}
        if counts != self._counts:
            self._counts = counts
            await self.websocket.send_json({"type": "counts", **counts})

    async def send(self) -> None:
        number, told, text = self.view.number, 0.0, ""
        while True:
            state = self.view.status.state
            if state != text or time.monotonic() - told >= STATUS_EVERY:
                told, text = time.monotonic(), state
                await self.websocket.send_json(status_message(self.view))
            await self._send_counts()
            if len(self._flying) >= IN_FLIGHT:
                self._landed.clear()
                await happens(self._landed, STATUS_EVERY)
                continue
            shot = await self.view.newer(number, STATUS_EVERY / 2)
            if shot is not None:
                number = shot.number
                self._flying[number] = shot
                message = await shot.message(self.view.class_names, self.pictures)
                await self.websocket.send_bytes(message)


@router.websocket("/api/sources/{key}/results")
async def live_results(websocket: WebSocket, key: str) -> None:
    """One JSON object per result, masks as COCO run lengths."""
    state: ServerState = websocket.app.state.server
    view = state.views.views.get(key)
    async with _seat(websocket, missing="" if view else f"no source {key!r}") as seated:
        if seated is None or view is None:
            return

        async def send() -> None:
            async for line in state.lines(view):
                await websocket.send_text(line)

        async def listen() -> None:
            async for _ in _messages(websocket):
                raise ProtocolError(UNREADABLE, "nothing is expected here")

        await _together(listen(), send())


@router.websocket("/api/webcam")
async def webcam(websocket: WebSocket) -> None:
    """A visitor's own pictures in, compact masks out."""
    async with _seat(websocket) as state:
        if state is None:
            return
        outbox = _Outbox()
        visitor = state.visitors.enter(outbox.put)
        try:
            await _together(_take_pictures(websocket, state, visitor), _send_all(websocket, outbox))
        finally:
            state.visitors.leave(visitor)


async def _take_pictures(websocket: WebSocket, state: ServerState, visitor: Visitor) -> None:
    async for message in _messages(websocket):
        if isinstance(message, bytes):
            try:
                header, picture = unpack(message)
            except ValueError as error:
                raise ProtocolError(UNREADABLE, str(error)) from error
            stamp = header.get("captured")
            if not isinstance(stamp, (int, float)) or not -1e15 < stamp < 1e15:
                raise ProtocolError(UNREADABLE, "expected a header with a number: captured")
            state.visitors.submit(visitor, picture, stamp)
            continue
        command = _command(message)
        if command["type"] == "reset":
            visitor.reset()
        elif command["type"] == "clock":
            await _clock(websocket, command)
        elif command["type"] == "zones":
            problem = ""
            try:
                visitor.draw_zones(drawn_rules(command.get("rules"), state.class_names))
            except SipVideoError as error:
                problem = str(error)
            await _tell_problem(websocket, problem)
        else:
            raise ProtocolError(UNREADABLE, "expected a picture, reset, clock or zones")


class _Outbox:
    """The newest message for a client, put by a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._message: bytes | None = None
        self._filled = asyncio.Event()

    def put(self, message: bytes) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: bytes) -> None:
        self._message = message
        self._filled.set()

    async def take(self) -> bytes:
        await self._filled.wait()
        self._filled.clear()
        message, self._message = self._message, None
        assert message is not None
        return message


async def _send_all(websocket: WebSocket, outbox: _Outbox) -> None:
    while True:
        await websocket.send_bytes(await outbox.take())
