"""An object's bytes in blocks, of which the latest are kept: whoever reads it side by side fetches it once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

SIZE = 4 << 20
"""Bytes of a block: few enough requests, and little that is fetched in vain around an index or a part."""
KEPT = 8
"""Blocks in memory."""


class Blocks:
    """The latest blocks, and the next one ahead of time where reading goes on in order. From any thread.

    Args:
        fetch: the bytes from one place up to another; an error of it is raised to whoever wants the block.
        size: of all.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._block = fetch, size, SIZE
        self._lock = threading.Lock()
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._latest = -1

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes, fewer only at the end."""
        end = min(start + count, self._size)
        pieces = []
        while start < end:
            number, offset = divmod(start, self._block)
            piece = self._get(number)[offset : offset + end - start]
            pieces.append(piece)
            start += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _get(self, number: int) -> bytes:
        with self._lock:
            in_order = number == self._latest + 1
            self._latest = number
            block, is_new = self._claimed(number)
            following = number + 1
            more = in_order and following * self._block < self._size
            ahead, ahead_is_new = self._claimed(following) if more else (block, False)
        if is_new:
            self._fill(number, block)
        if ahead_is_new:
            name = "read-ahead"  # a daemon: a store that is silent holds up no end of the program
            threading.Thread(
                target=self._fill, args=(following, ahead), name=name, daemon=True
            ).start()
        return block.result()

    def _claimed(self, number: int) -> tuple[Future[bytes], bool]:
        """A block that is there or on its way, and whether whoever asks has to fetch it."""
        known = self._blocks.get(number)
        if known is not None:
            self._blocks.move_to_end(number)
            return known, False
        self._blocks[number] = new = Future[bytes]()
        while len(self._blocks) > KEPT:
            self._blocks.popitem(last=False)
        return new, True

    def _fill(self, number: int, block: Future[bytes]) -> None:
        start = number * self._block
        try:
            block.set_result(self._fetch(start, min(start + self._block, self._size)))
        except BaseException as error:
            with self._lock:  # whoever comes next tries again
                if self._blocks.get(number) is block:
                    del self._blocks[number]
            block.set_exception(error)
