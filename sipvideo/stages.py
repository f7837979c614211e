"""Stages that overlap: what comes next is made ahead in other threads, what is done is written behind in another.

Every line between two threads is bounded, keeps the order, and has its end, with the error that caused it, as a
state. An error reaches whoever takes the items after all items before it; whoever stops taking ends the makers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 1.0
"""Seconds to wait for a maker that is inside a read when nobody wants more. A silent network stream may hold it
longer; it ends by itself then."""


class Line(Generic[Item]):
    """A bounded line of items from one thread to another.

    Args:
        most: items that may wait; whoever adds one more waits.
    """

    def __init__(self, most: int) -> None:
        self._items: deque[Item] = deque()
        self._most = most
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False
        self._errors: list[BaseException] = []

    def put(self, item: Item) -> bool:
        """Adds an item when there is room; False where nobody takes it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._most)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException | None = None) -> None:
        """No more items come; ``error`` is raised after those that wait."""
        with self._changed:
            self._ended = True
            self._errors += [error] if error is not None else []
            self._changed.notify_all()

    def drop(self) -> None:
        """Forgets the items that wait."""
        with self._changed:
            self._items.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """No more items are taken; those that wait are dropped."""
        with self._changed:
            self._closed = True
            self.drop()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        _raise(self._errors)


def _raise(held: list[BaseException]) -> None:
    """Raises an error, if there is one, and lets go of it: it is told once.

    Its traceback knows the functions that it went through, and what they hold. If one of them held the error, all that
    would wait for the garbage collector, frames of a video with it.
    """
    if not held:
        return
    error = held.pop()
    try:
        raise error
    finally:
        del error


def ahead(items: Iterable[Item], most: int) -> Generator[Item, None, None]:
    """The same items, up to ``most`` of them taken from ``items`` ahead of time by a thread.

    Closing the generator ends the thread and closes ``items`` if it is a generator.
    """
    line = Line[Item](most)

    def make() -> None:
        error = None
        iterator = None
        try:
            iterator = iter(items)
            for item in iterator:
                if not line.put(item):
                    break
        except BaseException as caught:
            error = caught
        finally:
            if isinstance(iterator, Generator):
                with suppress(Exception):
                    iterator.close()
            line.end(error)
            del error  # see _raise

    maker = threading.Thread(target=make, name="ahead", daemon=True)
    maker.start()
    try:
        yield from line
    finally:
        line.close()
        maker.join(PATIENCE)


def mapped(
    function: Callable[[Item], Result], items: Iterable[Item], most: int, workers: int = 1
) -> Generator[Result, None, None]:
    """``function`` of every item, in order, by ``workers`` threads; up to ``most`` items are begun ahead of time.

    Items are taken in one more thread. Closing the generator ends all threads.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="mapped")
    begun = ahead((pool.submit(function, item) for item in items), most)
    try:
        for work in begun:
            yield work.result()
    finally:
        begun.close()
        pool.shutdown(cancel_futures=True)


def grouped(
    items: Iterable[Item], most: int, kind: Callable[[Item], object]
) -> Generator[list[Item], None, None]:
    """Consecutive items of one kind as lists of up to ``most``; an error of ``items`` comes after what preceded it."""
    group: list[Item] = []
    try:
        for item in items:
            if group and (len(group) == most or kind(item) != kind(group[0])):
                yield group
                group = []
            group.append(item)
    except Exception:
        if group:
            yield group
        raise
    if group:
        yield group


class Behind(Generic[Item]):
    """Calls a function with one item after the other in a thread of its own.

    Leaving the ``with`` block waits until every item is done, whatever the reason for leaving.

    Args:
        function: what is done with an item; after an error of it no more items are done.
        most: items that may wait; 0: there is no thread, ``put`` calls the function itself.

    Raises:
        BaseException: the function's error, from the next ``put`` or at the end of the block.
    """

    def __init__(self, function: Callable[[Item], object], most: int) -> None:
        self._function = function
        self._most = most
        self._line = Line[Item](most)
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name="behind", daemon=True)

    def __enter__(self) -> Behind[Item]:
        self._thread.start()
        return self

    def put(self, item: Item) -> None:
        """Hands over the next item; waits while too many do."""
        if not self._most:
            self._function(item)
        elif not self._line.put(item):
            self._raise()

    def drop(self) -> None:
        """Forgets the items that wait; the one in work is finished."""
        self._line.drop()

    def __exit__(self, *exception: object) -> None:
        self._line.end()
        self._thread.join()
        self._raise()

    def _work(self) -> None:
        try:
            for item in self._line:
                self._function(item)
        except BaseException as error:
            self._errors.append(error)
        finally:
            self._line.close()

    def _raise(self) -> None:
        _raise(self._errors)
