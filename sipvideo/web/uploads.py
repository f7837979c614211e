"""The bytes of an upload on their way to the disk: counted while they come, refused as soon as they are too many."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator
from pathlib import Path

CHUNK = 1 << 20
DRAIN_SECONDS = 2.0
PATIENCE = 30.0
"""Seconds without a byte after which an upload is given up: it holds a place that others wait for."""


class TooLargeError(Exception):
    """More bytes than the server takes."""


class DiskFullError(Exception):
    """The server has no room for the upload."""


class StalledError(Exception):
    """Nothing came for too long."""


async def receive(body: AsyncIterator[bytes], path: Path, limit: int) -> int:
    """Writes a request's body to a file; gives its size in bytes. Memory: about a megabyte.

    Raises:
        StalledError: nothing came for :data:`PATIENCE` seconds.
        TooLargeError: more than ``limit`` bytes came; the rest is not read.
        DiskFullError: no room; other troubles of the disk are OSErrors.
    """
    size, waiting = 0, bytearray()
    try:
        with path.open("wb") as file:
            while (part := await _next(body)) is not None:
                size += len(part)
                if size > limit:
                    raise TooLargeError
                waiting += part
                if len(waiting) >= CHUNK:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(file.write, bytes(waiting))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError from error
        raise
    return size


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    """The next bytes, None at the end."""
    try:
        return await asyncio.wait_for(anext(body, None), PATIENCE)
    except asyncio.TimeoutError:
        raise StalledError from None


async def drain(body: AsyncIterator[bytes]) -> None:
    """Reads on for a moment after a refusal: a sender that is cut off in the middle does not see the answer."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_swallow(body), DRAIN_SECONDS)


async def _swallow(body: AsyncIterator[bytes]) -> None:
    async for _ in body:
        pass
