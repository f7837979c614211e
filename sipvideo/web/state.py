"""What one running server holds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from sipvideo.live import LiveSession, Segmenter
from sipvideo.live.recording import Recording
from sipvideo.pipeline import VideoSegmenter
from sipvideo.studio.shelf import Studio
from sipvideo.web.jobs import Jobs
from sipvideo.web.settings import Settings
from sipvideo.web.views import View, Views
from sipvideo.web.visitors import Visitors
from sipvideo.web.zones import KeptZones

LONGEST_TIDYING = 60.0
"""Seconds between looks for results that have been kept for long enough."""


class ServerState:
    """Sources, visitors and jobs of a server, and how many clients there are.

    Args:
        segmenter: its network serves everybody.
        session: the server's own live sources; closed at the end. None: there are none.
        settings: limits.
        about: name of the model and its engine, for people.
        live: for visitors' webcams, where that is another one (under a latency governor).
        recorder: from a source's key and name to what saves the events of its zones; None: nothing is watched.
        zones: keeps the zones that visitors draw for the sources; None: they may draw for themselves alone.

    Raises:
        SipVideoError: the folder for uploads cannot be made.
    """

    def __init__(
        self,
        segmenter: VideoSegmenter,
        session: LiveSession | None,
        settings: Settings,
        about: str = "",
        *,
        live: Segmenter | None = None,
        recorder: Callable[[str, str], Recording] | None = None,
        zones: KeptZones | None = None,
    ) -> None:
        self.settings = settings
        self.about = about
        self.class_names = segmenter.class_names
        self.jobs = Jobs(segmenter, settings)
        self.studio = Studio(self.jobs.places, load=segmenter.another)
        self.zones = zones
        self.views = Views(session, recorder)
        self.visitors = Visitors(live or segmenter)
        self.seats_taken = 0
        self.ending = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """From the server's first request to its last; afterwards nothing of it runs."""
        self.views.start(asyncio.get_running_loop())
        tidying = asyncio.create_task(self._tidy())
        try:
            yield
        finally:
            tidying.cancel()
            # All at once: each waits for the frame that it is at.
            await asyncio.gather(
                asyncio.to_thread(self.views.close),
                asyncio.to_thread(self.visitors.close),
                asyncio.to_thread(self.studio.close),
                asyncio.to_thread(self.jobs.close),
            )

    def end(self) -> None:
        """The server is asked to end: everybody finishes what they are at, while connections are still closing."""
        self.ending = self.studio.ending = True
        self.jobs.interrupt()

    def take_seat(self) -> bool:
        """Whether one more live connection is allowed; it then counts until :meth:`leave_seat`."""
        if self.seats_taken >= self.settings.max_visitors:
            return False
        self.seats_taken += 1
        return True

    def leave_seat(self) -> None:
        """A live connection has ended."""
        self.seats_taken -= 1

    async def lines(self, view: View) -> AsyncGenerator[str, None]:
        """Live results of a source as JSON, one per frame, the newest each time; ends with the source."""
        number = view.number
        with self.views.watching():
            while not self.ending:
                shot = await view.newer(number, 0.2)
                if shot is None:
                    if view.status.is_over:
                        return
                    continue
                number = shot.number
                record = await asyncio.to_thread(shot.live.to_json, view.class_names)
                yield json.dumps(record)

    async def _tidy(self) -> None:
        pause = min(max(self.settings.keep / 10, 0.2), LONGEST_TIDYING)
        while True:
            await asyncio.sleep(pause)
            await asyncio.to_thread(self.jobs.expire)
