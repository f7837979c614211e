"""Threads between stages: order, bounds, errors after what came before them, and no thread left behind."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sipvideo.stages import Behind, ahead, grouped, mapped
from tests.waiting import PATIENCE, until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def failing(count: int) -> Iterator[int]:
    yield from range(count)
    raise OSError("unplugged")


@pytest.mark.parametrize("count", [0, 1, 20])
@pytest.mark.parametrize("most", [1, 4])
def test_items_and_results_come_complete_and_in_order(count: int, most: int) -> None:
    assert list(ahead(range(count), most)) == list(range(count))

    def slow_if_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return -number

    results = list(mapped(slow_if_even, range(count), most, workers=3))
    assert results == [-number for number in range(count)]
    written: list[int] = []
    with Behind(written.append, most) as behind:
        for number in range(count):
            behind.put(number)
    assert written == list(range(count))


def test_no_more_than_asked_for_is_made_ahead() -> None:
    taken: list[int] = []

    def frames() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    made = ahead(frames(), 3)
    assert taken == []
    assert next(made) == 0
    # One is in the consumer's hands, three wait, one is in the maker's hands.
    until(lambda: len(taken) == 5)
    time.sleep(0.05)
    assert len(taken) == 5
    made.close()


def test_no_more_than_asked_for_waits_to_be_written() -> None:
    allowed = threading.Semaphore(0)
    handed: list[int] = []
    behind = Behind(lambda number: allowed.acquire(), most=2)

    def hand_over() -> None:
        with behind:
            for number in range(6):
                behind.put(number)
                handed.append(number)

    producer = threading.Thread(target=hand_over)
    producer.start()
    # One is being written, two wait.
    until(lambda: len(handed) == 3)
    time.sleep(0.05)
    assert len(handed) == 3
    allowed.release(6)
    producer.join()


def test_an_error_of_the_source_comes_after_the_results_before_it() -> None:
    for items in (ahead(failing(5), 2), mapped(lambda number: number, failing(5), 2, workers=2)):
        seen: list[int] = []
        with pytest.raises(OSError, match="unplugged"):
            seen.extend(items)
        assert seen == [0, 1, 2, 3, 4]


def test_an_error_of_the_function_comes_after_the_results_before_it() -> None:
    def inverse(number: int) -> float:
        return 1 / (3 - number)

    seen: list[float] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(mapped(inverse, range(10), 4, workers=2))
    assert len(seen) == 3


def test_something_that_cannot_be_iterated_is_the_consumers_error() -> None:
    with pytest.raises(TypeError):
        list(ahead(3, 1))  # type: ignore[arg-type]


def test_a_consumer_that_stops_ends_the_source_at_once() -> None:
    ended = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    for items in (ahead(endless(), 2), mapped(lambda number: number, endless(), 2, workers=2)):
        ended.clear()
        next(items)
        items.close()
        assert ended.wait(5)


def test_a_consumer_that_stops_does_not_wait_for_a_silent_source() -> None:
    spoken = threading.Event()
    ended = threading.Event()

    def silent() -> Iterator[int]:
        try:
            yield 1
            spoken.wait(PATIENCE)
            yield 2
        finally:
            ended.set()

    made = ahead(silent(), 2)
    assert next(made) == 1
    made.close()
    assert not ended.is_set()
    spoken.set()
    assert ended.wait(5)
    until(lambda: threading.active_count() == 1 or not _named("ahead"))


def _named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_an_error_of_the_writer_reaches_the_producer_once_and_ends_the_writing() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        if number == 2:
            raise OSError("disk full")
        written.append(number)

    behind = Behind(write, most=2)
    with pytest.raises(OSError, match="disk full"), behind:  # noqa: PT012
        for number in range(100):
            behind.put(number)
    assert written == [0, 1]


def test_an_error_of_the_last_item_is_raised_at_the_end() -> None:
    with pytest.raises(ZeroDivisionError), Behind(lambda number: 1 / number, most=2) as behind:
        behind.put(0)


def test_what_was_handed_over_is_written_when_the_producer_fails() -> None:
    written: list[int] = []

    def write(number: int) -> None:
        time.sleep(0.02)
        written.append(number)

    with pytest.raises(KeyboardInterrupt), Behind(write, most=3) as behind:  # noqa: PT012
        for number in range(3):
            behind.put(number)
        raise KeyboardInterrupt
    assert written == [0, 1, 2]


def test_groups_are_full_of_one_kind_and_complete() -> None:
    items = [1, 1, 1, 1, 1, 2, 2, 1]
    groups = list(grouped(items, 3, lambda number: number))
    assert groups == [[1, 1, 1], [1, 1], [2, 2], [1]]
    assert list(grouped([], 3, lambda number: number)) == []


def test_an_error_comes_after_the_group_that_it_cut_short() -> None:
    seen: list[list[int]] = []
    with pytest.raises(OSError, match="unplugged"):
        seen.extend(grouped(failing(5), 3, lambda number: 0))
    assert seen == [[0, 1, 2], [3, 4]]


def test_what_waits_can_be_dropped_but_not_what_is_in_work() -> None:
    begun, allowed = threading.Event(), threading.Event()
    written: list[int] = []

    def write(number: int) -> None:
        begun.set()
        allowed.wait(10)
        written.append(number)

    with Behind(write, most=3) as behind:
        for number in range(3):
            behind.put(number)
        assert begun.wait(10)
        behind.drop()
        allowed.set()
    assert written == [0]


class Heavy:
    """What a frame of a video stands for."""


@pytest.mark.parametrize("way", ["ahead", "mapped", "behind"])
def test_an_error_is_freed_with_all_that_its_traceback_knows_once_nobody_has_it(way: str) -> None:
    made: list[weakref.ref[Heavy]] = []

    def failing(count: int = 3) -> Iterator[int]:
        heavy = Heavy()
        made.append(weakref.ref(heavy))
        yield from range(count)
        raise ValueError("damaged")

    def fail(item: int) -> None:
        list(failing(0))

    def run() -> None:
        with suppress(ValueError):
            if way == "ahead":
                list(ahead(failing(), 2))
            elif way == "mapped":
                list(mapped(lambda k: k, failing(), 2))
            else:
                with Behind(fail, 2) as behind:
                    behind.put(1)

    gc.collect()
    gc.disable()
    try:
        run()
        until(lambda: made[0]() is None, 20)
    finally:
        gc.enable()
