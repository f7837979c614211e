"""Live sessions: several sources at once, never behind, never stuck, ids that survive a gap."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from sipvideo.apps.reports.cameras import Kind, painted_time
from sipvideo.config import TrackerConfig
from sipvideo.engine import Engine
from sipvideo.errors import SipVideoError, SourceError
from sipvideo.live import LiveResult, LiveSession
from sipvideo.pipeline import VideoSegmenter
from sipvideo.sources import SourceStatus
from sipvideo.structures import Detections, Frame
from sipvideo.tracker import build_tracker
from tests.live_servers import (
    CLASSES,
    Scripted,
    Steps,
    camera,
    filming,
    find_squares,
    frame,
    segmenter,
    squares,
)
from tests.media import film
from tests.waiting import PATIENCE, until


def blank(delay: float = 0.0) -> VideoSegmenter:
    """Finds nothing, in ``delay`` seconds."""

    def segment(frame: Frame) -> Detections:
        time.sleep(delay)
        return Detections.empty(frame.size)

    return VideoSegmenter(segment, build_tracker(TrackerConfig()), CLASSES)


def results(session: LiveSession, seconds: float) -> Iterator[LiveResult]:
    """What comes within a time."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        live = session.next(left)
        if live is not None:
            yield live


def ids_by_class(live: LiveResult) -> dict[int, int]:
    return dict(
        zip(live.result.detections.labels.tolist(), live.result.track_ids.tolist(), strict=True)
    )


def assert_adds_up(status: SourceStatus) -> None:
    assert status.captured == status.delivered + sum(status.dropped.values()) + status.pending


# Never behind


def test_a_model_ten_times_slower_than_the_camera_shows_what_is_there_now() -> None:
    with camera("http") as door, LiveSession(segmenter(1 / 3), {"door": door.address}) as session:
        steps = []
        for live in results(session, 5):
            live.shown()
            steps.append(live.result.latency_ms / 1000)
        ages, status = session.ages("door"), session.status("door")
    assert ages.frames == (len(steps), len(steps))
    assert len(steps) >= 5
    assert ages.shown[1] < 2 * max(steps)
    assert ages.handed_over[0] <= ages.shown[0]
    assert status.dropped["replaced"] > status.delivered
    assert "skipped" not in status.dropped
    assert_adds_up(status)


def test_the_age_counts_from_when_the_picture_was_filmed() -> None:
    with camera("udp") as door, LiveSession(blank(), {"door": door.address}) as session:
        late = [
            live.captured - painted_time(live.result.frame.image)
            for live in itertools.islice(results(session, PATIENCE), 60)
        ]
    # What the encoder and the network need; a backlog would be many frames.
    assert -0.001 < float(np.median(late)) < 2


def test_a_slow_consumer_gets_the_newest_frame_and_not_the_next_one() -> None:
    with LiveSession(blank(), {"a": lambda: filming(100)}) as session:
        first = session.next(10)
        assert first is not None
        until(lambda: session.status("a").captured > first.result.frame.index + 10)
        second = session.next(10)
        assert second is not None
        assert second.result.frame.index - first.result.frame.index > 5
        assert second.captured > first.captured


def test_memory_stays_flat() -> None:
    with LiveSession(
        blank(), {"a": lambda: filming(500, lambda moment: frame(0).image)}
    ) as session:
        sizes = []
        tracemalloc.start()
        for _ in range(3):
            for live in itertools.islice(session, 250):
                live.shown()
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert sizes[2] - sizes[1] < 100_000, sizes


# Never stuck


