"""Several live sources through one network."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from sipvideo.engine import Engine
from sipvideo.errors import SipVideoError, contained
from sipvideo.live.result import Ages, AgeStatistics, LiveResult
from sipvideo.machine import tidy_memory
from sipvideo.sources import LatestFrame, Source, SourceStatus, TimedFrame, open_source
from sipvideo.structures import Detections, Frame, FrameResult

TIMEOUT = 5.0
"""Seconds without an answer after which a network source counts as dead."""

STALE = 2.0
"""Seconds after which a picture that nobody took is no longer worth showing."""

POLL = 0.5
"""Seconds between looks at whether everything is over."""

LOOK = 0.1
"""Seconds between looks at whose turn it is next, while nothing comes."""

AHEAD = 2
"""Batches ahead for which pictures are decoded: the next one is ready then, and one more where a source is late."""

LAPSE = 2.0
"""Seconds after which nobody's pictures are wanted any more if nobody has asked for a result."""


class Segmenter(Protocol):
    """What a session asks of a segmenter, for instance :class:`sipvideo.pipeline.VideoSegmenter`."""

    class_names: tuple[str, ...]

    @property
    def engine(self) -> Engine:
        """Finds the objects of frames; as many together as it profits from."""

    @property
    def choice(self) -> str:
        """What it has chosen for itself just now, for people; empty where there is nothing to choose."""

    def step(self, frame: Frame) -> FrameResult:
        """Processes the next frame of a source."""

    def associate(self, frame: Frame, detections: Detections, started: float) -> FrameResult:
        """The second half of a step, for frames that were segmented in a batch."""

    def reset(self) -> None:
        """Identities start anew."""

    def another(self) -> Segmenter:
        """The same network with a memory of its own."""


PATIENCE = 10.0
"""Seconds in which no frame of a source can be processed until it has failed for good."""


class _Feed:
    """One source of a session.

    Attributes:
        problem: why its last frame has no result; None: it has.
    """

    def __init__(
        self, key: str, latest: LatestFrame, segmenter: Segmenter, patience: float
    ) -> None:
        self.key = key
        self.latest = latest
        self.segmenter = segmenter
        self.ages = Ages()
        self.part = self.video = 0
        self.served = 0
        self.reset_asked = False
        self.problem: SipVideoError | None = None
        self._patience = patience
        self._failing_since = 0.0

    @contextlib.contextmanager
    def contained(self) -> Iterator[None]:
        """What goes wrong with a frame inside is this source's problem alone; the frame has no result."""
        try:
            with contained(self.latest.status().name):
                yield
        except SipVideoError as error:
            now = time.monotonic()
            if self.problem is None:
                self._failing_since = now
            self.problem = error
            if now - self._failing_since >= self._patience:
                self.latest.fail(error)

    def is_over(self) -> bool:
        status = self.latest.status()
        return status.is_over and not status.pending


