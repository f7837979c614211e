"""The newest frame of a source: drops, ends, interruptions and their reasons."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sipvideo.apps.reports.cameras import painted_time
from sipvideo.errors import SourceError, UnforeseenError
from sipvideo.sources import (
    Capture,
    LatestFrame,
    NetworkStream,
    SourceStatus,
    VideoFile,
    course,
)
from sipvideo.sources import status as status_module
from sipvideo.sources.source import Passed
from tests.live_servers import Scripted, Steps, camera, frame
from tests.media import film, number_in
from tests.sources.test_live import tcp_server
from tests.waiting import PATIENCE, until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other faster than in life."""
    monkeypatch.setattr(course, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(course, "LONGEST_DELAY", 0.1)


def assert_adds_up(status: SourceStatus) -> None:
    assert status.captured == status.delivered + sum(status.dropped.values()) + status.pending


def opener(*scripts: list[Any], live: bool = True) -> Callable[[], Scripted]:
    """Opens one script after the other; an error in place of a script refuses the opening."""
    rest = iter(scripts)

    def open_next() -> Scripted:
        script = next(rest)
        if isinstance(script, Exception):
            raise script
        return Scripted(script, live)

    return open_next


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    steps = Steps()
    script = [*map(frame, range(5)), steps.wait, *map(frame, range(5, 8)), steps.wait]
    with LatestFrame(opener(script)) as source:
        until(lambda: source.status().captured == 5)
        taken = source.take()
        assert taken is not None
        assert (taken.frame.index, int(taken.frame.image[0, 0, 0])) == (4, 4)
        assert taken.source_timestamp == 4 / 25
        assert source.take() is None
        steps.go_on()
        until(lambda: source.status().captured == 8)
        status = source.status()
        assert status.text == "live"
        assert (status.delivered, status.pending, status.dropped) == (1, 1, {"replaced": 6})
        assert_adds_up(status)
        steps.go_on()


def test_only_frames_that_are_taken_are_converted() -> None:
    converted, steps = [], Steps()

    class Lazy(Scripted):
        def _captures(self) -> Iterator[Capture]:  # type: ignore[override]
            for k in range(10):

                def rgb(k: int = k) -> Any:
                    converted.append(k)
                    return frame(k).image

                yield Capture(k, k / 25, rgb)
            steps.wait()

    with LatestFrame(lambda: Lazy([])) as source:
        until(lambda: source.status().captured == 10)
        assert source.take() is not None
        assert converted == [9]
        steps.go_on()


def test_a_source_that_dies_is_reopened_and_its_clock_goes_on() -> None:
    steps = Steps()
    refused = SourceError("scripted: cannot be opened: Connection refused")
    first = [frame(0), steps.wait, SourceError("scripted: unplugged")]
    with LatestFrame(opener(first, refused, refused, [frame(0), steps.wait])) as source:
        before = source.take(10)
        steps.go_on()
        after = source.take(10)
        assert before is not None
        assert after is not None
        assert (before.frame.index, after.frame.index) == (0, 1)
        assert before.frame.timestamp < after.frame.timestamp <= time.monotonic()
        status = source.status()
        assert (status.text, status.reconnects) == ("live", 1)
        gap = after.frame.timestamp - before.frame.timestamp
        assert status.last_recovery == pytest.approx(gap)
        steps.go_on()


def test_a_live_stream_that_just_ends_and_an_unplugged_device_are_reopened_too() -> None:
    scripts: tuple[list[Any], ...] = ([frame(0)], [frame(0), OSError(19, "No such device")])
    steps = Steps()
    with LatestFrame(opener(*scripts, [frame(0), steps.wait])) as source:
        until(lambda: source.status().reconnects == 2)
        assert source.status().captured == 3
        steps.go_on()


def test_while_it_waits_it_says_when_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "FIRST_DELAY", PATIENCE)
    refused = SourceError("scripted: cannot be opened: Connection refused")
    with LatestFrame(opener([frame(0), refused])) as source:
        until(lambda: source.status().state == "waiting")
        status = source.status()
        assert 0 < status.retry_in <= 1.2 * PATIENCE
        assert re.fullmatch(r"waiting [\d.]+ s: cannot be opened: Connection refused", status.text)


@pytest.mark.parametrize("script", [SourceError("no such camera"), [SourceError("no such camera")]])
def test_an_error_before_the_first_picture_is_final(script: Any) -> None:
    with LatestFrame(opener(script)) as source:
        with pytest.raises(SourceError, match="no such camera"):
            source.wait_open()
        assert source.status().text == "failed: no such camera"
        assert source.take(10) is None


def test_a_defect_of_the_program_is_not_tried_again() -> None:
    with LatestFrame(opener([frame(0), ZeroDivisionError("oops")])) as source:
        source.wait_open()
        until(lambda: source.status().state == "failed")
        with pytest.raises(UnforeseenError, match="scripted: ZeroDivisionError: oops") as caught:
            source.raise_failure()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_stream_faster_than_its_decoding_is_skipped_to_where_it_is_now() -> None:
    class SlowlyDecoded(NetworkStream):
        def _newest(self, wanted: Callable[[], bool]) -> Generator[Capture | Passed, None, None]:
            for one in super()._newest(wanted):
                time.sleep(0.15 * isinstance(one, Capture))
                yield one

    late = []
    with (
        camera("tcp", fps=20) as door,
        LatestFrame(lambda: SlowlyDecoded(door.address)) as source,
    ):
        until(lambda: "skipped" in source.status().dropped)
        for _ in range(10):
            taken = source.take(PATIENCE)
            assert taken is not None
            late.append(time.monotonic() - painted_time(taken.frame.image))
        status = source.status()
    # Without skipping two of three seconds would be added every three seconds.
    assert np.median(late) < 2
    assert status.dropped["skipped"] > 3
    assert "undecodable" not in status.dropped
    assert_adds_up(status)