@pytest.mark.parametrize("kind", ["http", "tcp", "udp", "rtsp"])
def test_identities_survive_a_camera_that_is_killed_and_started_again(kind: Kind) -> None:
    door = camera(kind, fps=20)
    with contextlib.ExitStack() as stack:
        stack.enter_context(door)
        model = segmenter()
        model.tracker = build_tracker(TrackerConfig(max_age=600))
        session = stack.enter_context(LiveSession(model, {"door": door.address}))
        before = {}
        for live in itertools.islice(results(session, PATIENCE), 20):
            before = ids_by_class(live)
        assert len(before) == 2
        seen = live.captured
        door.kill()
        killed = time.monotonic()
        list(results(session, 0.5))
        door.start()
        for live in results(session, PATIENCE):
            if painted_time(live.result.frame.image) > killed and len(ids_by_class(live)) == 2:
                break
        assert ids_by_class(live) == before
        assert live.captured > seen + 0.5
        status = session.status("door")
        if kind != "udp":  # which has no connection that could be lost
            assert status.reconnects == 1
            assert status.last_recovery is not None
            assert status.last_recovery > 0.4
        assert_adds_up(status)


def test_while_a_camera_is_away_nothing_comes_and_the_status_says_why() -> None:
    door = camera("tcp")
    with door, LiveSession(segmenter(), {"door": door.address}) as session:
        assert session.next(PATIENCE) is not None
        door.kill()
        until(lambda: session.next(0.3) is None)
        status = session.status("door")
    assert status.state in ("waiting", "connecting")
    assert status.problem in ("the stream ended", "cannot be opened: Connection refused")


def test_a_wrong_address_is_refused_and_the_other_sources_are_closed() -> None:
    before = threading.active_count()
    refused = r"camera 97: no such camera|tcp://127\.0\.0\.1:9: cannot be opened"
    for wrong in ("97", "tcp://127.0.0.1:9"):
        with pytest.raises(SourceError, match=refused):
            LiveSession(segmenter(), {"good": filming, "wrong": wrong})
    assert threading.active_count() == before


def test_a_source_that_fails_for_good_raises_after_the_others_have_ended(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 10)
    bad = Scripted([frame(0), ZeroDivisionError("oops")])
    with LiveSession(blank(), {"file": str(path), "bad": lambda: bad}) as session:
        keys: list[str] = []
        with pytest.raises(SipVideoError, match="oops"):
            keys.extend(live.source for live in session)
        assert session.is_over
    assert set(keys) == {"file", "bad"}


@pytest.mark.parametrize("largest_batch", [1, 2])
def test_a_source_whose_frames_cannot_be_processed_fails_alone(largest_batch: int) -> None:
    """Also where frames of several sources share a batch, which says nothing of whose frame it was."""

    def segment(frame: Frame) -> Detections:
        if frame.size == (8, 8):
            raise MemoryError
        return Detections.empty(frame.size)

    model = VideoSegmenter(segment, build_tracker(TrackerConfig()), CLASSES)
    sources = {
        "bad": lambda: filming(50, lambda moment: np.zeros((8, 8, 3), np.uint8)),
        "good": lambda: filming(50),
    }
    with LiveSession(model, sources, patience=0.5, largest_batch=largest_batch) as session:
        states, good = set(), 0
        end = time.monotonic() + 20
        while session.status("bad").state != "failed" or good < 5:
            assert time.monotonic() < end
            states.add(session.status("bad").state)
            live = session.next(1.0)
            good += live is not None and live.source == "good"
        assert "failing" in states
        assert session.status("bad").text.startswith("failed: there is not enough memory")
        assert session.status("good").state == "live"


def test_one_frame_that_cannot_be_processed_costs_that_frame_only() -> None:
    def segment(frame: Frame) -> Detections:
        return Detections.empty(frame.size) if frame.index != 3 else 1 / 0  # type: ignore[return-value]

    steps = Steps()
    script = [item for k in range(6) for item in (frame(k), steps.wait)]
    model = VideoSegmenter(segment, build_tracker(TrackerConfig()), CLASSES)
    with LiveSession(model, {"a": lambda: Scripted(script)}) as session:
        seen = []
        for _ in range(6):
            live = session.next(0.5)
            if live is not None:
                seen.append(live.result.frame.index)
                assert live.status.problem == ""
            else:
                assert (
                    session.status("a").text
                    == "failing: ZeroDivisionError: division by zero (--debug shows where)"
                )
            steps.go_on()
    assert seen == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("blocked", [False, True])