class LiveSession:
    """Segments live sources, each with its own identities, none waiting for another.

    Results are computed in the thread that asks for them (one at a time); all other methods may be called from any
    thread at any moment.

    Args:
        segmenter: anything with the methods of :class:`Segmenter`; each source gets ``segmenter.another()``.
        sources: by key: what :func:`~sipvideo.sources.open_source` understands, or a function that opens a source.
        loop: recordings start over at their end, with new identities.
        patience: seconds in which no frame of a source can be processed, a defect or a lack of memory, until it has
            failed for good; the others go on.
        largest_batch: frames of different sources that may run through the network together; by default as many as
            the engine profits from.
        hwaccel: what decodes sources that are named by text, see :meth:`sipvideo.engine.Engine.decoding_for`.

    Raises:
        SourceError: a source cannot be opened; the others are closed again.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        sources: Mapping[str, str | Callable[[], Source]] | None = None,
        *,
        loop: bool = False,
        patience: float = PATIENCE,
        largest_batch: int | None = None,
        hwaccel: str = "auto",
    ) -> None:
        self.class_names = segmenter.class_names
        self._segmenter = segmenter
        self._loop = loop
        self._decoding = segmenter.engine.decoding_for(hwaccel)
        self._patience = patience
        self._largest_batch = largest_batch or segmenter.engine.largest_batch
        self._changed = threading.Condition()
        self._turn = threading.Lock()
        self._feeds: dict[str, _Feed] = {}
        self._ready: deque[tuple[_Feed, LiveResult]] = deque()
        self._served = 0
        self._closed = False
        try:
            feeds = [self._begin(key, source) for key, source in (sources or {}).items()]
            for feed in feeds:
                feed.latest.wait_open()
        except BaseException:
            self.close()
            raise

    @property
    def keys(self) -> tuple[str, ...]:
        """The sources, in the order in which they were added."""
        return tuple(self._feeds)

    def add(self, key: str, source: str | Callable[[], Source]) -> None:
        """Begins to read one more source and waits for its first picture.

        Raises:
            SourceError: it cannot be opened; it is then not part of the session.
            ValueError: there is one of that key already.
        """
        feed = self._begin(key, source)
        try:
            feed.latest.wait_open()
        except BaseException:
            self.remove(key)
            raise

    def remove(self, key: str) -> None:
        """Ends a source; its results that are not handed over yet are dropped. KeyError if there is none."""
        with self._changed:
            feed = self._feeds.pop(key)
        feed.latest.close()

    def reset(self, key: str) -> None:
        """Identities of a source start anew with its next frame."""
        self._feeds[key].reset_asked = True

    def status(self, key: str) -> SourceStatus:
        """What a source does right now."""
        feed = self._feeds[key]
        status = feed.latest.status()
        if feed.problem is None or status.state != "live":
            return status
        return replace(
            status, state="failing", problem=str(feed.problem).removeprefix(f"{status.name}: ")
        )

    def ages(self, key: str) -> AgeStatistics:
        """How old a source's last frames were when they were handed over and shown."""
        return self._feeds[key].ages.statistics()

    def segmenter(self, key: str) -> Segmenter:
        """The segmenter of a source, for what it can tell about itself."""
        return self._feeds[key].segmenter

    @property
    def is_over(self) -> bool:
        """Nothing will come any more: closed, or every source has ended or failed."""
        return self._closed or not (
            self._ready or any(not feed.is_over() for feed in list(self._feeds.values()))
        )

    def next(self, timeout: float | None = None) -> LiveResult | None:
        """The result of the newest frame of the source that was served longest ago.

        Args:
            timeout: seconds to wait for a frame; None: until there is one or everything is over.

        Returns:
            None when nothing new came; :meth:`status` says why.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._turn:
            while True:
                while self._ready:
                    feed, live = self._ready.popleft()
                    if self._feeds.get(feed.key) is feed:
                        return self._handed_over(feed, live)
                if not self._wait(deadline):
                    return None
                taken = self._take()
                self._share_turns()  # what is next is decoded while the network works
                self._ready.extend(self._process(taken))

    def __iter__(self) -> Iterator[LiveResult]:
        """Results as they come, until everything is over. Raises the error of a source that failed."""
        while True:
            live = self.next()
            if live is None:
                break
            yield live
        self._raise_failures()

    async def stream(self) -> AsyncIterator[LiveResult]:
        """As iterating, for asyncio: the event loop stays free, and cancelling the task ends it.

        A step that was running at the cancellation ends in its own thread, and its result is dropped.
        """
        while True:
            live = await asyncio.to_thread(self.next, POLL)
            if live is not None:
                yield live
            elif self.is_over:
                break
        self._raise_failures()

    def close(self) -> None:
        """Ends everything, from any thread, within two seconds; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            feeds = list(self._feeds.values())
        for feed in feeds:
            feed.latest.close(wait=0)
        deadline = time.monotonic() + 1.0
        for feed in feeds:
            feed.latest.close(wait=max(deadline - time.monotonic(), 0.0))

    def __enter__(self) -> LiveSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin(self, key: str, source: str | Callable[[], Source]) -> _Feed:
        opener = source if callable(source) else partial(self._opened, source)
        with self._changed:
            if self._closed:
                raise ValueError("the session is closed")
            if key in self._feeds:
                raise ValueError(f"{key}: there is a source of this name already")
            latest = LatestFrame(opener, loop=self._loop, changed=self._changed)
            latest.want(time.monotonic() + LAPSE)
            feed = self._feeds[key] = _Feed(key, latest, self._segmenter.another(), self._patience)
        return feed

    def _opened(self, text: str) -> Source:
        return open_source(text, timeout=TIMEOUT, decoding=self._decoding)

    def _wait(self, deadline: float | None) -> bool:
        """Waits until a frame is there; False when the time is up or everything is over."""
        with self._changed:
            while not self._closed:
                self._share_turns()
                ready = [r for f in self._feeds.values() if (r := f.latest.ready_in) is not None]
                if 0.0 in ready:
                    return True
                if self.is_over:
                    return False
                left = POLL if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, LOOK, *ready))
        return False

    def _share_turns(self) -> None:
        """Wants pictures of the sources that are served next, so that no others need be decoded.

        One that is silent keeps its turn, but not the others from theirs.
        """
        turns, until = AHEAD * self._largest_batch, time.monotonic() + LAPSE
        with self._changed:
            for feed in sorted(self._feeds.values(), key=lambda feed: feed.served):
                feed.latest.want(until if turns > 0 else 0.0)
                turns -= feed.latest.is_coming

    def _take(self) -> list[tuple[_Feed, TimedFrame]]:
        """The frames to process next: of the source served longest ago, and of others to share its batch."""
        with self._changed:
            waiting = [f for f in self._feeds.values() if f.latest.ready_in == 0.0]
        waiting.sort(key=lambda feed: feed.served)
        taken: list[tuple[_Feed, TimedFrame]] = []
        for feed in waiting:
            if len(taken) == self._largest_batch:
                break
            with feed.contained():
                timed = feed.latest.take(max_age=STALE)
                if timed is not None:
                    self._served += 1
                    feed.served = self._served
                    taken.append((feed, timed))
        return taken

    def _process(self, taken: list[tuple[_Feed, TimedFrame]]) -> list[tuple[_Feed, LiveResult]]:
        ready = []
        started = time.perf_counter()
        together = self._together([timed.frame for _, timed in taken])
        for (feed, timed), detections in zip(taken, together, strict=True):
            with feed.contained():
                if feed.reset_asked or timed.part != feed.part:
                    feed.reset_asked, feed.part = False, timed.part
                    feed.video += 1
                    feed.segmenter.reset()
                frame, segmenter = timed.frame.in_part(feed.video), feed.segmenter
                if detections is None:
                    result = segmenter.step(frame)
                else:
                    result = segmenter.associate(frame, detections, started)
                about = (frame.timestamp, timed.source_timestamp, feed.latest.status(), feed.ages)
                ready.append((feed, LiveResult(feed.key, result, *about)))
                feed.problem = None
        tidy_memory()
        return ready

    def _together(self, frames: list[Frame]) -> Sequence[Detections | None]:
        """Detections of several sources' frames from one batch; None for frames that are to be taken alone."""
        if len(frames) > 1:
            # Whose frame it is that cannot be processed shows when each is taken alone.
            with contextlib.suppress(Exception):
                return self._segmenter.engine.detect(frames)
        return [None] * len(frames)

    def _handed_over(self, feed: _Feed, live: LiveResult) -> LiveResult:
        feed.ages.note(live.age(), shown=False)
        return live

    def _raise_failures(self) -> None:
        for feed in list(self._feeds.values()):
            feed.latest.raise_failure()
            if feed.problem is not None:
                raise feed.problem