def test_a_damaged_recording_is_not_played_again() -> None:
    damaged = [frame(0), frame(1), SourceError("scripted: damaged or cut off")]
    with LatestFrame(opener(damaged, live=False)) as source:
        until(lambda: source.status().is_over)
        assert source.status().text == "failed: damaged or cut off"
        assert source.take() is not None, "the last good picture is still there"
        with pytest.raises(SourceError, match="scripted: damaged or cut off"):
            source.raise_failure()


def test_pictures_that_cannot_be_decoded_are_counted() -> None:
    with LatestFrame(opener([frame(0), frame(1), frame(4)], live=False)) as source:
        until(lambda: source.status().state == "ended")
        taken = source.take()
        assert taken is not None
        assert taken.frame.index == 4
        assert source.status().dropped == {"replaced": 2, "undecodable": 2}
        assert_adds_up(source.status())


def test_a_picture_that_waited_too_long_is_dropped_as_stale() -> None:
    steps = Steps()
    with LatestFrame(opener([frame(0), steps.wait])) as source:
        source.wait_open()
        time.sleep(0.05)
        assert source.take(max_age=0.04) is None
        assert source.status().dropped == {"stale": 1}
        assert_adds_up(source.status())
        steps.go_on()


def test_a_stream_that_falls_silent_counts_as_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(course, "SILENCE", 0.05)
    monkeypatch.setattr(status_module, "SILENCE", 0.05)
    steps = Steps()
    with LatestFrame(opener([frame(0), steps.wait, frame(1), steps.wait])) as source:
        source.wait_open()
        time.sleep(0.1)
        assert re.fullmatch(r"live, but no picture for \d+ s", source.status().text)
        steps.go_on()
        until(lambda: source.status().captured == 2)
        status = source.status()
        assert status.reconnects == 1
        assert status.last_recovery is not None
        assert status.last_recovery > 0.05
        steps.go_on()


def test_pictures_that_came_while_others_were_decoded_are_no_interruption(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(course, "SILENCE", 0.05)
    steps = Steps()

    class Busy(Scripted):
        def _newest(self, wanted: Callable[[], bool]) -> Generator[Capture | Passed, None, None]:
            begun = time.monotonic()
            yield Capture(0, 0.0, lambda: frame(0).image, arrived=begun)
            time.sleep(0.1)
            yield Passed(1, {}, begun + 0.04)
            yield Passed(3, {"skipped": 2}, begun + 0.08)
            steps.wait()

    with LatestFrame(lambda: Busy([])) as source:
        until(lambda: source.status().captured == 3)
        assert source.status().reconnects == 0
        assert_adds_up(source.status())
        steps.go_on()


def test_a_file_played_live_keeps_its_own_clock_and_ends(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 20)
    with LatestFrame(lambda: VideoFile(path)) as source:
        frames = []
        while (taken := source.take(PATIENCE)) is not None:
            frames.append(taken)
            time.sleep(0.1)  # slower than the film
        status = source.status()
    assert status.text == "ended"
    assert frames[-1].frame.index == 19
    assert number_in(frames[-1].frame.image) == 19
    assert 0 < len(frames) < 20
    own = np.diff([f.source_timestamp for f in frames])
    assert (np.diff([f.frame.timestamp for f in frames]) >= own - 1e-6).all()
    assert status.captured == 20
    assert_adds_up(status)


def test_a_file_can_start_over_while_time_goes_on(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", 4)
    with LatestFrame(lambda: VideoFile(path), loop=True) as source:
        frames = [source.take(PATIENCE) for _ in range(9)]
        assert source.status().state == "live"
    found = [f for f in frames if f is not None]
    assert len(found) == 9
    assert found[0].part == 0 < found[-1].part
    assert (np.diff([f.frame.timestamp for f in found]) > 0).all()


def test_closing_does_not_wait_for_a_blocked_read() -> None:
    blocked = threading.Event()
    source = LatestFrame(opener([frame(0), lambda: blocked.wait(PATIENCE)]))
    source.wait_open()
    source.close()
    source.close()
    assert not blocked.is_set()
    assert source.status().text == "closed"
    assert source.take(10) is None
    assert_adds_up(source.status())
    blocked.set()


def test_a_process_ends_while_a_network_read_is_blocked(tmp_path: Path) -> None:
    stream = film(tmp_path / "a.ts", 30).read_bytes()
    program = (
        "import sys, time; from sipvideo.sources import LatestFrame, open_source\n"
        "latest = LatestFrame(lambda: open_source(sys.argv[1], timeout=600))\n"
        "latest.wait_open(); time.sleep(0.5); latest.close()\n"
        "print(latest.status().text, latest._thread.is_alive())"
    )
    with tcp_server(stream, then_silent=True) as address:
        done = subprocess.run(
            [sys.executable, "-c", program, address],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed True\n", "")


def test_threads_end_with_their_sources() -> None:
    before = threading.active_count()
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            endless = (frame(k) for k in itertools.count())
            source = stack.enter_context(LatestFrame(opener(endless)))  # type: ignore[arg-type]
            source.wait_open()
        assert threading.active_count() == before + 5
    assert threading.active_count() == before