def test_closing_from_another_thread_ends_whoever_waits(blocked: bool) -> None:
    forever = threading.Event()
    source = Scripted([frame(0), (lambda: forever.wait(PATIENCE)) if blocked else Steps().wait])
    session = LiveSession(blank(), {"a": lambda: source})
    timer = threading.Timer(0.3, session.close)
    timer.start()
    assert len(list(session)) == 1
    timer.join()
    assert session.status("a").state == "closed"
    assert session.next() is None
    forever.set()


# Several sources


def test_each_source_has_identities_of_its_own_and_none_waits_for_the_slowest() -> None:
    sources = {"fast": lambda: filming(50), "slow": lambda: filming(4)}
    with LiveSession(segmenter(), sources) as session:
        found: dict[str, list[dict[int, int]]] = {"fast": [], "slow": []}
        while len(found["slow"]) < 5:
            live = session.next()
            assert live is not None
            found[live.source].append(ids_by_class(live))
        assert session.keys == ("fast", "slow")
    assert len(found["fast"]) > len(found["slow"])
    for seen in found.values():
        assert {tuple(sorted(ids.items())) for ids in seen} == {((0, 0), (1, 1))}


def test_sources_take_turns_when_the_model_is_slower_than_all() -> None:
    with LiveSession(blank(0.05), {key: lambda: filming(60) for key in "abc"}) as session:
        order = [live.source for live in itertools.islice(session, 15)]
    assert {tuple(sorted(order[k : k + 3])) for k in range(3, 15, 3)} == {("a", "b", "c")}


def test_sources_come_and_go_while_others_run() -> None:
    with LiveSession(segmenter(), {"a": filming}) as session:
        assert next(iter(session)).source == "a"
        with pytest.raises(SourceError, match="no such camera"):
            session.add("b", "97")
        with pytest.raises(ValueError, match="a: there is a source of this name already"):
            session.add("a", filming)
        session.add("b", filming)
        assert {live.source for live in itertools.islice(session, 6)} == {"a", "b"}
        session.remove("a")
        assert {live.source for live in itertools.islice(session, 4)} == {"b"}
        assert session.keys == ("b",)
        session.remove("b")
        assert session.is_over
        assert session.next() is None
        assert list(session) == []


def test_resetting_a_source_starts_its_identities_anew_and_no_others() -> None:
    class Generation(VideoSegmenter):
        resets = 0

        def reset(self) -> None:
            self.resets += 1
            super().reset()

        def another(self) -> Generation:
            return Generation(self.engine, build_tracker(TrackerConfig()), CLASSES)

    model = Generation(find_squares, build_tracker(TrackerConfig()), CLASSES)
    with LiveSession(model, {"a": filming, "b": filming}) as session:
        list(itertools.islice(session, 4))
        session.reset("a")
        list(itertools.islice(session, 4))
        resets = [getattr(session.segmenter(key), "resets", None) for key in "ab"]
    assert resets == [1, 0]


def test_a_recording_that_starts_over_is_a_new_video(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 3)
    model = blank()
    resets = []

    def another() -> VideoSegmenter:
        mine = blank()
        original = mine.reset
        mine.reset = lambda: (resets.append(1), original())[1]  # type: ignore[method-assign, func-returns-value]
        return mine

    model.another = another  # type: ignore[method-assign]
    with LiveSession(model, {"a": str(path)}, loop=True) as session:
        frames = [live.result.frame for live in itertools.islice(session, 7)]
    indices, parts = [frame.index for frame in frames], [frame.part for frame in frames]
    assert indices == sorted(set(indices))
    assert parts == sorted(parts)
    assert len(set(parts)) >= 3
    assert len(resets) >= 2


