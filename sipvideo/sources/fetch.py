"""What has to be on the disk before it can be read."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sipvideo.errors import SourceError


@contextlib.contextmanager
def fetched(address: str, name: str, timeout: float) -> Iterator[Path]:
    """A temporary copy of what is at an http or https address.

    Args:
        address: a name and password in it are used.
        name: for people.
        timeout: seconds to wait for the server, at the beginning and later.

    Raises:
        SourceError: it cannot be fetched, or the disk is full.
    """
    parts = urlsplit(address)
    request = urllib.request.Request(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    )
    if parts.username:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        request.add_header("Authorization", f"Basic {base64.b64encode(secret).decode()}")
    handle, path = tempfile.mkstemp(prefix="sipvideo-")
    try:
        try:
            with (
                os.fdopen(handle, "wb") as file,
                urllib.request.urlopen(request, timeout=timeout) as answer,
            ):
                shutil.copyfileobj(answer, file)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(f"{name}: cannot be fetched: {error}") from error
        yield Path(path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
