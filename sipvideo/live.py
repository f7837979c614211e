"""Live segmentation of one or more sources: what comes out is what the cameras see now.

    with LiveSession(sipvideo.load(), {"door": "rtsp://...", "desk": "0"}) as session:
        for live in session:
            show(live.source, live.result)
            live.shown()

Every source is read in a thread of its own that keeps only the newest frame. The network runs in the thread of whoever
asks for the next result, on the frame that is newest then: nothing queues up, so a slow model or consumer lowers the
frame rate and never delays the picture.
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sipvideo.sinks.results import result_record
from sipvideo.sources import LatestFrame, Source, SourceStatus, TimedFrame, open_source
from sipvideo.structures import Detections, Frame, FrameResult

TIMEOUT = 5.0
"""Seconds without an answer after which a network source counts as dead."""

STALE = 2.0
"""Seconds after which a picture that nobody took is no longer worth showing."""

POLL = 0.5
"""Seconds between looks at whether everything is over."""


class Segmenter(Protocol):
    """What a session asks of a segmenter, for instance :class:`sipvideo.pipeline.VideoSegmenter`."""

    class_names: tuple[str, ...]

    @property
    def segment(self) -> Callable[[Frame], Detections]:
        """Detections of one frame, without identities."""

    def step(self, frame: Frame) -> FrameResult:
        """Processes the next frame of a source."""

    def associate(self, frame: Frame, detections: Detections, started: float) -> FrameResult:
        """The second half of a step, for frames that were segmented in a batch."""

    def reset(self) -> None:
        """Identities start anew."""

    def another(self) -> Segmenter:
        """The same network with a memory of its own."""


@dataclasses.dataclass(frozen=True)
class AgeStatistics:
    """Ages in seconds, capture to hand-over and capture to display, of the last frames; NaN while there are none.

    Attributes:
        handed_over: p50 and p95 of the age when the result was handed over.
        shown: p50 and p95 of the age when :meth:`LiveResult.shown` was called.
        frames: how many frames were handed over and shown.
    """

    handed_over: tuple[float, float]
    shown: tuple[float, float]
    frames: tuple[int, int]


class Ages:
    """The ages of the last ``length`` frames. Memory stays flat."""

    def __init__(self, length: int = 600) -> None:
        self._handed_over: deque[float] = deque(maxlen=length)
        self._shown: deque[float] = deque(maxlen=length)

    def note(self, age: float, *, shown: bool) -> None:
        """Adds an age in seconds."""
        (self._shown if shown else self._handed_over).append(age)

    def statistics(self) -> AgeStatistics:
        """Their percentiles."""
        handed_over, shown = list(self._handed_over), list(self._shown)
        return AgeStatistics(_p50_p95(handed_over), _p50_p95(shown), (len(handed_over), len(shown)))


def _p50_p95(values: list[float]) -> tuple[float, float]:
    if not values:
        return float("nan"), float("nan")
    p50, p95 = np.percentile(values, (50, 95)).tolist()
    return p50, p95


@dataclasses.dataclass(frozen=True, eq=False)
class LiveResult:
    """The result of one frame of a live source.

    Attributes:
        source: the source's key.
        result: the frame, its objects and their identities; ``result.frame.timestamp`` is ``captured``.
        captured: when the picture was captured, seconds of ``time.monotonic``.
        source_timestamp: the same moment on the source's own clock, in seconds.
        status: what the source was doing at hand-over.
    """

    source: str
    result: FrameResult
    captured: float
    source_timestamp: float
    status: SourceStatus
    _ages: Ages

    def age(self) -> float:
        """Seconds since the picture was captured."""
        return time.monotonic() - self.captured

    def shown(self) -> float:
        """To be called when the result is on screen: counts its age, in seconds, and returns it."""
        age = self.age()
        self._ages.note(age, shown=True)
        return age

    def to_json(self, class_names: Sequence[str] = ()) -> dict[str, Any]:
        """The result for JSON: the keys of a line of ``results.jsonl`` and three more.

        They are ``source`` (its key), ``captured`` (seconds since 1970, UTC) and ``age`` (seconds, now).
        """
        age = self.age()
        about = {"source": self.source, "captured": time.time() - age, "age": age}
        return {**about, **result_record(self.result, class_names)}


class _Feed:
    """One source of a session."""

    def __init__(self, key: str, latest: LatestFrame, segmenter: Segmenter) -> None:
        self.key = key
        self.latest = latest
        self.segmenter = segmenter
        self.ages = Ages()
        self.part = 0
        self.served = 0
        self.reset_asked = False

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
        largest_batch: frames of different sources that may run through the network together, where they have one
            size and ``segmenter.segment`` has a ``batch``. By default 4 on a GPU and 1 elsewhere: a processor
            gains nothing and the first frame of a batch would wait for the others.

    Raises:
        SourceError: a source cannot be opened; the others are closed again.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        sources: Mapping[str, str | Callable[[], Source]] | None = None,
        *,
        loop: bool = False,
        largest_batch: int | None = None,
    ) -> None:
        self.class_names = segmenter.class_names
        self._segmenter = segmenter
        self._loop = loop
        self._largest_batch = largest_batch or _useful_batch(segmenter.segment)
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
        return self._feeds[key].latest.status()

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
                self._ready.extend(self._process(self._take()))

    def __iter__(self) -> Iterator[LiveResult]:
        """Results as they come, until everything is over. Raises the SourceError of a source that failed for good."""
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
        opener = source if callable(source) else lambda: open_source(source, timeout=TIMEOUT)
        with self._changed:
            if self._closed:
                raise ValueError("the session is closed")
            if key in self._feeds:
                raise ValueError(f"{key}: there is a source of this name already")
            latest = LatestFrame(opener, loop=self._loop, changed=self._changed)
            feed = self._feeds[key] = _Feed(key, latest, self._segmenter.another())
        return feed

    def _wait(self, deadline: float | None) -> bool:
        """Waits until a frame is there; False when the time is up or everything is over."""
        with self._changed:
            while not self._closed:
                if any(feed.latest.waiting_since is not None for feed in self._feeds.values()):
                    return True
                if self.is_over:
                    return False
                left = POLL if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, POLL))
        return False

    def _take(self) -> list[tuple[_Feed, TimedFrame]]:
        """The frames to process next: the source served longest ago, and others that fit its batch."""
        with self._changed:
            waiting = [f for f in self._feeds.values() if f.latest.waiting_since is not None]
        waiting.sort(key=lambda feed: (feed.served, feed.latest.waiting_since or 0.0))
        taken: list[tuple[_Feed, TimedFrame]] = []
        for feed in waiting:
            if len(taken) == self._largest_batch:
                break
            timed = feed.latest.take(max_age=STALE)
            if timed is not None:
                self._served += 1
                feed.served = self._served
                taken.append((feed, timed))
        return taken

    def _process(self, taken: list[tuple[_Feed, TimedFrame]]) -> Iterator[tuple[_Feed, LiveResult]]:
        for feed, timed in taken:
            if feed.reset_asked or timed.part != feed.part:
                feed.reset_asked, feed.part = False, timed.part
                feed.segmenter.reset()
        frames = [timed.frame for _, timed in taken]
        if len({frame.size for frame in frames}) == 1 < len(frames):
            started = time.perf_counter()
            batch: Any = self._segmenter.segment
            detections = batch.batch(frames)
            results = [
                feed.segmenter.associate(frame, found, started)
                for (feed, _), frame, found in zip(taken, frames, detections, strict=True)
            ]
        else:
            results = [feed.segmenter.step(timed.frame) for feed, timed in taken]
        for (feed, timed), result in zip(taken, results, strict=True):
            captured = timed.frame.timestamp
            status = feed.latest.status()
            live = LiveResult(feed.key, result, captured, timed.source_timestamp, status, feed.ages)
            yield feed, live

    def _handed_over(self, feed: _Feed, live: LiveResult) -> LiveResult:
        feed.ages.note(live.age(), shown=False)
        return live

    def _raise_failures(self) -> None:
        for feed in list(self._feeds.values()):
            feed.latest.raise_failure()


def _useful_batch(segment: Any) -> int:
    if not callable(getattr(segment, "batch", None)):
        return 1
    return 1 if str(getattr(segment, "device", "cpu")).startswith("cpu") else 4
