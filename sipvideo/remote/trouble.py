"""What goes wrong on the way to a bucket: in few words for people, and tried again where it may pass."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from sipvideo.remote.addresses import shown

T = TypeVar("T")

PATIENCE = 300.0
"""Seconds for which a store that does not answer is asked again; SIPVIDEO_PATIENCE changes it."""

FIRST, LONGEST, SLICE = 0.5, 10.0, 0.1
"""Seconds between two tries, at first and at most, and those after which a wish to stop is seen."""

DENIED = ("NoCredentials", "PartialCredentials", "DefaultCredentials", "Refresh", "Authentication")
LIBRARIES = ("aiohttp", "botocore", "aiobotocore", "azure", "google", "gcsfs", "s3fs", "fsspec")
HINTS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}


class RemoteError(OSError):
    """Something in a bucket cannot be read or written; ``strerror`` says why, without the address and any secret.

    Attributes:
        absent: there is nothing of this name.
        passing: it may work later.
    """

    def __init__(self, reason: str, *, absent: bool = False, passing: bool = False) -> None:
        super().__init__(None, reason)
        self.absent, self.passing = absent, passing

    def __str__(self) -> str:
        return str(self.strerror)


def _silent(line: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Patience:
    """How long to try again, who is told of it, and whether somebody wants to stop."""

    seconds: float | None = None
    tell: Callable[[str], None] = _silent
    stopped: Callable[[], bool] = lambda: False

    @property
    def limit(self) -> float:
        """Seconds."""
        if self.seconds is not None:
            return self.seconds
        try:
            return float(os.environ.get("SIPVIDEO_PATIENCE", PATIENCE))
        except ValueError:
            return PATIENCE


_patience: ContextVar[Patience] = ContextVar("patience", default=Patience())  # noqa: B039 - it is frozen


@contextmanager
def patient(patience: Patience) -> Iterator[None]:
    """What is opened inside, in this thread, tells its troubles there."""
    token = _patience.set(patience)
    try:
        yield
    finally:
        _patience.reset(token)


def current() -> Patience:
    """Of this thread."""
    return _patience.get()


def persistent(work: Callable[[], T], address: str, patience: Patience | None = None) -> T:
    """What ``work`` gives; where that fails for a reason that may pass it is tried again.

    Args:
        work: may be done more than once.
        address: that it is about, for people.
        patience: of this thread, if not given.

    Raises:
        RemoteError: it cannot be done, or not for as long as the patience lasts.
    """
    patience = patience or current()
    begun: float | None = None
    pause = FIRST
    while True:
        try:
            result = work()
        except Exception as error:  # noqa: PERF203 - to try again is what it is for
            trouble = explained(error, address)
            now = time.monotonic()
            if trouble is None:
                raise
            if not trouble.passing:
                raise trouble from error
            if begun is None:
                begun = now
                patience.tell(
                    f"{shown(address)}: {trouble}; tried again for up to {patience.limit:g} s"
                )
            left = begun + patience.limit - now
            if left <= 0 or patience.stopped():
                waited = f"{trouble}, for {now - begun:.0f} s" if begun < now else str(trouble)
                raise RemoteError(waited, passing=True) from error
            _sleep(min(pause, left), patience)
            pause = min(2 * pause, LONGEST)
        else:
            if begun is not None:
                patience.tell(f"{shown(address)}: is back after {time.monotonic() - begun:.0f} s")
            return result


def _sleep(seconds: float, patience: Patience) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not patience.stopped():
        time.sleep(min(SLICE, left))


def explained(error: BaseException, address: str) -> RemoteError | None:
    """A library's exception in our words, which have no secret in them; None: it is no trouble with the store.

    What the libraries say is not passed on: it may quote addresses and keys.
    """
    if isinstance(error, RemoteError):
        return error
    causes = list(_causes(error))
    status = next(filter(None, map(_status, causes)), None)
    names = " ".join(type(cause).__name__ for cause in causes)
    words = " ".join(map(str, causes)).casefold()
    kind = _family(address)
    if isinstance(error, FileNotFoundError) or status == 404:
        missing = ("bucket" in words or "container" in words) and "exist" in words
        return RemoteError("no such bucket" if missing else "no such file", absent=True)
    if isinstance(error, IsADirectoryError):
        return RemoteError("a folder, not a file", absent=True)
    if isinstance(error, PermissionError) or status in (401, 403) or any(map(names.count, DENIED)):
        hint = f" ({HINTS[kind]})" if kind in HINTS else ""
        found = "no credentials" if "NoCredentials" in names else "access denied: credentials"
        more = " found" if found == "no credentials" else " are wrong or do not allow it"
        return RemoteError(f"{found}{more}{hint}")
    if status in (412, 416) or "FileExpired" in names:
        return RemoteError("it was replaced while it was read")
    if status in (301, 307):
        return RemoteError("the bucket is in another region (AWS_REGION)")
    if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
        return RemoteError(f"the store refuses the request ({status})")
    if status is not None and status >= 400:
        return RemoteError(f"the store cannot answer now ({status})", passing=True)
    if "InvalidBucketName" in names or "ParamValidation" in names:
        return RemoteError("not an address of a bucket")
    if "Timeout" in names or "TimedOut" in names:
        return RemoteError("no answer", passing=True)
    from_library = any(type(cause).__module__.split(".")[0] in LIBRARIES for cause in causes)
    if isinstance(error, (OSError, EOFError)) or from_library:
        return RemoteError("no connection", passing=True)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from, each once."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__


def _status(error: BaseException) -> int | None:
    """The number of HTTP that an exception of one of the libraries has."""
    if type(error).__module__ == "aiohttp.http_exceptions":
        return None  # aiohttp's own name for an answer that broke off
    response = getattr(error, "response", None)
    found = (
        response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(response, dict)
        else None
    )
    for name in ("status_code", "status", "code"):
        found = found or getattr(error, name, None)
    try:
        number = int(found) if found is not None else 0
    except (TypeError, ValueError):
        return None
    return number if 300 <= number < 600 else None


def _family(address: str) -> str:
    """The scheme under which a kind of store is best known."""
    scheme = address.partition("://")[0].lower()
    return {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}.get(scheme, scheme)