def test_frames_that_wait_together_can_share_a_batch() -> None:
    class Batched(Engine):
        def __init__(self) -> None:
            self.sizes: list[int] = []

        def detect(self, frames: Sequence[Frame]) -> list[Detections]:
            self.sizes.append(len(frames))
            time.sleep(0.1)
            return [find_squares(one) for one in frames]

    segment = Batched()
    model = VideoSegmenter(segment, build_tracker(TrackerConfig()), CLASSES)
    small = lambda: filming(30, lambda moment: squares(moment)[:72])  # noqa: E731
    sources: dict[str, Callable[[], Scripted]] = {"a": filming, "b": filming, "c": small}
    with LiveSession(model, sources, largest_batch=2) as session:
        found = list(itertools.islice(session, 20))
    assert 2 in segment.sizes
    assert max(segment.sizes) == 2
    assert {live.source for live in found} == {"a", "b", "c"}
    for live in found:
        assert np.array_equal(live.result.detections.boxes, find_squares(live.result.frame).boxes)


# asyncio and JSON


def test_the_stream_leaves_the_event_loop_free_and_ends_when_cancelled() -> None:
    async def main() -> tuple[int, int]:
        with LiveSession(blank(0.1), {"a": filming}) as session:
            ticks = count = 0

            async def consume() -> None:
                nonlocal count
                async for live in session.stream():
                    assert live.source == "a"
                    count += 1

            task = asyncio.create_task(consume())
            while count < 4:
                await asyncio.sleep(0.005)
                ticks += 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return ticks, count

    ticks, count = asyncio.run(main())
    assert count == 4
    assert ticks > 20


def test_the_stream_of_a_recording_ends_with_it(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 5)

    async def main() -> list[int]:
        with LiveSession(blank(), {"a": str(path)}) as session:
            return [live.result.frame.index async for live in session.stream()]

    assert asyncio.run(main())[-1] == 4


def test_a_live_result_as_json_says_where_and_when_it_was_seen() -> None:
    with LiveSession(segmenter(), {"desk": filming}) as session:
        live = session.next(10)
        assert live is not None
        record = json.loads(json.dumps(live.to_json(CLASSES)))
    assert record["source"] == "desk"
    assert 0 <= record["age"] < 10
    assert abs(record["captured"] - time.time()) < 20
    assert [one["class_name"] for one in record["objects"]] == ["red", "blue"]
    mask = coco_mask.decode(record["objects"][0]["segmentation"])
    assert (mask == live.result.detections.masks.dense(0)).all()


def test_ages_without_frames_are_no_numbers() -> None:
    with LiveSession(segmenter(), {"desk": filming}) as session:
        ages = session.ages("desk")
    assert ages.frames == (0, 0)
    assert np.isnan([*ages.handed_over, *ages.shown]).all()


def test_the_default_model_runs_live() -> None:
    import sipvideo

    model: Any = sipvideo.load(overrides=["input.size=[256, 192]"])
    with LiveSession(model, {"street": "examples/pedestrians.mp4"}) as session:
        found = list(itertools.islice(session, 3))
        assert_adds_up(session.status("street"))
    assert any(len(live.result.detections) for live in found)


def test_identities_begin_again_with_a_recording_and_not_with_a_stream_that_came_back() -> None:
    with LiveSession(segmenter(), {"cam": filming}) as session:
        last = session.next(10)
    assert last is not None
    earlier = dataclasses.replace(last, source_timestamp=last.source_timestamp - 1)
    status = dataclasses.replace(last.status, reconnects=last.status.reconnects + 1)
    assert earlier.begins_again(last)
    assert not last.begins_again(earlier)
    assert not dataclasses.replace(earlier, status=status).begins_again(last)
    assert not earlier.begins_again(None)
