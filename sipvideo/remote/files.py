"""Files in buckets, read by seeks: what :class:`pathlib.Path` is for the disk, as far as reading needs it."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from sipvideo.remote.addresses import PACKAGES, shown
from sipvideo.remote.blocks import Blocks
from sipvideo.remote.trouble import Patience, RemoteError, current, persistent

if TYPE_CHECKING:
    from typing_extensions import Buffer

STAMPS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "last_modified", "LastModified")
"""What stores tell of an object's content; the first that is there counts. ``created`` is that of fsspec's memory."""


@dataclass(frozen=True)
class Stat:
    """What is known of an object without reading it; names as in :func:`os.stat`.

    Attributes:
        st_size: bytes.
        stamp: of its content: another one, another content.
    """

    st_size: int
    stamp: str

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> Stat:
        """Of what fsspec tells."""
        stamp = next((str(info[name]) for name in (*STAMPS, "created") if info.get(name)), "")
        return cls(int(info.get("size") or 0), stamp)


class RemoteFile:
    """A file in a bucket.

    It is opened when something is wanted of it. What was read of it is kept in part, for all that open it: see
    :class:`Blocks`. A store that does not answer is asked again, as the :class:`Patience` of the thread says in which
    this was made.

    Args:
        address: ``s3://bucket/key`` and the like.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._shown = shown(address)
        self._path = PurePosixPath(self._shown.partition("://")[2])
        self._patience: Patience = current()
        self._lock = threading.Lock()
        self._file: Any = None
        self._blocks: Blocks | None = None
        self._stat: Stat | None = None

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return f"RemoteFile({self._shown!r})"

    @property
    def name(self) -> str:
        """Its last part."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """From the last dot on."""
        return self._path.suffix

    @property
    def parts(self) -> tuple[str, ...]:
        """Bucket, folders and name."""
        return self._path.parts

    def stat(self) -> Stat:
        """Size and stamp, asked once.

        Raises:
            RemoteError: there is none, or it cannot be asked.
        """
        self._ready()
        assert self._stat is not None
        return self._stat

    def open(self, mode: str = "rb") -> IO[bytes]:
        """All of it, to be read and seeked in."""
        assert mode == "rb"
        return _Reader(self._ready(), self.stat().st_size, self._shown)  # type: ignore[return-value]

    def read_bytes(self) -> bytes:
        """All of it.

        Raises:
            RemoteError: it cannot be read.
        """
        return self._ready().read(0, self.stat().st_size)

    def check(self) -> None:
        """Makes sure that the object is still the one that was opened.

        Raises:
            RemoteError: it is not.
        """
        if self._stat is not None and current_stat(self.address, self._patience) != self._stat:
            raise RemoteError("it was replaced while it was read")

    def _ready(self) -> Blocks:
        with self._lock:
            if self._blocks is None:
                self._file = persistent(self._open, self.address, self._patience)
                self._blocks = Blocks(self._fetch, self._size)
            return self._blocks

    def _open(self) -> Any:
        fs, path = located(self.address)
        file = fs.open(path, "rb", cache_type="none")
        about = getattr(file, "details", None) or fs.info(path)  # fsspec's memory has no details
        if about["type"] == "directory":
            raise RemoteError("a folder, not a file", absent=True)
        self._stat = Stat.of(about)
        return file

    @property
    def _size(self) -> int:
        assert self._stat is not None
        return self._stat.st_size

    def _fetch(self, start: int, end: int) -> bytes:
        def read() -> bytes:
            with self._lock:
                self._file.seek(start)
                data: bytes = self._file.read(end - start)
            if len(data) < end - start:
                raise EOFError
            return data

        return persistent(read, self.address, self._patience)


class _Reader(io.RawIOBase):
    """A place in an object."""

    def __init__(self, blocks: Blocks, size: int, name: str) -> None:
        self._blocks, self._size, self._place = blocks, size, 0
        self.name = name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer, but for the end."""
        view = memoryview(buffer).cast("B")
        data = self._blocks.read(self._place, len(view))
        view[: len(data)] = data
        self._place += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("a place before the beginning")
        self._place = base + offset
        return self._place

    def tell(self) -> int:
        return self._place


StoredFile = Path | RemoteFile
"""A file that can be read, wherever it is."""


def readable(file: StoredFile) -> str | IO[bytes]:
    """A file as FFmpeg takes it."""
    return file.open("rb") if isinstance(file, RemoteFile) else f"file:{file}"


def located(address: str) -> tuple[Any, str]:
    """The file system of fsspec that an address is in, and its path there.

    Raises:
        RemoteError: the package for it is not installed, or credentials are part of the address.
    """
    scheme = address.partition("://")[0].lower()
    try:
        import fsspec
        from fsspec.config import conf

        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise RemoteError(
            f"{scheme}:// needs {PACKAGES[scheme]}: pip install 'sipvideo[remote]'"
        ) from error
    if shown(address) != address:
        raise RemoteError("credentials do not belong into an address, see docs/buckets.md")
    options: dict[str, Any] = {"use_listings_cache": False}
    if PACKAGES[scheme] == "s3fs":
        # Who is asked again, and for how long, is decided in one place: see persistent.
        once = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 30}
        options |= {"config_kwargs": once, "local_expiry_check": True}
        options = {name: value for name, value in options.items() if name not in conf.get("s3", {})}
    fs = kind(**options, **kind._get_kwargs_from_urls(address))
    if PACKAGES[scheme] == "s3fs":
        fs.retries = 1
    return fs, kind._strip_protocol(address)


def current_stat(address: str, patience: Patience | None = None) -> Stat:
    """Size and stamp of an object as it is now.

    Raises:
        RemoteError: there is none, or it cannot be asked.
    """

    def ask() -> Stat:
        fs, path = located(address)
        return Stat.of(fs.info(path))

    return persistent(ask, address, patience)
