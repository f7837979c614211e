"""Folders and patterns in a bucket, as streams."""

from __future__ import annotations

import fsspec
import pytest

from sipvideo.remote import RemoteError, listed
from sipvideo.remote.listing import _Folder
from tests.remote.store import BUCKET, Store

KEYS = (
    "a.mp4",
    "b.txt",
    "x/c.mp4",
    "x/d [1].mp4",
    "x/y/e.mp4",
    "x/y/.hidden.mp4",
    "z-2/front.mp4",
    "z-3/front.mp4",
    "z-3/back.mp4",
)

WANTED = {
    "": {"a.mp4", "b.txt"},
    "x/": {"x/c.mp4", "x/d [1].mp4"},
    "x": {"x/c.mp4", "x/d [1].mp4"},
    "none/": set(),
    "*.mp4": {"a.mp4"},
    "x/*": {"x/c.mp4", "x/d [1].mp4"},
    "?.???": {"a.mp4", "b.txt"},
    "**/*.mp4": set(KEYS) - {"b.txt", "x/y/.hidden.mp4"},
    "x/**": {"x/c.mp4", "x/d [1].mp4", "x/y/e.mp4"},
    "z-*/front.mp4": {"z-2/front.mp4", "z-3/front.mp4"},
    "z-[!2]/*": {"z-3/front.mp4", "z-3/back.mp4"},
    "*/y/*.mp4": {"x/y/e.mp4"},
    "x/d*[[]1].mp4": {"x/d [1].mp4"},
    "none/*": set(),
}


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_folders_and_patterns_name_what_they_name_on_a_disk(store: Store, kind: str) -> None:
    fs = store.fs if kind == "s3" else fsspec.filesystem("memory")
    for key in KEYS:
        fs.pipe_file(f"{BUCKET}/{key}", key.encode())
    for where, wanted in WANTED.items():
        found = list(listed(f"{kind}://{BUCKET}/{where}"))
        assert {one.address for one in found} == {f"{kind}://{BUCKET}/{key}" for key in wanted}, (
            where
        )
        assert all(
            one.stat.st_size == len(one.address) - len(f"{kind}://{BUCKET}/") for one in found
        )
        assert all(one.stat.stamp for one in found)
    assert {one.address for one in listed(f"{kind}://{BUCKET}/x", recursive=True)} == {
        f"{kind}://{BUCKET}/x/{name}" for name in ("c.mp4", "d [1].mp4", "y/e.mp4")
    }


def test_a_large_folder_is_listed_page_by_page(store: Store) -> None:
    folder = store.folder / BUCKET / "many"
    folder.mkdir()
    for k in range(2500):
        (folder / f"{k:05}.mp4").write_bytes(b"")
    stream = listed(f"s3://{BUCKET}/many/")
    assert not store.line.requests, "nobody has asked for one"
    next(stream)
    assert store.line.requests == ["GET"]
    assert sum(1 for _ in stream) == 2499
    assert store.line.requests == ["GET"] * 3


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("s3://nowhere/x/", "no such bucket"),
        ("s3://nowhere/*.mp4", "no such bucket"),
        ("s3://*/a.mp4", "the name of the bucket cannot be a pattern"),
    ],
)
def test_what_cannot_be_listed_is_an_error(store: Store, address: str, line: str) -> None:
    with pytest.raises(RemoteError, match=line):
        list(listed(address))


def test_a_listing_outlives_a_broken_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.fs.pipe_file(f"{BUCKET}/a.mp4", b"1")
    entries, asked = _Folder._pages, []

    def broken_once(folder: _Folder, *arguments: str) -> object:
        asked.append(1)
        store.line.lose = store.line.received + 50
        return entries(folder, *arguments)

    monkeypatch.setattr(_Folder, "_pages", broken_once)
    assert len(list(listed(f"s3://{BUCKET}/"))) == 1
    assert asked
    assert store.has_broken
