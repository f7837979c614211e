"""Whose pictures are decoded: those of the sources that are served next, and nobody's in vain."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence

import numpy as np
import pytest

from sipvideo.config import TrackerConfig
from sipvideo.engine import Engine
from sipvideo.live import LiveSession
from sipvideo.live import session as session_module
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sources import Capture, Source
from sipvideo.sources.source import Passed
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.live_servers import CLASSES, SIZE, Steps
from tests.waiting import until

FPS = 100.0


class OnDemand(Source):
    """A live source that is decoded only where it is wanted.

    Attributes:
        decoded: how many pictures were.
    """

    is_live = True
    start = None

    def __init__(self, silent_after: int = 1_000_000) -> None:
        super().__init__("on demand")
        self.decoded = 0
        self.wanted: Callable[[], bool] = lambda: True
        self.steps = Steps()
        self._silent_after = silent_after

    def _newest(self, wanted: Callable[[], bool]) -> Generator[Capture | Passed, None, None]:
        self.wanted = wanted
        begun, given = time.monotonic(), 0
        for index in itertools.count():
            if index == self._silent_after:
                self.steps.wait()
            time.sleep(max(begun + index / FPS - time.monotonic(), 0.0))
            if not wanted():
                continue
            self.decoded += 1
            missing = {"unwanted": index - given}
            given = index + 1
            yield Capture(index, index / FPS, self._picture, missing=missing)

    def _picture(self) -> np.ndarray:
        return np.zeros((*SIZE, 3), np.uint8)

    def _frames(self) -> Generator[Frame, None, None]:
        raise NotImplementedError


class Slow(Engine):
    """Finds nothing, in a while, in batches."""

    def __init__(self, largest_batch: int = 1, delay: float = 0.03) -> None:
        self.largest_batch = largest_batch
        self.sizes: list[int] = []
        self._delay = delay

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.sizes.append(len(frames))
        time.sleep(self._delay)
        return [Detections.empty(frame.size) for frame in frames]


def session_of(sources: Sequence[OnDemand], engine: Engine) -> LiveSession:
    model = VideoSegmenter(engine, build_tracker(TrackerConfig()), CLASSES)
    openers = {str(k): (lambda source=source: source) for k, source in enumerate(sources)}
    return LiveSession(model, openers)


@pytest.mark.parametrize("largest_batch", [1, 4])
def test_sources_take_turns_and_others_than_the_next_are_not_decoded(largest_batch: int) -> None:
    sources = [OnDemand() for _ in range(16)]
    with session_of(sources, Slow(largest_batch)) as session:
        served = Counter(live.source for live in itertools.islice(session, 80))
        wanted = sum(source.wanted() for source in sources)
        assert session_module.AHEAD * largest_batch <= wanted < len(sources)
    assert set(served.values()) <= {4, 5, 6}
    assert len(served) == len(sources)


def test_a_batch_is_made_of_different_sources_and_waits_for_none() -> None:
    sources = [OnDemand() for _ in range(6)] + [OnDemand(silent_after=1) for _ in range(2)]
    engine = Slow(largest_batch=4)
    with session_of(sources, engine) as session:
        found = [live.source for live in itertools.islice(session, 60)]
        for source in sources:
            source.steps.go_on()
    assert max(engine.sizes) > 1
    served = Counter(found)
    assert all(served[str(k)] >= 6 for k in range(6)), "the silent ones hold up nobody"


def test_silent_sources_keep_no_turns_from_others_and_are_served_when_they_come_back() -> None:
    silent = [OnDemand(silent_after=3) for _ in range(session_module.AHEAD + 1)]
    sources = [*silent, OnDemand(), OnDemand()]
    with session_of(sources, Slow(delay=0.0)) as session:
        served: Counter[str] = Counter()

        def wait_for(keys: set[str]) -> None:
            def all_came() -> bool:
                live = session.next()
                assert live is not None
                served[live.source] += 1
                return all(served[key] > before[key] for key in keys)

            before = served.copy()
            until(all_came)

        wait_for({"3", "4"})
        for _ in range(3):
            wait_for({"3", "4"})
        for source in silent:
            source.steps.go_on()
        wait_for({"0", "1", "2"})


def test_while_nobody_asks_for_results_nothing_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LAPSE", 0.1)
    sources = [OnDemand() for _ in range(3)]
    with session_of(sources, Slow()) as session:
        until(lambda: not any(source.wanted() for source in sources))
        time.sleep(2 / FPS)
        done = [source.decoded for source in sources]
        time.sleep(5 / FPS)
        assert [source.decoded for source in sources] == done
        assert session.next() is not None
        until(lambda: not any(source.wanted() for source in sources))
