"""Live pictures of the server's sources for any number of clients: the newest only, encoded once, never a queue."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sipvideo.errors import SipVideoError, contained
from sipvideo.events import EventWatch, Rules
from sipvideo.live import AgeStatistics, LiveResult, LiveSession
from sipvideo.live.recording import Recording
from sipvideo.live.result import Ages
from sipvideo.sources import SourceStatus
from sipvideo.web.visitors import FirstSeen
from sipvideo.web.wire import encode_objects, encode_picture, pack
from sipvideo.web.zones import Trials, as_values

FRESH = 0.5
"""Seconds for which a result may greet somebody who comes later."""

POLL = 0.25
"""Seconds between looks at whether somebody watches, and whether the server ends."""


@dataclass(eq=False)
class Shot:
    """One live result on its way to clients.

    Attributes:
        live: the result, as the session handed it over.
        seen: seconds since the first sight of each identity.
        number: 1, 2, ... within its view.
        video: rises when identities start anew.
    """

    live: LiveResult
    seen: dict[int, float]
    number: int
    video: int
    _encoded: dict[bool, asyncio.Future[bytes]] = field(default_factory=dict)

    async def message(self, class_names: Sequence[str], pictures: bool) -> bytes:
        """The binary message, encoded in a thread for whoever asks first, and shared by all."""
        if pictures not in self._encoded:
            work = asyncio.to_thread(self._encode, class_names, pictures)
            self._encoded[pictures] = asyncio.ensure_future(work)
        # A client that leaves meanwhile must not take the others' message along.
        return await asyncio.shield(self._encoded[pictures])

    def _encode(self, class_names: Sequence[str], pictures: bool) -> bytes:
        result = self.live.result
        objects, masks = encode_objects(result, class_names, self.seen)
        header = {
            "type": "result",
            "number": self.number,
            "video": self.video,
            "index": result.frame.index,
            "captured": self.live.captured,
            "size": list(result.frame.size),
            "latency_ms": round(result.latency_ms, 1),
            "carried": result.carried,
            "dropped": sum(self.live.status.dropped.values()),
            "objects": objects,
        }
        return pack(header, masks, encode_picture(result.frame.image) if pictures else b"")


class View:
    """One source of the server as clients see it.

    Attributes:
        key: its id in addresses.
        latest: the newest result, None before the first.
        events: saves what happens in its zones; None: nothing is watched.
        trials: zones that visitors try for themselves.
        changes: how often its zones have been changed.
    """

    def __init__(self, key: str, session: LiveSession, events: Recording | None = None) -> None:
        self.key = key
        self.events = events
        self.session = session
        self.class_names = session.class_names
        self.latest: Shot | None = None
        self.trials = Trials()
        self.changes = 0
        self._seen = FirstSeen()
        self._news = asyncio.Event()
        self._video = 0
        self._closed: SourceStatus | None = None

    @property
    def status(self) -> SourceStatus:
        """What the source does right now; closed, once it was removed."""
        try:
            return self.session.status(self.key)
        except KeyError:
            assert self._closed is not None
            return self._closed

    @property
    def choice(self) -> str:
        """What its segmenter has chosen for itself, for people."""
        try:
            return self.session.segmenter(self.key).choice
        except KeyError:
            return ""

    @property
    def ages(self) -> AgeStatistics:
        """How old its last frames were."""
        try:
            return self.session.ages(self.key)
        except KeyError:
            return Ages().statistics()

    def close(self) -> None:
        """Ends the source, for everybody who watches it."""
        self._closed = replace(self.status, state="closed", problem="", pending=0, fps=0.0)
        self.session.remove(self.key)
        if self.events is not None:
            self.events.stop()

    @property
    def watch(self) -> EventWatch | None:
        """Counts in the zones that are everybody's; None: nothing is watched."""
        return None if self.events is None else self.events.event_watch

    def event_file(self, name: str) -> Path | None:
        """The picture or clip of this name, of this run of the server or an earlier one; None: there is none."""
        if self.events is None or re.fullmatch(r"[0-9a-f]{12}-\d{1,12}\.(jpg|mp4)", name) is None:
            return None
        # A run that goes on writes into a hidden folder.
        found = self.events.folder.parent.glob(f"*/*events*/{name}")
        return next(iter(found), None)

    def change_zones(self, rules: Rules) -> None:
        """Other zones for everybody, from now on."""
        if (watch := self.watch) is not None:
            watch.change(rules)
            self.changes += 1

    def take(self, live: LiveResult) -> None:
        """The next result, for whoever counts; before it is on its way to clients, in the thread that made it."""
        if self.events is not None:
            self.events.write(live.result)
        for watch in self.trials.watches:
            with contextlib.suppress(SipVideoError), contained(live.status.name):
                watch.update(live.result)

    def reset(self) -> None:
        """Identities start anew with the next frame."""
        with contextlib.suppress(KeyError):  # it was removed meanwhile
            self.session.reset(self.key)
        self._begin_video()

    def arrive(self, live: LiveResult) -> None:
        """The next result; on the event loop."""
        if live.begins_again(self.latest.live if self.latest is not None else None):
            self._begin_video()
        number = self.latest.number + 1 if self.latest is not None else 1
        self.latest = Shot(live, self._seen.update(live.result), number, self._video)
        self._news.set()
        self._news = asyncio.Event()

    def _begin_video(self) -> None:
        self._seen = FirstSeen()
        self._video += 1

    @property
    def number(self) -> int:
        """Of the newest result, as far as it is still worth showing: who starts to watch gets what comes after it."""
        if self.latest is None:
            return 0
        return self.latest.number - (self.latest.live.age() < FRESH)

    async def newer(self, number: int, timeout: float) -> Shot | None:
        """The newest result once it is newer than ``number``; None: none came for ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while self.latest is None or self.latest.number <= number:
            if not await happens(self._news, deadline - time.monotonic()):
                return None
        return self.latest


class Views:
    """All sources of the server, segmented in one thread while somebody watches, or always where events are saved.

    Args:
        session: the sources; closed by :meth:`close`. None: the server has none.
        recorder: from a source's key and name to what saves its events; None: nothing is watched.

    Raises:
        SinkError: events cannot be saved.
    """

    def __init__(
        self, session: LiveSession | None, recorder: Callable[[str, str], Recording] | None = None
    ) -> None:
        self._session = session
        self._recorder = recorder
        self._watchers = 0 if recorder is None else 1  # events happen while nobody looks
        self._wanted = threading.Event()
        if recorder is not None:
            self._wanted.set()
        self._closed = threading.Event()
        self._numbers = itertools.count(1)
        self._thread: threading.Thread | None = None
        self.views: dict[str, View] = {}
        for key in session.keys if session is not None else ():
            assert session is not None
            self._show(key, session)

    def _show(self, key: str, session: LiveSession) -> View:
        name = session.status(key).name
        events = None if self._recorder is None else self._recorder(key, name)
        self.views[key] = view = View(key, session, events)
        return view

    def add(self, source: str, key: str = "") -> View:
        """Shows one more source, from its first picture on; waits for that.

        Args:
            source: what :func:`sipvideo.sources.open_source` understands.
            key: its id; empty: the next number.

        Raises:
            SourceError: it cannot be opened.
            SinkError: its events cannot be saved.
            ValueError: there is one of that id already, or the server has no live sources at all.
        """
        if self._session is None:
            raise ValueError("the server has no live sources")
        # The id of a source that was removed never means another one, unless somebody says so.
        free = (str(number) for number in self._numbers if str(number) not in self.views)
        key = key or next(free)
        self._session.add(key, source)
        try:
            return self._show(key, self._session)
        except BaseException:
            self._session.remove(key)
            raise

    def remove(self, key: str) -> None:
        """Ends a source. KeyError if there is none."""
        self.views.pop(key).close()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Results go to this loop from now on."""
        if self._session is not None:
            work = (self._session, loop)
            self._thread = threading.Thread(target=self._run, args=work, name="live", daemon=True)
            self._thread.start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While somebody watches, the network works; otherwise it leaves the machine to others."""
        self._watchers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._wanted.clear()

    def close(self) -> None:
        """Ends the thread and the sources."""
        self._closed.set()
        self._wanted.set()
        if self._session is not None:
            self._session.close()
        if self._thread is not None:
            self._thread.join(2.0)
        for view in self.views.values():
            if view.events is not None:
                view.events.stop()

    def _run(self, session: LiveSession, loop: asyncio.AbstractEventLoop) -> None:
        while not self._closed.is_set():
            if not self._wanted.wait(POLL):
                continue
            live = session.next(POLL)
            if live is None:
                self._closed.wait(0.05)  # a session that is over answers at once
                continue
            if (view := self.views.get(live.source)) is None:
                continue  # on its way in or out
            view.take(live)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(view.arrive, live)


async def happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether an event is set within that time.

    Not by ``asyncio.wait_for``, which before Python 3.12 may swallow a cancellation that comes together with the event.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        return bool((await asyncio.wait({waiting}, timeout=max(seconds, 0)))[0])
    finally:
        waiting.cancel()


def status_message(view: View) -> dict[str, Any]:
    """A source's state for the page."""
    status = view.status
    return {
        "type": "status",
        "state": status.state,
        "text": status.text,
        "problem": status.problem,
        "retry_in": round(status.retry_in, 1),
        "fps": round(status.fps, 2),
        "source_fps": round(status.source_fps, 2),
        "silent": round(status.silent, 2),
        "reconnects": status.reconnects,
        "dropped": sum(status.dropped.values()),
        "choice": view.choice,
        "name": status.name,
    }


def zones_message(view: View, editable: bool) -> dict[str, Any]:
    """The zones that are everybody's, for the page."""
    rules = view.watch.rules if view.watch is not None else Rules()
    return {"type": "zones", "rules": as_values(rules), "editable": editable}
