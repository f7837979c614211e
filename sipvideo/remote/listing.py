"""What is in a bucket's folder, or matches a pattern there, as a stream: a bucket may hold a million files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sipvideo.remote.addresses import is_remote
from sipvideo.remote.files import Stat, current_stat, located
from sipvideo.remote.trouble import Patience, RemoteError, current, persistent

Item = dict[str, Any]

MAGIC = re.compile(r"[*?]")
"""Without one of these, brackets are part of a name."""


class Listed(NamedTuple):
    """A file in a bucket, as a listing tells it.

    Attributes:
        address: ``s3://bucket/key``.
        stat: its size and stamp.
    """

    address: str
    stat: Stat


def is_remote_pattern(text: str) -> bool:
    """Whether an address names files by a pattern: ``s3://bucket/*/front.mp4``."""
    return is_remote(text) and bool(MAGIC.search(text.partition("://")[2]))


def is_remote_listing(text: str) -> bool:
    """Whether an address names files by their folder or a pattern."""
    return is_remote_pattern(text) or (is_remote(text) and text.endswith("/"))


def listed(
    address: str, *, recursive: bool = False, patience: Patience | None = None
) -> Iterator[Listed]:
    """The files in a folder or those that a pattern names, in the store's own order.

    Where the store gives its listings in pages (S3), no more than a page of a thousand is in memory; of others, one
    folder. Nothing comes of a folder that does not exist: buckets have no folders. Hidden files, and marks that some
    programs leave for folders, are passed over.

    Args:
        address: of a folder, or a pattern: ``*``, ``?`` and ``[...]`` within a name, ``**`` for any folders.
        recursive: of a folder, also what is in the folders below.
        patience: with the store; of this thread, if not given.

    Raises:
        RemoteError: the bucket does not exist, or cannot be listed.
    """
    scheme, _, rest = address.partition("://")
    bucket = rest.partition("/")[0]
    if MAGIC.search(bucket):
        raise RemoteError("the name of the bucket cannot be a pattern")
    patience = patience or current()
    fs, path = persistent(lambda: located(address), address, patience)
    if is_remote_pattern(address):
        root, *parts = path.strip("/").split("/")
        found = _Folder(fs, root, address, patience).matching(parts)
    else:
        inside = _Folder(fs, path.rstrip("/"), address, patience).items(deep=recursive)
        found = (item for item in inside if item["type"] == "file")
    for item in found:
        key = item["name"].lstrip("/").partition("/")[2]
        if not key.endswith("/") and not key.rpartition("/")[2].startswith("."):
            yield Listed(f"{scheme}://{bucket}/{key}", Stat.of(item))


def fingerprint(address: str) -> str:
    """A short text that changes with the content of a file, or of the files of a folder or pattern.

    Raises:
        RemoteError: there is nothing, or the store cannot be asked.
    """
    if is_remote_listing(address):
        files: Iterable[Listed] = listed(address)
    else:
        try:
            files = [Listed(address, current_stat(address))]
        except RemoteError as error:
            if not error.absent:
                raise
            files = listed(f"{address}/")
    told = hashlib.sha256()
    for one in files:
        told.update(f"{one.address}\n{one.stat.st_size}\n{one.stat.stamp}\n".encode())
    return told.hexdigest()


class _Folder:
    """A folder, as far as a bucket has any.

    Args:
        fs: fsspec's file system.
        path: there, without a slash at the end.
        address: that was asked for, for people.
        patience: with the store.
    """

    def __init__(self, fs: Any, path: str, address: str, patience: Patience) -> None:
        self._fs, self._path, self._address, self._patience = fs, path, address, patience

    def _folder(self, path: str) -> _Folder:
        return _Folder(self._fs, path, self._address, self._patience)

    def items(self, begin: str = "", *, deep: bool = False) -> Iterator[Item]:
        """What is in it, of names that begin so; ``deep``: the files in all folders below instead of the folders."""
        if hasattr(self._fs, "call_s3"):
            yield from self._pages(begin, "" if deep else "/")
            return
        for item in self._entries():
            if item["type"] == "directory" and deep:
                yield from self._folder(item["name"]).items(deep=True)
            elif _name(item).startswith(begin):
                yield item

    def _entries(self) -> list[Item]:
        def ask() -> list[Item]:
            found: list[Item] = self._fs.ls(self._path, detail=True)
            return found

        try:
            return persistent(ask, self._address, self._patience)
        except RemoteError as error:
            if error.absent and "bucket" not in str(error):
                return []
            raise

    def _pages(self, begin: str, delimiter: str) -> Iterator[Item]:
        bucket, _, key = self._path.partition("/")
        asked = {"Bucket": bucket, "Prefix": f"{key}/{begin}" if key else begin}
        asked |= {"Delimiter": delimiter} if delimiter else {}
        more: dict[str, str] = {}
        while True:

            def ask(more: dict[str, str] = more) -> Any:
                return self._fs.call_s3("list_objects_v2", **asked, **more)

            page = persistent(ask, self._address, self._patience)
            for folder in page.get("CommonPrefixes", ()):
                name = f"{bucket}/{folder['Prefix'].rstrip('/')}"
                yield {"name": name, "type": "directory", "size": 0}
            for item in page.get("Contents", ()):
                name = f"{bucket}/{item['Key']}"
                yield {**item, "name": name, "type": "file", "size": item["Size"]}
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def matching(self, parts: list[str]) -> Iterator[Item]:
        """The files that a pattern names, given by its parts."""
        head, *rest = parts
        if "**" in head:
            pattern = _expression("/".join(parts))
            place = len(self._path.lstrip("/")) + 1
            for item in self.items(deep=True):
                if pattern.fullmatch(item["name"].lstrip("/")[place:]):
                    yield item
            return
        if rest and not re.search(r"[*?[]", head):
            yield from self._folder(f"{self._path}/{head}").matching(rest)
            return
        pattern = _expression(head)
        literal = re.split(r"[*?[]", head, maxsplit=1)[0]
        for item in self.items(literal):
            if item["name"].endswith("/") or not pattern.fullmatch(_name(item)):
                continue
            if not rest and item["type"] == "file":
                yield item
            elif rest and item["type"] == "directory":
                yield from self._folder(item["name"]).matching(rest)


def _name(item: Item) -> str:
    name: str = item["name"].rstrip("/").rpartition("/")[2]
    return name


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern of files as a regular expression for what follows a folder."""
    wanted = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^]/]+\]|.", pattern, re.DOTALL):
        known = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        if token.startswith("[") and len(token) > 2:
            inside = re.escape(token[1:-1].removeprefix("!")).replace("\\-", "-")
            wanted += f"[{'^' if token[1] == '!' else ''}{inside}]"
        else:
            wanted += known.get(token) or re.escape(token)
    return re.compile(wanted, re.DOTALL)
